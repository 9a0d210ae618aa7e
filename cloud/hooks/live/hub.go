package live

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// The ends of a stream, and why there is none.
var (
	ErrFull   = errors.New("too many follow the events")
	ErrSlow   = errors.New("the events have gone on too far")
	ErrClosed = errors.New("the events have ended")
)

// Sizes.
const (
	ringEvents = 16_384
	ringBytes  = 32 << 20
	clients    = 256
	maxCurrent = 100_000
	chunk      = 512 // events at once, so that a filter never holds others up
	wakeEvery  = 50 * time.Millisecond
)

// Options of a hub; zero means the default.
type Options struct {
	Events, Bytes int // of the ring: 16,384 and 32 MiB
	Clients       int // who follow at once: 256
	Metrics       *metrics.Registry
}

// Hub holds the events. Safe for concurrent use.
type Hub struct {
	options Options
	log     *slog.Logger
	run     string // names this run in ids
	sources hook.Sources
	count   counts

	mu       sync.Mutex // protects the fields below
	ring     []*event   // in the order of their positions, which have no gaps
	next     uint64     // position of the next event
	bytes    int
	current  map[string]*event
	states   map[string]*state // of sources that are no gateways
	beats    map[string]*beat
	changed  chan struct{} // closed when there is news
	news     bool          // since changed was made
	closed   bool
	clients  int
	round    int // of connections; what is not repeated in one has gone
	roundAt  time.Time
	sweeping bool
}

type counts struct {
	events, slow, full, shed, malformed, resets, resumed *metrics.Counter
}

type event struct {
	contract.Event

	key      string
	position uint64
	round    int
	gone     bool
}

// New allocates a hub; Run feeds it.
func New(options Options, log *slog.Logger) *Hub {
	if options.Events == 0 {
		options.Events = ringEvents
	}
	if options.Bytes == 0 {
		options.Bytes = ringBytes
	}
	if options.Clients == 0 {
		options.Clients = clients
	}
	r := options.Metrics
	h := &Hub{
		options: options, log: log, run: hook.Instance(), next: 1, current: make(map[string]*event), states: make(map[string]*state),
		beats: make(map[string]*beat), changed: make(chan struct{}), count: counts{
			events:    r.Counter("wattline_live_events_total", "Events told to those who follow."),
			slow:      r.Counter("wattline_live_slow_total", "Followers dropped because they were too slow."),
			full:      r.Counter("wattline_live_full_total", "Followers refused because there were too many."),
			shed:      r.Counter("wattline_live_shed_total", "Messages that came faster than they could be looked at."),
			malformed: r.Counter("wattline_live_malformed_total", "Messages that could not be read, or were too many to be kept."),
			resets:    r.Counter("wattline_live_resets_total", "Streams that began with everything as it is now."),
			resumed:   r.Counter("wattline_live_resumed_total", "Streams that went on behind an event."),
		},
	}
	r.GaugeFunc("wattline_live_followers", "Who follows the events now.", func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.clients)
	})
	return h
}

// add tells an event, unless it changes nothing; the caller holds the lock.
func (h *Hub) add(e *event) {
	before, known := h.current[e.key]
	switch {
	case e.gone && !known:
		return
	case e.gone:
		delete(h.current, e.key)
	case known && bytes.Equal(before.Data, e.Data):
		before.round = h.round
		return
	case !known && len(h.current) >= maxCurrent:
		h.count.malformed.Inc()
		return
	default:
		e.round = h.round
		h.current[e.key] = e
	}
	e.position = h.next
	e.ID = h.id(h.next)
	h.next++
	h.ring = append(h.ring, e)
	h.bytes += len(e.Data)
	for len(h.ring) > h.options.Events || h.bytes > h.options.Bytes && len(h.ring) > 1 {
		h.bytes -= len(h.ring[0].Data)
		h.ring[0] = nil
		h.ring = h.ring[1:]
	}
	h.news = true
	h.count.events.Inc()
}

func (h *Hub) id(position uint64) string { return h.run + "-" + strconv.FormatUint(position, 10) }

// first is the oldest position that the ring still has; the caller holds the
// lock.
func (h *Hub) first() uint64 { return h.next - uint64(len(h.ring)) }

