// Package forwarder carries batches from the outbox to the storing hook and
// releases them by its receipts.
//
// It sends in order, with a bounded window of batches unanswered; sends again
// what got no receipt in time, and everything unanswered after a reconnect.
// While nobody answers at all the oldest one is sent as a probe, so that a hook
// that comes back is noticed at once. There is no limit on time or tries. Only a
// receipt with the digest of what was sent releases a batch: neither the
// broker's acknowledgement nor an error does. One batch that is never answered
// while others are is set aside, so that it can't hold the rest up.
//
// The decisions are in [Forwarder.Step] and [Forwarder.Hear], which take the
// time as an argument and start nothing; [Forwarder.Run] drives them.
package forwarder

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Settings of the protocol.
const (
	window       = 64               // batches unanswered at once
	firstRetry   = 10 * time.Second // without a receipt
	lastRetry    = 2 * time.Minute
	strikes      = 10        // sends without a receipt while others got theirs
	asideRetry   = time.Hour // for batches set aside
	releaseEvery = 100 * time.Millisecond
	releaseBatch = 64
	releaseQueue = 16 * releaseBatch // receipts that wait to release
	inbox        = 1024              // receipts messages that wait to be looked at
)

// Source is where batches come from; *outbox.Outbox is one.
type Source interface {
	Next(after contract.BatchID, n int) ([]contract.Block, error)
	Block(id contract.BatchID) (contract.Block, bool, error)
	Delete(receipts ...contract.Receipt) ([]contract.BatchID, error)
	SetAside(id contract.BatchID, now time.Time) error
	Aside() []contract.BatchID
	News() <-chan struct{}
}

// Options of a forwarder.
type Options struct {
	Source Source
	// Send hands a batch to the connection; an error means that there is none.
	Send func(id contract.BatchID, payload []byte) error
	// ReadingsPerSecond limits the catch-up; 0 means no limit.
	ReadingsPerSecond float64
	// Random draws from [0, 1), for jitter; nil means the runtime's generator.
	Random func() float64
	// Counters may be nil.
	Sent, Resent, Released, Unanswered *metrics.Counter
}

// Forwarder is the sending side of one gateway. Step, Hear, Connected and
// Disconnected must not be called concurrently; Run sees to it.
type Forwarder struct {
	options   Options
	log       *slog.Logger
	events    chan func()
	ended     chan struct{} // closed when Run is over
	connected bool
	sparing   hook.Sparing // of answers that make no sense

	flights  map[contract.BatchID]*flight
	order    []contract.BatchID // of flights, as they were first sent
	after    contract.BatchID   // newest batch read from the source
	answered uint64             // batches that landed by a receipt
	newest   time.Time          // when the newest batch that was just answered for was sent
	silence  silence
	release  []contract.Receipt
	due      time.Time // of the next release
	hour     time.Time // of the next retry of those set aside
	budget   float64   // readings that may be sent now
	refill   time.Time

	heldMu sync.Mutex // protects held; nothing else is locked under it
	held   map[contract.BatchID]bool
}

// flight is a batch that was sent and not answered.
type flight struct {
	digest   contract.Digest
	sends    int
	strikes  int
	answered uint64    // Forwarder.answered when it was sent last
	due      time.Time // zero: on the new connection
	sent     time.Time
	hurried  bool // it was made due early on this connection
}

// New allocates a forwarder.
func New(options Options, log *slog.Logger) *Forwarder {
	if options.Random == nil {
		options.Random = rand.Float64
	}
	return &Forwarder{
		options: options, log: log, events: make(chan func(), inbox), ended: make(chan struct{}),
		flights: make(map[contract.BatchID]*flight), held: make(map[contract.BatchID]bool),
	}
}

// InWindow reports whether a batch was sent and not answered. Safe for
// concurrent use.
func (f *Forwarder) InWindow(id contract.BatchID) bool {
	f.heldMu.Lock()
	defer f.heldMu.Unlock()
	return f.held[id]
}

// Up tells a running forwarder that a new connection is up. Like Down and
// Receipts it may be called from anywhere and does not block for long.
func (f *Forwarder) Up() { f.tell(f.Connected) }

// Down tells that the connection is lost.
func (f *Forwarder) Down() { f.tell(f.Disconnected) }

// tell hands over what must not be lost, as long as there is somebody to take
// it.
func (f *Forwarder) tell(event func()) {
	select {
	case f.events <- event:
	case <-f.ended:
	}
}

