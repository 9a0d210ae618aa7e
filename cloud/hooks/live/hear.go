package live

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

const (
	alertsFilter = "alerts/#"
	maxAlert     = 64 << 10
	maxValues    = 100 // of one place
	maxGateways  = 10_000
	silence      = 30 * time.Second
	settle       = 30 * time.Second // for retained messages to come again
)

// Run hears the bus until ctx ends, and then ends all streams. Each hub hears
// everything: it does not share.
func (h *Hub) Run(ctx context.Context, options bus.Options) error {
	defer h.close()
	readings := hook.Readings{
		Name: "live", Alone: true, Filters: []string{bus.StateFilter, bus.DataFilter}, Skip: h.sources.Skip, Before: h.listen, Handle: h.take,
		Shed: h.count.shed.Inc, Malformed: h.count.malformed.Inc,
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return readings.Run(ctx, options, h.log) })
	all.Go(func() error { h.keepTime(ctx); return nil })
	return all.Wait()
}

// keepTime wakes followers and looks for what is silent.
func (h *Hub) keepTime(ctx context.Context) {
	wake, look := time.NewTicker(wakeEvery), time.NewTicker(time.Second)
	defer wake.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
			h.wake()
		case <-look.C:
			h.look()
		}
	}
}

func (h *Hub) listen(ctx context.Context, s *bus.Session) error {
	h.mu.Lock()
	h.round++
	h.roundAt, h.sweeping = time.Now(), h.round > 1
	h.mu.Unlock()
	for _, filter := range append(h.sources.Filters(), alertsFilter) {
		if err := s.Subscribe(ctx, filter, h.hear); err != nil {
			return err
		}
	}
	return nil
}

// hear is called by the connection's reader.
func (h *Hub) hear(m bus.Message) {
	if strings.HasPrefix(m.Topic, "alerts/") {
		h.hearAlert(m)
		return
	}
	h.sources.Hear(m)
	if strings.HasPrefix(m.Topic, "gateways/") {
		h.hearStatus(m)
	}
}

// hearAlert passes an alert on as it is.
func (h *Hub) hearAlert(m bus.Message) {
	e := &event{Event: contract.Event{Kind: contract.EventAlert}, key: m.Topic, gone: len(m.Payload) == 0}
	view := struct {
		Topic string          `json:"topic"`
		Alert json.RawMessage `json:"alert"`
	}{Topic: m.Topic}
	if !e.gone {
		var about struct {
			Device string `json:"device"`
			Floor  *int   `json:"floor"`
		}
		var text bytes.Buffer
		if len(m.Payload) > maxAlert || json.Compact(&text, m.Payload) != nil {
			h.count.malformed.Inc()
			return
		}
		_ = json.Unmarshal(m.Payload, &about) // what it does not say it does not say
		e.Device, _ = device.Parse(about.Device)
		e.Floor = about.Floor
		view.Alert = text.Bytes()
	}
	var err error
	if e.Data, err = json.Marshal(view); err != nil {
		h.count.malformed.Inc()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, known := h.current[e.key]; known && e.gone { // for who may not see the rest
		e.Device, e.Floor = before.Device, before.Floor
	}
	h.add(e)
}

// beat is what is known of a gateway.
type beat struct {
	contract.Status

	heard time.Time
}

type gatewayView struct {
	Gateway    string `json:"gateway"`
	Online     bool   `json:"online"`
	Configured int    `json:"plugs_configured"`
	Reachable  int    `json:"plugs_reachable"`
	Gone       bool   `json:"gone,omitempty"`
}

// hearStatus counts a will for its own run only.
func (h *Hub) hearStatus(m bus.Message) {
	name := bus.GatewayOf(m.Topic)
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.beats[name]
	if len(m.Payload) == 0 {
		delete(h.beats, name)
		h.addGateway(gatewayView{Gateway: name, Gone: true})
		return
	}
	var s contract.Status
	switch err := json.Unmarshal(m.Payload, &s); {
	case err != nil || b == nil && len(h.beats) >= maxGateways:
		h.count.malformed.Inc()
		return
	case b == nil:
		b = &beat{}
		h.beats[name] = b
	case !s.Online && s.Epoch != b.Epoch:
		return
	case !s.Online && s.Time == 0: // a will says no more
		s.Plugs = b.Plugs
	}
	b.Status, b.heard = s, time.Now()
	h.tell(name, b)
}

func (h *Hub) tell(name string, b *beat) {
	h.addGateway(gatewayView{
		Gateway: name, Online: b.Online && time.Since(b.heard) < silence, Configured: b.Plugs.Configured, Reachable: b.Plugs.Reachable,
	})
}

func (h *Hub) addGateway(v gatewayView) {
	data, err := json.Marshal(v)
	if err != nil { // a text and numbers
		return
	}
	h.add(&event{Event: contract.Event{Kind: contract.EventGateway, Gateway: v.Gateway, Data: data}, key: "gateways/" + v.Gateway, gone: v.Gone})
}

// look tells of gateways that have fallen silent, and of what went while there
// was no connection.
func (h *Hub) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, b := range h.beats {
		h.tell(name, b)
	}
	if !h.sweeping || time.Since(h.roundAt) < settle {
		return
	}
	h.sweeping = false
	for key, e := range h.current {
		switch {
		case e.round == h.round:
		case strings.HasPrefix(key, "state/"):
			h.addState(key, stateView{Device: e.Device, Gateway: e.Gateway, Gone: true})
		case strings.HasPrefix(key, "alerts/"):
			data, _ := json.Marshal(map[string]any{"topic": key, "alert": nil})
			h.add(&event{Event: contract.Event{Kind: contract.EventAlert, Device: e.Device, Floor: e.Floor, Data: data}, key: key, gone: true})
		}
	}
}