// wake lets those go on who wait for news.
func (h *Hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.news || h.closed {
		return
	}
	h.news = false
	close(h.changed)
	h.changed = make(chan struct{})
}

// close ends all streams.
func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.changed)
	}
}

// Follower is somebody's place in the stream. One goroutine uses it.
type Follower struct {
	hub    *Hub
	wants  func(contract.Event) bool
	next   uint64   // position to be read next
	begin  []*event // everything as it was; nil once told
	reset  string   // why the stream begins anew; "" when it does not, or has
	closed bool
}

// Follow begins a stream behind the event with the id after, "" for who comes
// first. wants chooses events; it must not block. Close the follower.
func (h *Hub) Follow(after string, wants func(contract.Event) bool) (*Follower, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.clients >= h.options.Clients:
		h.count.full.Inc()
		return nil, ErrFull
	}
	h.clients++
	f := &Follower{hub: h, wants: wants}
	if f.next, f.reset = h.resume(after); f.reset == "" {
		h.count.resumed.Inc()
		return f, nil
	}
	h.count.resets.Inc()
	f.next = h.next
	f.begin = make([]*event, 0, len(h.current))
	for _, e := range h.current {
		f.begin = append(f.begin, e)
	}
	return f, nil
}

// resume gives the position behind an id, or says why there is none; the caller
// holds the lock.
func (h *Hub) resume(after string) (next uint64, reset string) {
	run, number, _ := strings.Cut(after, "-")
	position, err := strconv.ParseUint(number, 10, 64)
	switch {
	case after == "":
		return 0, "start"
	case err != nil || run != h.run || position >= h.next:
		return 0, "unknown id"
	case position+1 < h.first():
		return 0, "too long ago"
	}
	return position + 1, ""
}

// Next gives the next events, in order, and waits for them until ctx ends; none
// and no error when it has ended. [ErrSlow] and [ErrClosed] end the stream.
func (f *Follower) Next(ctx context.Context) ([]contract.Event, error) {
	if f.reset != "" {
		data := `{"reason":"` + f.reset + `"}`
		f.reset = ""
		return []contract.Event{{Kind: contract.EventReset, Data: []byte(data)}}, nil
	}
	if f.begin != nil {
		return f.asItWas(), nil
	}
	for {
		events, changed, err := f.read()
		if len(events) > 0 || err != nil {
			return events, err
		}
		if changed == nil {
			continue // there is more, none of it wanted so far
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil // nothing has happened, and that is all
		}
	}
}

// asItWas tells a piece of everything as it was when the stream began.
func (f *Follower) asItWas() []contract.Event {
	n := min(len(f.begin), chunk)
	var events []contract.Event
	for _, e := range f.begin[:n] {
		if one := e.Event; f.wants(one) {
			one.ID = ""
			events = append(events, one)
		}
	}
	f.begin = f.begin[n:]
	if len(f.begin) == 0 {
		f.begin = nil
		events = append(events, contract.Event{ID: f.hub.id(f.next - 1), Kind: contract.EventCurrent, Data: []byte("{}")})
	}
	return events
}

// read gives what the ring has for the follower. changed is what to wait for
// when there is nothing.
func (f *Follower) read() (events []contract.Event, changed <-chan struct{}, err error) {
	h := f.hub
	h.mu.Lock()
	if f.next < h.first() {
		h.mu.Unlock()
		h.count.slow.Inc()
		return nil, nil, ErrSlow
	}
	from := f.next - h.first()
	piece := h.ring[from:min(from+chunk, uint64(len(h.ring)))]
	piece = append(make([]*event, 0, len(piece)), piece...)
	if len(piece) == 0 {
		changed = h.changed
		if h.closed {
			err = ErrClosed
		}
	}
	h.mu.Unlock()
	f.next += uint64(len(piece))
	for _, e := range piece {
		if f.wants(e.Event) {
			events = append(events, e.Event)
		}
	}
	return events, changed, err
}

// Close gives the place back. Safe twice.
func (f *Follower) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if !f.closed {
		f.closed = true
		f.hub.clients--
	}
}
