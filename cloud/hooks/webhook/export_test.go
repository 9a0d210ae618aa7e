package webhook

import "time"

// Hurry makes a hook wait for milliseconds where it waits for seconds: what it
// waits for is real in the tests.
func (h *Hook) Hurry() {
	h.pace = pace{
		poll: 20 * time.Millisecond, patience: 300 * time.Millisecond,
		awayLeast: 10 * time.Millisecond, awayMost: 50 * time.Millisecond, refuseLeast: 10 * time.Millisecond, refuseMax: 50 * time.Millisecond,
		storeLeast: 10 * time.Millisecond, storeMost: 50 * time.Millisecond, attemptLeast: time.Millisecond, measure: 50 * time.Millisecond,
	}
}
