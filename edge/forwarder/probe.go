package forwarder

import (
	"context"
	"time"
)

// Back-off alone would find out late that what was sent reached nobody: a
// storing hook that connects after the gateway, or comes back after a long
// absence, never saw it. So while nobody answers one batch, the oldest, is sent
// as a probe, soon after each new connection and every firstRetry from then on.
// And when somebody answers for a batch, those that were sent before it are due
// a moment later: answers come about in order. That is done once per connection
// and batch, lest one that nobody can answer for be sent all the time.
const (
	firstProbe = 500 * time.Millisecond // after a connection is made
	settle     = time.Second            // for receipts that are on their way
)

// silence is the time since somebody answered last.
type silence struct {
	wait time.Duration // between the last probe and the next
	due  time.Time     // of the next; zero: not reckoned yet
}

// listen begins a new silence, whose first probe comes after wait.
func (s *silence) listen(wait time.Duration) { *s = silence{wait: wait} }

// probe sends the oldest batch again when nobody has answered for long.
func (f *Forwarder) probe(ctx context.Context, now time.Time) {
	s := &f.silence
	if s.due.IsZero() || now.Before(s.due) {
		return
	}
	f.trim()
	if len(f.order) == 0 {
		return
	}
	s.wait = min(2*s.wait, firstRetry)
	s.due = now.Add(s.wait)
	oldest := f.order[0]
	f.resend(ctx, oldest, f.flights[oldest], now)
}

// nextProbe is when probe wants to be called again; something must be flying.
func (f *Forwarder) nextProbe(now time.Time) time.Time {
	if f.silence.due.IsZero() {
		f.silence.due = now.Add(f.silence.wait)
	}
	return f.silence.due
}

// overtaken makes batches due that were sent before one that was answered for.
func (f *Forwarder) overtaken(now time.Time) {
	if f.newest.IsZero() {
		return
	}
	for _, flight := range f.flights {
		if !flight.hurried && flight.sent.Before(f.newest) {
			flight.hurried = true
			flight.due = earlier(flight.due, now.Add(settle))
		}
	}
	f.newest = time.Time{}
}
