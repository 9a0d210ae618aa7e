package forwarder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Hear takes an answer. Anything that is no receipt releases nothing.
func (f *Forwarder) Hear(payload []byte) {
	receipts, err := read(payload)
	if err != nil {
		f.options.Unanswered.Inc()
		if f.sparing.May("") {
			f.log.Warn("answer to a batch that releases nothing", slog.Any("err", err))
		}
		return
	}
	for _, r := range receipts.All() {
		f.hear(r)
	}
}

func read(payload []byte) (receipts contract.Receipts, err error) {
	answer, err := bus.Decode(payload)
	if err != nil {
		return receipts, err
	}
	if text := answer.ErrorText(); text != "" {
		return receipts, errors.New(text)
	}
	if err := json.Unmarshal(answer.Data, &receipts); err != nil {
		return receipts, fmt.Errorf("decode receipts: %w", err)
	}
	if len(receipts.All()) == 0 {
		return receipts, errors.New("no receipt in it")
	}
	return receipts, nil
}

// hear queues one receipt. A batch that is not in flight may still wait in the
// source (this run sent it before a crash); the source compares the digest. One
// that finds the queue full is ignored, its batch stays in flight, and is sent
// and answered again.
func (f *Forwarder) hear(r contract.Receipt) {
	if len(f.release) >= releaseQueue {
		f.options.Unanswered.Inc()
		return
	}
	if flight, ok := f.flights[r.ID]; ok {
		if flight.digest != r.Digest {
			f.options.Unanswered.Inc()
			return
		}
		if flight.sent.After(f.newest) {
			f.newest = flight.sent
		}
		f.land(r.ID)
		f.answered++
	}
	f.silence.listen(firstRetry)
	f.release = append(f.release, r)
}

// flush releases at the source what was answered, many at a time; the zero time
// means at once.
func (f *Forwarder) flush(ctx context.Context, now time.Time) {
	if len(f.release) == 0 {
		return
	}
	if !now.IsZero() && len(f.release) < releaseBatch && now.Before(f.due) {
		return
	}
	f.due = now.Add(releaseEvery)
	released, err := f.options.Source.Delete(f.release...)
	if err != nil {
		// They stay in the queue, to be released later.
		f.log.WarnContext(ctx, "answered batches not released yet", slog.Int("batches", len(f.release)), slog.Any("err", err))
		return
	}
	f.options.Released.Add(float64(len(released)))
	f.options.Unanswered.Add(float64(len(f.release) - len(released)))
	f.release = f.release[:0]
}
