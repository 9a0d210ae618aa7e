package collector

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	// DefaultInterval is the time between two polls of a plug.
	DefaultInterval = 10 * time.Second
	// MinInterval is the shortest; shorter ones are lengthened to it.
	MinInterval = time.Second
	// DefaultSimultaneous bounds the polls that begin at the same moment.
	DefaultSimultaneous = 256
)

// Meter asks one plug. Poll returns soon after ctx ends. Its errors may tell in
// one word what is wrong with the plug, by a method Reason() string; the words
// are those of [contract.PlugProblem].
type Meter interface {
	Poll(ctx context.Context) (device.Measurement, error)
}

// Sink accepts readings. An error says that the reading is refused, for good;
// the sink keeps account of it. With clockSet false the reading's time counts
// microseconds since boot. Called from many goroutines at once.
type Sink interface {
	Accept(r device.Reading, clockSet bool) error
}

// Target is a plug to be polled. A Meter of a new identity (another pointer)
// means other hardware or another address: its plug is asked anew.
type Target struct {
	Device   device.ID
	Interval time.Duration // default DefaultInterval, at least MinInterval
	Meter    Meter
}

// Options are what a Collector works with.
type Options struct {
	Sink Sink
	// Clock is the time of readings and whether it is set; see [Sink].
	Clock func() (at device.Micros, set bool)
	// Latest, if not nil, gets each reading besides, refused ones too: the
	// newest state goes out separately. It must not block.
	Latest func(device.Reading)
	// Simultaneous bounds the polls that begin at the same moment, default
	// DefaultSimultaneous. A poll that was not answered within a quarter of a
	// second makes room for the next and goes on, so that silent plugs cannot
	// use up the bound; connections are then at most one per plug.
	Simultaneous int
	Metrics      *metrics.Registry // may be nil
}

// Collector polls plugs. Its methods are safe for concurrent use.
type Collector struct {
	o     Options
	log   *slog.Logger
	count counts
	slots chan struct{} // room for polls that begin
	wake  chan struct{} // the schedule has changed
	polls sync.WaitGroup
	idle  chan turn // goroutines that have polled wait for the next

	mu       sync.Mutex // protects what follows and the fields of all plugs
	plugs    map[device.ID]*plug
	queue    queue // plugs that are not being polled, by their next tick
	refusing bool  // the sink refused the last reading
	changes  changes
}

// New returns a Collector without plugs; see [Collector.Set]. It does nothing
// before Run.
func New(o Options, log *slog.Logger) *Collector {
	c := &Collector{
		o: o, log: log, count: newCounts(o.Metrics),
		slots: make(chan struct{}, cmp.Or(o.Simultaneous, DefaultSimultaneous)),
		wake:  make(chan struct{}, 1),
		idle:  make(chan turn),

		changes: newChanges(),

		plugs: map[device.ID]*plug{},
	}
	o.Metrics.GaugeFunc("wattline_collector_plugs_configured", "Plugs to be polled.", func() float64 {
		return float64(c.Status().Configured)
	})
	o.Metrics.GaugeFunc("wattline_collector_plugs_reachable", "Plugs that answer.", func() float64 {
		return float64(c.Status().Reachable)
	})
	return c
}

// Set makes targets the plugs that are polled, at once and while polling. What
// stays the same keeps its phase and its state. A plug with a new Meter is asked
// at its next tick whatever it was before; a poll of the old one is given up,
// and its reading, if it comes, is dropped: it may be of hardware that is in
// another place by now. Where a device is named twice the last target counts.
func (c *Collector) Set(targets []Target) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[device.ID]*plug, len(targets))
	for _, t := range targets {
		t.Interval = max(cmp.Or(t.Interval, DefaultInterval), MinInterval)
		old := c.plugs[t.Device]
		if old == nil {
			old = next[t.Device] // named twice
		}
		next[t.Device] = old.become(t, now, rand.N(t.Interval))
	}
	for id, p := range c.plugs {
		if next[id] != p {
			p.retire()
		}
	}
	c.plugs = next
	c.queue = c.queue[:0]
	for _, p := range next {
		if !p.polling {
			c.queue = append(c.queue, p)
		}
	}
	c.queue.init()
	c.reschedule()
}

// reschedule makes Run look at the queue again.
func (c *Collector) reschedule() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run polls until ctx ends; then it gives up the polls under way, waits for
// them, and returns nil. It is called once.
func (c *Collector) Run(ctx context.Context) error {
	defer c.polls.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer c.changes.end.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		case <-c.changes.end.C:
			c.sumUp()
		}
		if wait, ok := c.launch(ctx); ok {
			timer.Reset(wait)
		}
	}
}

// launch starts the polls that are due and tells how long it is until the next.
func (c *Collector) launch(ctx context.Context) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for len(c.queue) > 0 {
		p := c.queue[0]
		if wait := p.due.Sub(now); wait > 0 {
			return wait, true
		}
		c.queue.pop()
		c.count.missed.Add(float64(p.skip(now)))
		pollCtx, cancel := context.WithTimeout(ctx, pollTimeout)
		p.polling, p.cancel = true, cancel
		turn := turn{pollCtx, p, p.due}
		select {
		case c.idle <- turn:
		default:
			c.polls.Go(func() { c.serve(ctx, turn) })
		}
	}
	return 0, false
}

// turn is a poll that is to be done.
type turn struct {
	ctx context.Context //nolint:containedctx // of this poll, on its way to who polls
	p   *plug
	due time.Time
}

// linger is how long a goroutine that has polled waits for another plug.
const linger = time.Second

// serve polls a plug, and then others: with a stack that has grown already a
// poll costs a fifteenth less.
func (c *Collector) serve(ctx context.Context, t turn) {
	rest := time.NewTimer(linger)
	defer rest.Stop()
	for {
		c.poll(t.ctx, t.p, t.due) //nolint:contextcheck // each poll has a context of its own
		rest.Reset(linger)
		select {
		case t = <-c.idle:
		case <-rest.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
