package republish

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/senml"
)

// Name of the hook on the bus.
const Name = "republish"

const (
	online  = "online"
	offline = "offline"
	set     = "set"

	beatEvery = time.Second
	paceEvery = 20 * time.Millisecond
	burst     = 200 * time.Millisecond // at the rate
	leave     = 2 * time.Second
)

// Hook republishes. Replicas share the readings and the commands.
type Hook struct {
	config  Config
	log     *slog.Logger
	count   counts
	sources hook.Sources
	out     *outgoing
	orders  *orders

	mu    sync.Mutex // protects house
	house house
}

type counts struct {
	published, superseded, shed, malformed, old, unplaced, crowded *metrics.Counter
	commands                                                       *metrics.CounterVec
}

// New allocates a hook; r may be nil.
func New(config Config, r *metrics.Registry, log *slog.Logger) *Hook {
	h := &Hook{config: config, log: log, house: newHouse(), count: counts{
		published:  r.Counter("wattline_republish_published_total", "Messages published."),
		superseded: r.Counter("wattline_republish_superseded_total", "Readings that were never published because a newer one came before they could be."),
		shed:       r.Counter("wattline_republish_shed_total", "Messages that came faster than they could be looked at."),
		malformed:  r.Counter("wattline_republish_malformed_total", "Messages that could not be read."),
		old:        r.Counter("wattline_republish_old_total", "Readings that were older than what was known already."),
		unplaced:   r.Counter("wattline_republish_unplaced_total", "Readings that a gateway told of a place that is not registered."),
		crowded:    r.Counter("wattline_republish_crowded_total", "Readings of new devices or measurements beyond the limit of 200,000."),
		commands:   r.CounterVec("wattline_republish_commands_total", "Commands of Home Assistant by how they ended.", 20, "outcome"),
	}}
	h.out = newOutgoing(h.count.superseded.Inc)
	h.orders = newOrders(h)
	return h
}

// Run republishes until ctx ends.
func (h *Hook) Run(ctx context.Context, options bus.Options) error {
	if err := h.config.Validate(); err != nil {
		return fmt.Errorf("republish: %w", err)
	}
	surveys := make(chan struct{}, 1)
	survey := func() {
		select {
		case surveys <- struct{}{}:
		default:
		}
	}
	publishing := options
	publishing.ClientID = hook.ClientID(Name + "-out")
	publishing.Will = &bus.Message{Topic: h.config.own(), Payload: []byte(offline), Retained: true}
	publishing.Up = func(context.Context, *bus.Session) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sayAll()
		survey()
		return nil
	}
	options.Up = func(context.Context, *bus.Session) error { survey(); return nil } // what came before the subscription
	out := bus.NewLink(publishing, h.log)
	readings := hook.Readings{
		Name: Name, Filters: []string{bus.StateFilter, bus.DataFilter}, Skip: h.sources.Skip, Before: h.listen, Handle: h.take,
		Shed: h.count.shed.Inc, Malformed: h.count.malformed.Inc,
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return h.speak(ctx, out) })
	all.Go(func() error { return readings.Run(ctx, options, h.log) })
	all.Go(func() error { h.surveyEach(ctx, options, surveys); return nil })
	if h.config.HomeAssistant.Enabled {
		all.Go(func() error { return h.orders.run(ctx, options) })
	}
	return all.Wait()
}

// speak publishes until ctx ends, and then that nothing follows: who leaves in
// order leaves no will.
func (h *Hook) speak(ctx context.Context, out *bus.Link) error {
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	defer unlink()
	failed := make(chan error, 1)
	go func() { failed <- out.Run(linked) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	published := make(chan struct{})
	go func() { defer close(published); h.publish(ctx, out) }()
	select {
	case err := <-failed: // an address that can never work
		stop()
		<-published
		return err
	case <-published:
	}
	last, cancel := context.WithTimeout(linked, leave)
	defer cancel()
	if out.IsUp() {
		if err := out.Publish(last, bus.Message{Topic: h.config.own(), Payload: []byte(offline), Retained: true}); err != nil {
			h.log.DebugContext(last, "leave not taken", slog.Any("err", err))
		}
	}
	unlink()
	return <-failed
}

// listen subscribes to what the hook must know before it hears readings.
func (h *Hook) listen(ctx context.Context, s *bus.Session) error {
	h.connected()
	filters := append(h.sources.Filters(), bus.SiteTopic, bus.PlacesPrefix+"+", h.config.own())
	if h.config.HomeAssistant.Enabled {
		// First, so that what is announced can be switched.
		if err := s.Subscribe(ctx, hook.Shared(Name, h.config.command("+")), h.orders.take); err != nil {
			return err
		}
		filters = append(filters, h.config.HomeAssistant.Prefix+"/status")
	}
	for _, filter := range filters {
		if err := s.Subscribe(ctx, filter, h.hear); err != nil {
			return err
		}
	}
	return nil
}

// take looks at what a message brought.
func (h *Hook) take(_ context.Context, d hook.Delivery) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !d.Cleared.IsZero() {
		if _, registered := h.house.spelling(d.Cleared); !registered {
			h.forget(d.Cleared)
		}
		return nil // a registered place has moved, and its next gateway goes on
	}
	for _, r := range d.Readings {
		h.reading(d, r)
	}
	return nil
}

