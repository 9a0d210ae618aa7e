package ledger

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// headEvery is how often an unchanged head is entered again, as a sign of life.
const headEvery = 30 * time.Second

// Heads listens to the gateways' statuses and enters their heads. Retained
// statuses and wills are no news and are left out.
type Heads struct {
	book *Book
	log  *slog.Logger
	news chan Head

	mu   sync.Mutex // protects the fields below
	last map[string]entered
	full bool
}

type entered struct {
	head Head
	at   time.Time
}

// NewHeads allocates a listener that writes into book.
func NewHeads(book *Book, log *slog.Logger) *Heads {
	return &Heads{book: book, log: log, news: make(chan Head, 1024), last: make(map[string]entered)}
}

// Run listens until ctx ends.
func (h *Heads) Run(ctx context.Context, options bus.Options) error {
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case head := <-h.news:
				h.enter(ctx, head)
			}
		}
	})
	err := hook.Listen(ctx, "ledger_heads", options, h.log, h.hear, bus.StatusFilter)
	cancel() // it may have failed before ctx ends
	writer.Wait()
	return err
}

// hear queues a head; one that does not fit is left out, the next comes in ten
// seconds.
func (h *Heads) hear(m bus.Message) {
	var s contract.Status
	gateway := bus.GatewayOf(m.Topic)
	if m.Retained || gateway == "" || json.Unmarshal(m.Payload, &s) != nil {
		return
	}
	if will := !s.Online && s.Time == 0; will { // which knows no head; a farewell does, and is the last word
		return
	}
	select {
	case h.news <- HeadOf(gateway, s):
	default:
	}
}

func (h *Heads) enter(ctx context.Context, head Head) {
	h.mu.Lock()
	last, known := h.last[head.Gateway]
	full := !known && len(h.last) >= maxSources
	warn := full && !h.full
	h.full = h.full || full
	h.mu.Unlock()
	if warn {
		h.log.WarnContext(ctx, "too many gateways, heads of further ones are not entered", slog.String("gateway", head.Gateway))
	}
	if full {
		return
	}
	if known && last.head.equal(head) && time.Since(last.at) < headEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	news := head
	if known && last.head.Epoch == head.Epoch {
		news.Earlier = nil // entered already, and they don't change while a run lasts
	}
	if err := h.book.EnterHead(ctx, news); err != nil {
		h.log.DebugContext(ctx, "head not entered, the next will be", slog.String("gateway", head.Gateway), slog.Any("err", err))
		return
	}
	h.mu.Lock()
	h.last[head.Gateway] = entered{head, time.Now()}
	h.mu.Unlock()
}

// HeadOf is what a gateway's status tells the ledger.
func HeadOf(gateway string, s contract.Status) Head {
	h := Head{
		Gateway: gateway, Epoch: s.Epoch, Sequence: s.Sequence, Previous: s.Previous, Uptime: device.Micros(s.Monotonic * 1e6),
		Oldest: s.Outbox.OldestID, SetAside: s.Outbox.SetAside, Tombstoned: s.Outbox.Tombstoned, Earlier: s.Outbox.Earlier,
	}
	if s.Outbox.Behind != nil {
		h.Behind = max(*s.Outbox.Behind, 1)
	}
	return h
}

// equal reports whether two heads say the same, but for when.
func (h Head) equal(o Head) bool {
	same := func(a, b *contract.BatchID) bool { return a == b || a != nil && b != nil && *a == *b }
	return h.Epoch == o.Epoch && h.Sequence == o.Sequence && same(h.Previous, o.Previous) && same(h.Oldest, o.Oldest) && h.Behind == o.Behind &&
		slices.Equal(h.SetAside, o.SetAside) && slices.Equal(h.Tombstoned, o.Tombstoned) && slices.Equal(h.Earlier, o.Earlier)
}