// stateView is the newest reading of a place, in the form of
// /api/v1/devices/{id}/state.
type stateView struct {
	Device  device.ID            `json:"device"`
	Gateway string               `json:"gateway"`
	Time    *time.Time           `json:"time,omitempty"`
	On      *bool                `json:"on,omitempty"`
	Values  map[string]valueView `json:"values,omitempty"`
	Gone    bool                 `json:"gone,omitempty"`
}

type valueView struct {
	Value any    `json:"value"`
	Unit  string `json:"unit,omitempty"`
}

// state is what a source that is no gateway has told of a place: it need not say
// everything at once.
type state struct {
	newest map[string]hook.Reading
}

// take makes events of readings.
func (h *Hub) take(_ context.Context, d hook.Delivery) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !d.Cleared.IsZero() {
		h.addState(d.Topic, stateView{Device: d.Cleared, Gateway: d.Source, Gone: true})
		return nil
	}
	if d.State {
		if len(d.Readings) > 0 {
			h.addState(d.Topic, viewOf(d.Readings[0].Device, d.Source, d.Readings[:min(len(d.Readings), maxValues)]))
		}
		return nil
	}
	touched := make(map[device.ID]bool)
	for _, r := range d.Readings {
		if h.newer(d.Source, r) {
			touched[r.Device] = true
		}
	}
	for id := range touched {
		key := "data/" + d.Source + "/" + id.String()
		var all []hook.Reading
		for _, r := range h.states[key].newest {
			all = append(all, r)
		}
		h.addState(key, viewOf(id, d.Source, all))
	}
	return nil
}

// newer keeps a reading that is newer than what was told; the caller holds the
// lock.
func (h *Hub) newer(source string, r hook.Reading) bool {
	key := "data/" + source + "/" + r.Device.String()
	s := h.states[key]
	switch {
	case s == nil && len(h.states) >= maxCurrent:
		h.count.malformed.Inc()
		return false
	case s == nil:
		s = &state{newest: make(map[string]hook.Reading)}
		h.states[key] = s
	}
	before, known := s.newest[r.Measurement]
	if known && before.Time >= r.Time || !known && len(s.newest) >= maxValues {
		return false
	}
	s.newest[r.Measurement] = r
	return true
}

func viewOf(id device.ID, source string, readings []hook.Reading) stateView {
	v := stateView{Device: id, Gateway: source, Values: make(map[string]valueView, len(readings))}
	var newest device.Micros
	for _, r := range readings {
		newest = max(newest, r.Time)
		if r.Kind == senml.Text || r.Kind == senml.Data {
			v.Values[r.Measurement] = valueView{r.Text, r.Unit}
			continue
		}
		v.Values[r.Measurement] = valueView{r.Value, r.Unit}
		if r.Measurement == device.Status {
			on := r.Value != 0
			v.On = &on
		}
	}
	at := newest.Time()
	v.Time = &at
	return v
}

// addState tells a state; the caller holds the lock.
func (h *Hub) addState(key string, v stateView) {
	data, err := json.Marshal(v)
	if err != nil {
		h.count.malformed.Inc()
		return
	}
	h.add(&event{Event: contract.Event{Kind: contract.EventState, Device: v.Device, Gateway: v.Gateway, Data: data}, key: key, gone: v.Gone})
}