// plain is a reading as it is published.
type plain struct {
	Value  any       `json:"value"`
	Unit   string    `json:"unit,omitempty"`
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
}

// reading publishes one that is newer than what is known; the caller holds the
// lock.
func (h *Hook) reading(d hook.Delivery, r hook.Reading) {
	place, registered := h.house.spelling(r.Device)
	switch {
	case registered:
		r.Device = place.Device
	case d.State || h.sources.Gateway(d.Source):
		h.count.unplaced.Inc() // the last word of a place that has just gone
		return
	}
	if r.Measurement == set || bus.CheckTopic(r.Measurement) != nil {
		h.count.malformed.Inc() // it would be a command
		return
	}
	topic := h.config.value(r.Device.String(), r.Measurement)
	before, known := h.house.values[topic]
	switch {
	case known && before.at >= r.Time:
		h.count.old.Inc()
		return
	case !known && len(h.house.values) >= maxValues:
		h.count.crowded.Inc()
		return
	}
	p := plain{Value: r.Value, Unit: unitOf(r.Unit), Time: r.Time.Time(), Source: d.Source}
	if r.Kind == senml.Text || r.Kind == senml.Data {
		p.Value = r.Text
	}
	h.house.values[topic] = value{r.Time, r.Device, p}
	h.out.put(topic, message{value: true})
}

// unitOf is the unit for people: SenML's / is a ratio or a state.
func unitOf(unit string) string {
	if unit == "/" {
		return ""
	}
	return unit
}

// publish sends what waits until ctx ends, no faster than the rate: ten thousand
// announcements at once would hold up the connection's own pings. What the
// connection does not take is said again when there is another.
func (h *Hook) publish(ctx context.Context, link *bus.Link) {
	beat, pace := time.NewTicker(beatEvery), time.NewTicker(paceEvery)
	defer beat.Stop()
	defer pace.Stop()
	most := max(1, h.config.Rate*int(burst/time.Millisecond)/1000)
	share := float64(h.config.Rate) * paceEvery.Seconds()
	credit := float64(most)
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			h.beats()
			continue
		case <-pace.C:
			credit = min(credit+share, float64(most))
		case <-h.out.wake:
		}
		if link.AwaitUp(ctx) != nil {
			return
		}
		for _, m := range h.out.take(int(credit)) {
			credit--
			if m.value {
				m.payload = h.plainly(m.topic)
				if m.payload == nil {
					continue // it has gone meanwhile
				}
			}
			if link.Send(bus.Message{Topic: m.topic, Payload: m.payload, Retained: true, QoS0: m.value}) != nil {
				break
			}
			h.count.published.Inc()
		}
	}
}

// plainly is what a topic of a reading says now; nil for nothing.
func (h *Hook) plainly(topic string) []byte {
	h.mu.Lock()
	v, known := h.house.values[topic]
	h.mu.Unlock()
	if !known {
		return nil
	}
	payload, err := json.Marshal(v.plain)
	if err != nil { // a number that JSON cannot say, which SenML cannot either
		h.count.malformed.Inc()
		return nil
	}
	return payload
}

// stays tells whether a value is to stay: what somebody registered, or what
// a source that is no gateway told within a day.
func (h *Hook) stays(id device.ID, p plain) bool {
	if _, registered := h.house.spelling(id); registered {
		return true
	}
	return !h.sources.Gateway(p.Source) && time.Since(p.Time) < 24*time.Hour
}
