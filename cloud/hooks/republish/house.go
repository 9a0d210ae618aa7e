package republish

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxPlaces   = 100_000
	maxGateways = 10_000
	maxValues   = 200_000 // topics of readings
	silence     = 30 * time.Second
	settle      = 30 * time.Second // for retained messages to come again after a reconnect
)

// house is what the hook knows; the caller of its methods holds the hook's lock.
type house struct {
	site   *contract.Site
	places map[device.ID]contract.Place
	// round counts connections, heard says in which one a place was heard, siteIn
	// in which the site: what the registry does not repeat has gone unheard.
	round, siteIn int
	heard         map[device.ID]int
	sweepAt       time.Time // zero when there is nothing to sweep
	gateways      map[string]*gateway
	values        map[string]value // by topic
}

type gateway struct {
	epoch  contract.Epoch
	heard  time.Time
	online bool
	said   bool // what was published last
	ever   bool // anything was
}

// value is what a topic of a reading says.
type value struct {
	at     device.Micros
	device device.ID
	plain  plain
}

func newHouse() house {
	return house{places: make(map[device.ID]contract.Place), heard: make(map[device.ID]int), gateways: make(map[string]*gateway), values: make(map[string]value)}
}

// spelling gives a place by either spelling of its id.
func (h *house) spelling(id device.ID) (contract.Place, bool) {
	if h.site == nil {
		p, ok := h.places[id]
		return p, ok
	}
	for _, spelled := range id.Spellings(h.site.DefaultFloor) {
		if p, ok := h.places[spelled]; ok {
			return p, true
		}
	}
	return contract.Place{}, false
}

// hear learns of the site, its places and its gateways. Called by the
// connection's reader.
func (h *Hook) hear(m bus.Message) {
	h.sources.Hear(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	switch {
	case m.Topic == bus.SiteTopic:
		var site contract.Site
		if err = json.Unmarshal(m.Payload, &site); err == nil {
			h.house.site, h.house.siteIn = &site, h.house.round
		}
	case strings.HasPrefix(m.Topic, bus.PlacesPrefix):
		err = h.hearPlace(m)
	case strings.HasPrefix(m.Topic, "gateways/"):
		err = h.hearStatus(m)
	case m.Topic == h.config.HomeAssistant.Prefix+"/status":
		if string(m.Payload) == online && !m.Retained { // it has started and remembers nothing
			h.sayAll()
		}
	case m.Topic == h.config.own():
		if string(m.Payload) == offline { // the will of a replica
			h.out.put(m.Topic, message{payload: []byte(online)})
		}
	}
	if err != nil {
		h.count.malformed.Inc()
	}
}

func (h *Hook) hearPlace(m bus.Message) error {
	id, err := device.Parse(m.Topic[len(bus.PlacesPrefix):])
	if err != nil {
		return err
	}
	if len(m.Payload) == 0 {
		h.remove(id)
		return nil
	}
	var p contract.Place
	if err := json.Unmarshal(m.Payload, &p); err != nil || p.Device != id {
		return fmt.Errorf("place %v: %w", id, err)
	}
	if _, known := h.house.places[id]; !known && len(h.house.places) >= maxPlaces {
		return fmt.Errorf("place %v: too many", id)
	}
	h.house.places[id], h.house.heard[id] = p, h.house.round
	h.announce(p)
	return nil
}

func (h *Hook) remove(id device.ID) {
	delete(h.house.places, id)
	delete(h.house.heard, id)
	h.forget(id)
}

// connected begins a new round.
func (h *Hook) connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.house.round++; h.house.round > 1 {
		h.house.sweepAt = time.Now().Add(settle)
	}
}

// sweep removes the places that went while there was no connection; the caller
// holds the lock.
func (h *Hook) sweep() {
	if h.house.sweepAt.IsZero() || time.Now().Before(h.house.sweepAt) || h.house.siteIn != h.house.round {
		return
	}
	h.house.sweepAt = time.Time{}
	for id, round := range h.house.heard {
		if round != h.house.round {
			h.remove(id)
		}
	}
}

// forget takes back what was published of a place that has gone.
func (h *Hook) forget(id device.ID) {
	if h.config.HomeAssistant.Enabled {
		h.out.put(h.config.discovery(id.String()), message{})
	}
	for topic, v := range h.house.values {
		if v.device == id {
			delete(h.house.values, topic)
			h.out.put(topic, message{})
		}
	}
}

// hearStatus believes a live beat, and a retained one until the next must have
// come. A will counts for its own run only.
func (h *Hook) hearStatus(m bus.Message) error {
	name := bus.GatewayOf(m.Topic)
	if len(m.Payload) == 0 {
		if _, known := h.house.gateways[name]; known {
			delete(h.house.gateways, name)
			h.out.put(h.config.online(name), message{})
		}
		return nil
	}
	var s contract.Status
	if err := json.Unmarshal(m.Payload, &s); err != nil {
		return fmt.Errorf("status of %s: %w", name, err)
	}
	g := h.house.gateways[name]
	switch {
	case g == nil && len(h.house.gateways) >= maxGateways:
		return fmt.Errorf("status of %s: too many gateways", name)
	case g == nil:
		g = &gateway{}
		h.house.gateways[name] = g
	case !s.Online && s.Epoch != g.epoch:
		return nil
	}
	g.epoch, g.online, g.heard = s.Epoch, s.Online, time.Now()
	h.tell(name, g)
	return nil
}

// tell publishes whether a gateway is online, when that is news.
func (h *Hook) tell(name string, g *gateway) {
	now := g.online && time.Since(g.heard) < silence
	if g.ever && g.said == now {
		return
	}
	g.ever, g.said = true, now
	text := offline
	if now {
		text = online
	}
	h.out.put(h.config.online(name), message{payload: []byte(text)})
}

// beats looks for gateways that have fallen silent, and places that have gone.
func (h *Hook) beats() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep()
	for name, g := range h.house.gateways {
		h.tell(name, g)
	}
}

// sayAll publishes everything again; the caller holds the lock.
func (h *Hook) sayAll() {
	h.out.put(h.config.own(), message{payload: []byte(online)})
	for name, g := range h.house.gateways {
		g.ever = false
		h.tell(name, g)
	}
	for _, p := range h.house.places {
		h.announce(p)
	}
	for topic := range h.house.values {
		h.out.put(topic, message{value: true})
	}
}
