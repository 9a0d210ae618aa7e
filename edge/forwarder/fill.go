package forwarder

import (
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// fill sends new batches while the window has room. It tells how long to wait
// for the rate limit, 0 when not for that.
func (f *Forwarder) fill(now time.Time) (wait time.Duration, err error) {
	for len(f.flights) < window && f.connected {
		if wait := f.earn(now); wait > 0 {
			return wait, nil
		}
		blocks, err := f.options.Source.Next(f.after, min(window-len(f.flights), window/4))
		if err != nil {
			return 0, err
		}
		if len(blocks) == 0 {
			return 0, f.startOver()
		}
		for _, b := range blocks {
			f.after = b.ID
			f.budget -= float64(b.Readings)
			if _, flying := f.flights[b.ID]; !flying && !f.launch(b, now) {
				break
			}
		}
	}
	return 0, nil
}

// startOver goes back to the beginning when everything was sent and answered
// but something waits all the same: a source that had to mend itself may have
// found batches again.
func (f *Forwarder) startOver() error {
	if len(f.flights) > 0 || len(f.release) > 0 || f.after == (contract.BatchID{}) {
		return nil
	}
	blocks, err := f.options.Source.Next(contract.BatchID{}, 1)
	if err == nil && len(blocks) > 0 {
		f.after = contract.BatchID{}
	}
	return err
}

// launch sends a batch for the first time in this run. One that the connection
// does not take flies all the same: it is due on the next one.
func (f *Forwarder) launch(b contract.Block, now time.Time) bool {
	flight := &flight{digest: contract.DigestOf(b.Payload)}
	f.flights[b.ID] = flight
	f.order = append(f.order, b.ID)
	f.heldMu.Lock()
	f.held[b.ID] = true
	f.heldMu.Unlock()
	f.options.Sent.Inc()
	return f.send(b, flight, now)
}

// earn refills the rate limit's budget; it tells how long to wait while there
// is none.
func (f *Forwarder) earn(now time.Time) time.Duration {
	rate := f.options.ReadingsPerSecond
	if rate <= 0 {
		return 0
	}
	if !f.refill.IsZero() {
		f.budget = min(f.budget+rate*now.Sub(f.refill).Seconds(), rate)
	}
	f.refill = now
	if f.budget >= 0 {
		return 0
	}
	return time.Duration(-f.budget/rate*float64(time.Second)) + time.Millisecond
}
