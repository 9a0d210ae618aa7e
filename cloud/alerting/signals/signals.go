package signals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	// silence is how long a gateway may say nothing before it counts as offline.
	silence = 30 * time.Second
	// settle is how long after a new connection, or after the registry was first
	// heard, all that is retained has surely come.
	settle = 30 * time.Second
	// again is how often the facts about gateways are repeated: rules hold over
	// samples.
	again = 10 * time.Second
	// keepRoom bounds the room for samples that is kept from call to call.
	keepRoom = 20_000
)

var (
	errMalformed = errors.New("malformed message")
	errFull      = errors.New("not kept: too much is kept already")
)

// Signals makes samples. Its methods are not safe for concurrent use. The time
// handed to them is the cloud's; the samples they return are good until the next
// call of any of them.
type Signals struct {
	log       *slog.Logger
	sparing   hook.Sparing
	decoder   hook.Decoder
	watched   func(measurement string) bool // nil: all are
	malformed int

	house    *house
	gateways map[string]*gateway
	found    int // plugs remembered of all gateways

	now       device.Micros // the newest that was told
	up        bool
	connected device.Micros // when this connection began
	due       device.Micros // when facts are repeated next
	out       []engine.Sample
}

// New knows nothing and hears nothing until [Signals.Connected].
func New(log *slog.Logger) *Signals {
	return &Signals{log: log, house: newHouse(), gateways: make(map[string]*gateway)}
}

// Watch says which measurements of devices are of interest; nobody need see the
// others. Without it all are.
func (s *Signals) Watch(watched func(measurement string) bool) { s.watched = watched }

// Filters are the topic filters of what must be heard, in the order in which to
// subscribe to them: the house comes before what is said of it. They are not to be
// shared with anybody.
func (*Signals) Filters() []string {
	return []string{bus.SiteTopic, bus.GatewaysInfoPrefix + "+", bus.PlacesPrefix + "+", bus.FoundFilter, bus.StatusFilter, bus.DataFilter}
}

// Connected says that a new connection begins, before anything is heard on it.
// How gateways are has to be heard anew; what the registry does not repeat within
// half a minute was deleted meanwhile.
func (s *Signals) Connected(now device.Micros) {
	s.begin(now)
	s.up, s.connected, s.due = true, now, now+micros(again)
	s.house.connected()
	for _, g := range s.gateways {
		g.beat, g.left, g.feeding = 0, false, 0
	}
}

// Disconnected says that the connection is lost: nothing is known until the next.
func (s *Signals) Disconnected() { s.up = false }

// Malformed counts the messages that were ignored because they say nothing, or
// because there is no room for what they say.
func (s *Signals) Malformed() int { return s.malformed }

// House is what is known of the building, always the newest.
func (s *Signals) House() engine.House { return s.house }

// Changed reports whether the house has changed since this was asked last, in
// something that alerts depend on; that all of it must have been heard now counts
// as a change.
func (s *Signals) Changed() bool {
	changed := s.house.changed
	s.house.changed = false
	return changed
}

// Hear takes a message of the filters.
func (s *Signals) Hear(m bus.Message, now device.Micros) []engine.Sample {
	s.begin(now)
	if err := s.hear(m); err != nil {
		s.malformed++
		source := sourceOf(m.Topic)
		if s.sparing.May(source) {
			s.log.WarnContext(context.Background(), "message ignored", slog.String("source", clip(source)), slog.String("topic", clip(m.Topic)), slog.Any("err", err))
		}
	}
	return s.out
}

func (s *Signals) hear(m bus.Message) error {
	if most := limitOf(m.Topic); len(m.Payload) > most {
		return fmt.Errorf("%w: %d bytes, at most %d fit", errMalformed, len(m.Payload), most)
	}
	switch {
	case strings.HasPrefix(m.Topic, "data/"):
		return s.hearData(m)
	case m.Topic == bus.SiteTopic:
		return s.house.hearSite(m.Payload, s.now)
	case strings.HasPrefix(m.Topic, bus.PlacesPrefix):
		return s.house.hearPlace(m.Topic[len(bus.PlacesPrefix):], m.Payload)
	case strings.HasPrefix(m.Topic, bus.GatewaysInfoPrefix):
		return s.hearGateway(m.Topic[len(bus.GatewaysInfoPrefix):], m.Payload)
	case strings.HasPrefix(m.Topic, "gateways/") && strings.HasSuffix(m.Topic, "/status"):
		return s.hearStatus(m)
	case strings.HasPrefix(m.Topic, "gateways/") && strings.HasSuffix(m.Topic, "/found"):
		return s.hearFound(m)
	default:
		return nil // none of our business
	}
}

// limitOf is how long a message may be, in bytes.
func limitOf(topic string) int {
	switch {
	case strings.HasPrefix(topic, "data/"):
		return bus.MaxInflated
	case strings.HasPrefix(topic, "gateways/"):
		return maxStatus
	default:
		return maxDocument
	}
}

// Tick lets time pass; call it every second.
func (s *Signals) Tick(now device.Micros) []engine.Sample {
	s.begin(now)
	if !s.up {
		return nil
	}
	s.house.settled(now)
	for _, name := range s.house.sweep(now) {
		s.forget(name)
	}
	if now < s.due {
		return nil
	}
	s.due = now + micros(again)
	s.repeat()
	return s.out
}

func (s *Signals) begin(now device.Micros) {
	if back := s.now - now; back > 0 {
		s.setBack(back)
	}
	s.now = now
	if s.out = s.out[:0]; cap(s.out) > keepRoom {
		s.out = nil
	}
}

// setBack follows the cloud's clock, which went back: what was a minute ago still
// was, and nobody is silent for less time.
func (s *Signals) setBack(by device.Micros) {
	s.move(func(t device.Micros) device.Micros { return max(1, t-by) })
}

// SetAhead follows the cloud's clock, which was set ahead by so much and says now:
// nobody was silent for that time.
func (s *Signals) SetAhead(by, now device.Micros) {
	s.move(func(t device.Micros) device.Micros { return min(t+by, now) })
}

// move moves the times of the cloud's clock; 0 is never, and stays.
func (s *Signals) move(to func(device.Micros) device.Micros) {
	move := func(times ...*device.Micros) {
		for _, t := range times {
			if *t != 0 {
				*t = to(*t)
			}
		}
	}
	move(&s.connected, &s.due, &s.house.here)
	for _, g := range s.gateways {
		move(&g.heard, &g.beat, &g.feeding, &g.data)
	}
}

// add makes a sample of a fact, which is so now.
func (s *Signals) add(subject engine.Subject, signal string, value float64) {
	s.out = append(s.out, engine.Sample{Subject: subject, Signal: signal, Gateway: subject.Gateway, At: s.now, Value: value})
}

func micros(d time.Duration) device.Micros { return device.Micros(d.Microseconds()) }

func seconds(d device.Micros) float64 { return float64(d) / 1e6 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sourceOf is the second level of a topic, who published where that is said.
func sourceOf(topic string) string {
	_, rest, _ := strings.Cut(topic, "/")
	source, _, _ := strings.Cut(rest, "/")
	return source
}

// clip keeps log lines short whatever a stranger has sent.
func clip(text string) string {
	const most = 120
	return text[:min(len(text), most)]
}

func decode[T any](payload []byte) (v T, err error) {
	if err := json.Unmarshal(payload, &v); err != nil {
		return v, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return v, nil
}
