package forwarder

import (
	"context"
	"log/slog"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// setAside takes a batch out of the window that was never answered while others
// were, so that it does not hold the rest up.
func (f *Forwarder) setAside(ctx context.Context, id contract.BatchID, now time.Time) {
	if err := f.options.Source.SetAside(id, now); err != nil {
		f.log.ErrorContext(ctx, "batch not set aside", slog.String("batch", id.String()), slog.Any("err", err))
		f.flights[id].due = now.Add(lastRetry)
		return
	}
	f.log.ErrorContext(ctx, "batch set aside: no receipt while others got theirs; it is tried again each hour", slog.String("batch", id.String()))
	f.land(id)
}

// retryAside sends the batches set aside once an hour.
func (f *Forwarder) retryAside(ctx context.Context, now time.Time) {
	if now.Before(f.hour) {
		return
	}
	f.hour = now.Add(asideRetry)
	for _, id := range f.options.Source.Aside() {
		block, ok, err := f.options.Source.Block(id)
		if err != nil || !ok {
			continue
		}
		if !f.send(block, &flight{}, now) { // its receipt is known by the source
			return
		}
		f.log.InfoContext(ctx, "batch set aside is tried again", slog.String("batch", id.String()))
	}
}
