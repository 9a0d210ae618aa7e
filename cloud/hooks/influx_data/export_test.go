package influxdata

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/wattline/wattline/shared/bus"
)

// Both reads a message by the short way and by the long way. That the two agree
// can be seen from inside only. quick is false where the short way gave up.
func Both(h *Hook, m bus.Message) (quick, same bool, why string) {
	long := &message{payload: m.Payload, shelf: &shelf{}}
	var err error
	if long.envelope, err = bus.Decode(m.Payload); err == nil {
		err = h.readRecords(long)
	}
	short := &message{payload: m.Payload, shelf: &shelf{}}
	if !h.readQuickly(short) {
		return false, true, ""
	}
	switch {
	case err != nil:
		why = "the long way refuses it: " + err.Error()
	case short.records != long.records || short.from != long.from || short.to != long.to:
		why = "number or times of the records differ"
	case !bytes.Equal(short.lines, long.lines):
		why = "short " + string(short.lines) + "\nlong  " + string(long.lines)
	case short.envelope.ID != long.envelope.ID || short.envelope.ResponseTopic != long.envelope.ResponseTopic:
		why = "the envelopes differ"
	case (short.envelope.Batch == nil) != (long.envelope.Batch == nil):
		why = "one envelope has a batch"
	case short.envelope.Batch != nil:
		a, _ := bus.Envelope{Batch: short.envelope.Batch}.Encode()
		b, _ := bus.Envelope{Batch: long.envelope.Batch}.Encode()
		if !bytes.Equal(a, b) {
			why = string(a) + " and " + string(b)
		}
	}
	return true, why == "", why
}

// Heads counts the names that all readers of a hook remember.
func Heads(h *Hook) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.idle {
		n += q.reader.Learned()
	}
	return n
}

// Stored runs the workers of a hook until all messages have their receipts. Run
// does that with a broker, which a measurement of the hook alone must not have.
func Stored(ctx context.Context, h *Hook, messages []bus.Message) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var missing atomic.Int64
	missing.Store(int64(len(messages)))
	send := func(_ string, payload []byte) error {
		e, err := bus.Decode(payload)
		if err != nil {
			return err
		}
		var r struct{ Stored []json.RawMessage }
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		if missing.Add(-int64(len(r.Stored))) == 0 {
			cancel()
		}
		return nil
	}
	var workers sync.WaitGroup
	for range writers {
		workers.Go(func() { h.work(ctx, send) })
	}
	for _, m := range messages {
		h.Take(m)
	}
	workers.Wait()
}

// Known counts the sources, and the series of all, whose limits are remembered.
func Known(h *Hook) (sources, series int) {
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	for _, accounts := range h.limits.accounts {
		sources += len(accounts)
		for _, a := range accounts {
			for _, s := range a.shelves {
				series += len(s.series)
			}
		}
	}
	return sources, series
}

// Sweep forgets who is silent, as a report does.
func Sweep(h *Hook) { h.limits.forget() }

// Told counts the sources that are told apart.
func Told(h *Hook) int {
	h.tallies.mu.Lock()
	defer h.tallies.mu.Unlock()
	return len(h.tallies.of)
}
