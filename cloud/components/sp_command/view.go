package spcommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	alive    = 30 * time.Second       // a gateway without a live status for so long is unreachable
	quiet    = 300 * time.Millisecond // without news of the registry: it has said everything
	sweep    = 2 * time.Second        // after which what it has not said again is no more
	patience = 5 * time.Second        // for the registry, after our start
	// What strangers could make us remember.
	maxPlaces   = 1_000_000
	maxGateways = 10_000
)

var errNoRegistry = errors.New("the registry has not said yet what places there are, try again")

// view is what sp_command knows of the house, from the bus.
type view struct {
	mu       sync.Mutex // protects the fields below
	round    int        // counts connections
	said     time.Time  // when the registry last said something
	site     contract.Site
	siteIn   int // round in which the site was heard, 0 for never
	places   map[device.ID]placed
	gateways map[string]*gateway
	changed  chan struct{} // closed and replaced at each news
}

// placed is a place by its id with the floor spelled out, and when it was heard.
type placed struct {
	contract.Place

	round int
}

// gateway is what is known of one.
type gateway struct {
	info    contract.GatewayInfo // as registered
	status  contract.Status
	heard   time.Time // when the status came, live; zero for never
	offline bool      // its will came, or what is retained says so
}

func newView() *view {
	return &view{places: make(map[device.ID]placed), gateways: make(map[string]*gateway), changed: make(chan struct{})}
}

// connected begins a new round: what is retained comes again, and what does not
// come is no more.
func (v *view) connected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.round++
	v.said = time.Now()
}

// news wakes those who wait for something; the caller holds the lock.
func (v *view) news() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// hear takes in a message of the registry or a gateway's status.
func (v *view) hear(m bus.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.news()
	if strings.HasPrefix(m.Topic, "gateways/") {
		v.hearStatus(m)
		return
	}
	v.said = time.Now()
	switch name := strings.TrimPrefix(m.Topic, "registry/"); {
	case name == "site":
		if json.Unmarshal(m.Payload, &v.site) == nil {
			v.siteIn = v.round
		}
	case strings.HasPrefix(name, "gateways/"):
		v.hearGateway(strings.TrimPrefix(name, "gateways/"), m.Payload)
	case strings.HasPrefix(name, "places/"):
		v.hearPlace(strings.TrimPrefix(name, "places/"), m.Payload)
	}
}

func (v *view) hearPlace(name string, payload []byte) {
	id, err := device.Parse(name)
	if err != nil {
		return
	}
	var p contract.Place
	if len(payload) == 0 {
		delete(v.places, id)
	} else if json.Unmarshal(payload, &p) == nil && p.Device == id && len(v.places) < maxPlaces {
		v.places[id] = placed{p, v.round}
	}
}

func (v *view) hearGateway(name string, payload []byte) {
	var info contract.GatewayInfo
	if len(payload) == 0 {
		delete(v.gateways, name)
	} else if json.Unmarshal(payload, &info) == nil {
		v.gateway(name).info = info
	}
}

func (v *view) gateway(name string) *gateway {
	g := v.gateways[name]
	if g == nil {
		g = &gateway{}
		if len(v.gateways) < maxGateways {
			v.gateways[name] = g
		}
	}
	return g
}

// hearStatus takes a beat of a gateway in. Only a live one tells that it lives;
// a will counts for its own epoch only, for it may come after the gateway is
// back.
func (v *view) hearStatus(m bus.Message) {
	var s contract.Status
	if json.Unmarshal(m.Payload, &s) != nil {
		return
	}
	g := v.gateway(bus.GatewayOf(m.Topic))
	switch {
	case !s.Online && (g.heard.IsZero() || s.Epoch == g.status.Epoch):
		g.offline = true
	case s.Online && !m.Retained:
		g.status, g.heard, g.offline = s, time.Now(), false
	case s.Online && g.heard.IsZero():
		g.offline = false // retained: a beat will tell
	}
}

// wait waits until the condition, which is called with the lock held, holds.
func (v *view) wait(ctx context.Context, holds func() (bool, time.Duration)) error {
	for {
		v.mu.Lock()
		ok, again := holds()
		changed := v.changed
		v.mu.Unlock()
		if ok {
			return nil
		}
		var timer <-chan time.Time // of a condition that time makes true
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-changed:
		case <-timer:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settled waits until the registry is known and says nothing more: right after
// a start, and while an inventory is being published. At other times it does
// not wait.
func (v *view) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := v.wait(ctx, func() (bool, time.Duration) {
		if v.siteIn == 0 {
			return false, 0
		}
		left := quiet - time.Since(v.said)
		return left <= 0, left
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && v.siteIn == 0 {
		return errNoRegistry
	}
	return nil // a registry that never ends speaking keeps nobody from switching
}

// gone tells whether something heard in an earlier round is no more; the caller
// holds the lock.
func (v *view) gone(round int) bool {
	return round < v.round && v.siteIn == v.round && time.Since(v.said) > sweep
}

// house is a look at the places, for one command.
type house struct {
	defaultFloor int
	places       map[device.ID]contract.Place // by id with the floor spelled out
	floors       []int
}

// look gives the places that there are now. With ids alone only they are looked
// up, which spares a large house the copying.
func (v *view) look(targets []target) house {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := house{defaultFloor: v.site.DefaultFloor, places: make(map[device.ID]contract.Place)}
	all := targets == nil
	for _, t := range targets {
		all = all || t.group
		for _, id := range t.id.Spellings(h.defaultFloor) {
			v.copyPlace(h, id)
		}
	}
	if all {
		floors := make(map[int]bool)
		for id := range v.places {
			v.copyPlace(h, id)
		}
		for id := range h.places {
			f, _ := id.Floor()
			floors[f] = true
		}
		h.floors = slices.Sorted(maps.Keys(floors))
	}
	return h
}

func (v *view) copyPlace(h house, id device.ID) {
	if p, known := v.places[id]; known && !v.gone(p.round) {
		h.places[id.On(h.defaultFloor)] = p.Place
	}
}

// allowed is how long a gateway has for n switches, when nobody says how long.
func (v *view) allowed(name string, standard time.Duration, n int, on bool) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	var info contract.GatewayInfo
	if g := v.gateways[name]; g != nil {
		info = g.info
	}
	return info.Allowed(standard, n, on)
}

// reach gives the deadline and configuration version for a command to a gateway
// that is allowed so much time; an error says why it is unreachable. Right after
// the start it waits for the gateway's first beat, and then at most until ctx
// ends.
func (v *view) reach(ctx context.Context, name string, until time.Time) (d contract.Deadline, version uint64, err error) {
	waitErr := v.wait(ctx, func() (bool, time.Duration) {
		g := v.gateways[name]
		switch {
		case g == nil:
			err = fmt.Errorf("gateway %s is not registered", name)
		case g.offline:
			err = fmt.Errorf("gateway %s is offline", name)
		case g.heard.IsZero():
			err = fmt.Errorf("gateway %s: no status since the start of sp_command", name)
			return false, 0
		case time.Since(g.heard) >= alive:
			err = fmt.Errorf("gateway %s: no status for %.0f s", name, time.Since(g.heard).Seconds())
		default:
			err = nil
			d = contract.Deadline{BootID: g.status.BootID, Monotonic: g.status.Monotonic + until.Sub(g.heard).Seconds()}
			version = g.info.ConfigVersion
		}
		return true, 0
	})
	if err == nil {
		err = waitErr
	}
	return d, version, err
}