// Receipts hands over an answer to batches. When too many wait it is discarded:
// the batches will be sent again and answered again.
func (f *Forwarder) Receipts(payload []byte) {
	select {
	case f.events <- func() { f.Hear(payload) }:
	default:
		f.options.Unanswered.Inc()
	}
}

// Run forwards until ctx ends, then releases what was answered. It is called
// once.
func (f *Forwarder) Run(ctx context.Context) error {
	defer close(f.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			f.flush(ctx, time.Time{})
			return nil
		case event := <-f.events:
			event()
			for range len(f.events) { // all that is there, before sending more
				(<-f.events)()
			}
		case <-f.options.Source.News():
		case <-timer.C:
		}
		timer.Reset(max(time.Until(f.Step(ctx, time.Now())), 0))
	}
}

// Connected tells that a new connection is up: everything unanswered is due.
func (f *Forwarder) Connected() {
	f.connected = true
	f.silence.listen(firstProbe)
	for _, flight := range f.flights {
		flight.due, flight.hurried = time.Time{}, false
	}
}

// Disconnected tells that the connection is lost.
func (f *Forwarder) Disconnected() { f.connected = false }

// land takes a batch out of the window.
func (f *Forwarder) land(id contract.BatchID) {
	delete(f.flights, id)
	f.heldMu.Lock()
	delete(f.held, id)
	f.heldMu.Unlock()
}

// Step does what is due at now and tells when it wants to be called again.
func (f *Forwarder) Step(ctx context.Context, now time.Time) (next time.Time) {
	f.flush(ctx, now)
	f.overtaken(now)
	if f.connected {
		f.probe(ctx, now)
	}
	if f.connected {
		f.retry(ctx, now)
	}
	if f.connected {
		f.retryAside(ctx, now)
	}
	next = now.Add(time.Minute)
	if f.connected {
		wait, err := f.fill(now)
		if err != nil {
			f.log.ErrorContext(ctx, "outbox not read", slog.Any("err", err))
			wait = time.Second
		}
		if wait > 0 {
			next = now.Add(wait)
		}
	}
	for _, flight := range f.flights {
		if f.connected {
			next = earlier(next, flight.due)
		}
	}
	switch {
	case len(f.flights) == 0:
		f.silence.due = time.Time{}
	case f.connected:
		next = earlier(next, f.nextProbe(now))
	}
	if len(f.release) > 0 {
		next = earlier(next, f.due)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// retry sends again, in order, what is due.
func (f *Forwarder) retry(ctx context.Context, now time.Time) {
	f.trim()
	for _, id := range f.order {
		flight := f.flights[id]
		if flight.due.After(now) {
			continue
		}
		if !f.resend(ctx, id, flight, now) {
			return
		}
	}
}

// trim forgets the order of what has landed.
func (f *Forwarder) trim() {
	kept := f.order[:0]
	for _, id := range f.order {
		if _, flying := f.flights[id]; flying {
			kept = append(kept, id)
		}
	}
	f.order = kept
}

// resend sends a batch again; false means that the connection takes nothing.
func (f *Forwarder) resend(ctx context.Context, id contract.BatchID, flight *flight, now time.Time) bool {
	if flight.answered < f.answered && !flight.due.IsZero() {
		flight.strikes++
	}
	if flight.strikes >= strikes {
		f.setAside(ctx, id, now)
		return true
	}
	block, ok, err := f.options.Source.Block(id)
	if err != nil {
		f.log.ErrorContext(ctx, "batch not read", slog.String("batch", id.String()), slog.Any("err", err))
		flight.due = now.Add(firstRetry)
		return true
	}
	if !ok { // dropped, or released by an earlier receipt
		f.land(id)
		return true
	}
	f.options.Resent.Inc()
	return f.send(block, flight, now)
}

// send publishes; false means that there is no connection.
func (f *Forwarder) send(b contract.Block, flight *flight, now time.Time) bool {
	if err := f.options.Send(b.ID, b.Payload); err != nil {
		f.connected = false
		return false
	}
	flight.sends++
	flight.sent = now
	flight.answered = f.answered
	wait := min(firstRetry<<min(flight.sends-1, 8), lastRetry)
	flight.due = now.Add(wait + time.Duration(f.options.Random()*float64(wait)/4))
	return true
}
