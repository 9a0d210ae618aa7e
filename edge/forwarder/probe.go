package forwarder

import (
	"context"
	"time"
)

// While nobody answers, back-off alone would find out minutes late that somebody
// does again: a storing hook that comes back after the gateway has connected
// never saw what was sent before. So one batch, the oldest, is sent as a probe,
// soon after each new connection and every firstRetry from then on; and the
// first receipt after a probe makes everything else due.
const (
	firstProbe = 500 * time.Millisecond // after a connection is made
	settle     = time.Second            // for receipts that are on their way
)

// silence is the time since somebody answered last.
type silence struct {
	probes int           // sent in it
	wait   time.Duration // between the last probe and the next
	due    time.Time     // of the next; zero: not reckoned yet
	broken bool          // a receipt came, after probes
}

// listen begins a new silence, whose first probe comes after wait.
func (s *silence) listen(wait time.Duration) { *s = silence{wait: wait} }

// answer notes a receipt.
func (s *silence) answer() {
	broken := s.broken || s.probes > 0
	s.listen(firstRetry)
	s.broken = broken
}

// probe sends the oldest batch again when nobody has answered for long, and
// makes everything due when somebody does again.
func (f *Forwarder) probe(ctx context.Context, now time.Time) {
	s := &f.silence
	if s.broken {
		s.broken = false
		for _, flight := range f.flights {
			flight.due = earlier(flight.due, now.Add(settle))
		}
	}
	if s.due.IsZero() || now.Before(s.due) {
		return
	}
	f.trim()
	if len(f.order) == 0 {
		return
	}
	s.probes++
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
