package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/webhook"
)

// receiver is one follower of the ledger.
type receiver struct {
	hook    *Hook
	config  Receiver
	choice  choice
	copies  map[string][]string
	log     *slog.Logger
	sender  *webhook.Sender
	without *hook.Queue // data that has no entry
	count   tally

	mu   sync.Mutex // protects done
	done state      // what is delivered and noted
}

// tally is the receiver's part of the hook's counts.
type tally struct {
	readings, requests, failed, refused, shed *metrics.Counter
	behindSeconds, behindEntries, up, status  *metrics.Gauge
}

func newReceiver(h *Hook, c Receiver) *receiver {
	name := c.Name
	return &receiver{
		hook: h, config: c, choice: newChoice(c), copies: h.options.Copies, log: h.log.With(slog.String("component", Name+" "+name)),
		without: hook.NewQueue(withoutLength, withoutBytes),
		count: tally{
			readings: h.count.readings.With(name), requests: h.count.requests.With(name), failed: h.count.failed.With(name),
			refused: h.count.refused.With(name), shed: h.count.shed.With(name), behindSeconds: h.count.behindSeconds.With(name),
			behindEntries: h.count.behindEntries.With(name), up: h.count.up.With(name), status: h.count.status.With(name),
		},
	}
}

// run prepares and delivers until ctx ends: while one step is sent the next is
// made.
func (r *receiver) run(ctx context.Context) {
	r.count.up.Set(1)
	at, pending, next, ok := r.begin(ctx)
	if !ok {
		return
	}
	r.set(at)
	ahead := at
	if pending != nil {
		ahead = pending.After
	}
	ready := make(chan *outgoing)
	var all sync.WaitGroup
	all.Go(func() { r.prepare(ctx, ahead, ready) })
	all.Go(func() { r.measure(ctx) })
	defer all.Wait()
	for {
		if pending == nil {
			select {
			case pending = <-ready:
			case <-ctx.Done():
				return
			}
			if next = 0; !r.note(ctx, func() error { return r.hook.file.save(r.config.Name, at, pending) }) {
				return
			}
		}
		if !r.deliver(ctx, pending, next) {
			return
		}
		at, pending, next = pending.After, nil, 0
		r.set(at)
		select { // one writing for two notes
		case pending = <-ready:
		default:
		}
		if !r.note(ctx, func() error { return r.hook.file.save(r.config.Name, at, pending) }) {
			return
		}
	}
}

// begin finds where the receiver stands, or where a new one begins.
func (r *receiver) begin(ctx context.Context) (at state, pending *outgoing, next int, ok bool) {
	var found bool
	ok = r.note(ctx, func() (err error) {
		at, pending, next, found, err = r.hook.file.load(r.config.Name)
		return err
	})
	if !ok {
		return at, nil, 0, false
	}
	if found {
		if pending != nil && !r.fits(pending) {
			// The settings have changed: made again, it fits them.
			pending, next = nil, 0
		}
		if !slices.Equal(at.Of, r.config.Databases) {
			at.Plan.Databases, at.Plan.From, at.Plan.After, at.Of = 0, 0, "", r.config.Databases
		}
		return at, pending, next, true
	}
	from, _ := r.config.from() // validated
	if r.hook.file.moved && from == 0 {
		from = 1
		r.log.ErrorContext(ctx, "where the receiver stood is lost: it gets everything that was ever entered")
	}
	ok = r.store(ctx, func() (err error) {
		at.Of = r.config.Databases
		at.Position, err = r.hook.options.Feed.Start(ctx, from)
		return err
	}) && r.note(ctx, func() error { return r.hook.file.save(r.config.Name, at, nil) })
	if ok {
		r.log.InfoContext(ctx, "new receiver", slog.String("start", r.config.Start))
	}
	return at, nil, 0, ok
}

// fits reports whether requests that were made before are such as are made now.
func (r *receiver) fits(o *outgoing) bool {
	for _, q := range o.Requests {
		if q.Readings > r.config.MaxReadings {
			return false
		}
	}
	return slices.Equal(o.After.Of, r.config.Databases)
}

// set notes what is delivered, for the metrics.
func (r *receiver) set(at state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = at
}

// deliver hands over the requests of a step from the next one on; false means that
// ctx has ended.
func (r *receiver) deliver(ctx context.Context, o *outgoing, next int) bool {
	for i := next; i < len(o.Requests); i++ {
		if !r.send(ctx, o.Requests[i]) {
			return false
		}
		if i+1 < len(o.Requests) && !r.note(ctx, func() error { return r.hook.file.took(r.config.Name, i+1) }) {
			return false
		}
	}
	return true
}

