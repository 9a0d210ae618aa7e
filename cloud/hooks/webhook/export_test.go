package webhook

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// Hurry makes a hook wait for milliseconds where it waits for seconds: what it
// waits for is real in the tests.
func (h *Hook) Hurry() {
	h.pace = pace{
		poll: 20 * time.Millisecond, patience: 300 * time.Millisecond,
		awayLeast: 10 * time.Millisecond, awayMost: 50 * time.Millisecond, refuseLeast: 10 * time.Millisecond, refuseMax: 50 * time.Millisecond,
		storeLeast: 10 * time.Millisecond, storeMost: 50 * time.Millisecond, attemptLeast: time.Millisecond, measure: 50 * time.Millisecond,
	}
}

// HeardBytes puts messages into a memory of so many bytes, and tells what it takes
// in the end and whether the last is there.
func HeardBytes(most int, messages []bus.Message) (taken int, last bool) {
	h := newHeard(most)
	var key batchKey
	for i, m := range messages {
		key = batchKey{source: "s", id: strconv.Itoa(i)}
		h.put(key, m)
	}
	_, last = h.find(key)
	return h.bytes, last
}

// Hear has a hook with a receiver look at a message, and gives the body of the
// request that comes of its readings.
func Hear(m bus.Message) []byte {
	h := &Hook{heard: newHeard(1 << 20), log: slog.New(slog.DiscardHandler)}
	r := newReceiver(h, Receiver{Name: "r"}.filled())
	h.receivers = []*receiver{r}
	_ = h.hear(m)
	records, _, err := r.read(m)
	if err != nil || len(records) == 0 {
		return nil
	}
	return appendPack(nil, inOrder(records))
}