// HeaderDatabase names the database that the readings of a request are from.
const HeaderDatabase = "Wattline-Database"

// ContentType of the requests (RFC 8428 section 12.2).
const ContentType = "application/senml+json"

// send repeats a request until it is taken. What is refused waits too: to leave it
// out would be a loss that nobody has asked for.
func (r *receiver) send(ctx context.Context, q request) bool {
	pace, away, refused, last := r.hook.pace, 0, 0, ""
	for {
		err := r.sender.Send(ctx, webhook.Message{
			ID: q.ID, ContentType: ContentType, Body: q.body, Header: map[string]string{HeaderDatabase: q.Database},
		})
		if err == nil {
			r.count.up.Set(1)
			r.count.requests.Inc()
			r.count.readings.Add(float64(q.Readings))
			if last != "" {
				r.log.InfoContext(ctx, "receiver back", slog.Int("readings", q.Readings))
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		r.count.up.Set(0)
		failure, known := errors.AsType[*webhook.Error](err)
		pause := time.Duration(0)
		if known {
			r.count.status.Set(float64(failure.Status))
			pause = min(failure.RetryAfter(), pace.refuseMax)
		}
		if known && failure.Refused() {
			r.count.refused.Inc()
			pause = max(pause, backOff(pace.refuseLeast, pace.refuseMax, refused))
			refused++
			if last != "refused" {
				r.log.ErrorContext(ctx, "receiver refuses: nothing is skipped, it is asked again with long pauses", slog.String("request", q.ID), slog.Any("err", err))
			}
			last = "refused"
		} else {
			r.count.failed.Inc()
			pause = max(pause, backOff(pace.awayLeast, pace.awayMost, away))
			away++
			if last != "away" {
				r.log.WarnContext(ctx, "receiver away: what is stored waits for it", slog.String("request", q.ID), slog.Any("err", err))
			}
			last = "away"
		}
		if !wait(ctx, pause) {
			return false
		}
	}
}

// backOff doubles from least to most, with jitter.
func backOff(least, most time.Duration, n int) time.Duration {
	d := min(least<<min(n, 16), most)
	return d/2 + rand.N(d/2+1)
}

// note repeats what goes to the disk, store what InfluxDB is asked, until it is
// done; false means that ctx has ended. Each is told once.
func (r *receiver) note(ctx context.Context, do func() error) bool {
	return r.until(ctx, "positions cannot be noted: the receiver waits", slog.LevelError, do)
}

func (r *receiver) store(ctx context.Context, do func() error) bool {
	return r.until(ctx, "influxdb away: the receiver waits", slog.LevelWarn, do)
}

func (r *receiver) until(ctx context.Context, what string, level slog.Level, do func() error) bool {
	for n := 0; ; n++ {
		err := do()
		if err == nil {
			if n > 0 {
				r.log.InfoContext(ctx, "the receiver goes on")
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if n == 0 {
			r.log.Log(ctx, level, what, slog.Any("err", err)) //nolint:sloglint // one of two constants
		}
		if !wait(ctx, backOff(r.hook.pace.storeLeast, r.hook.pace.storeMost, n)) {
			return false
		}
	}
}

// measure tells how far behind the receiver is. Counting a long backlog costs
// InfluxDB something, so it takes a hundredth of the time at most.
func (r *receiver) measure(ctx context.Context) {
	for pause := time.Duration(0); wait(ctx, pause); {
		begin := time.Now()
		r.mu.Lock()
		at := r.done
		r.mu.Unlock()
		asking, cancel := context.WithTimeout(ctx, queryTime)
		count, oldest, err := r.hook.options.Feed.Behind(asking, at.Position)
		cancel()
		pause = max(r.hook.pace.measure, 100*time.Since(begin))
		if err != nil {
			continue // it is told where readings are read
		}
		if at.Plan.Oldest != 0 && (oldest == 0 || at.Plan.Oldest < oldest) {
			oldest = at.Plan.Oldest
		}
		seconds := 0.0
		if oldest != 0 {
			seconds = max(0, float64(device.MicrosOf(time.Now())-oldest)/1e6)
		}
		r.count.behindEntries.Set(float64(count + at.Plan.Entries))
		r.count.behindSeconds.Set(seconds)
	}
}
