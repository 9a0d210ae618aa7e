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

	mu   sync.Mutex // protects last
	last map[string]entered
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
	writer.Wait()
	return err
}

// hear queues a head; one that does not fit is left out, the next comes in ten
// seconds.
func (h *Heads) hear(m bus.Message) {
	var s contract.Status
	gateway := bus.GatewayOf(m.Topic)
	if m.Retained || gateway == "" || json.Unmarshal(m.Payload, &s) != nil || !s.Online {
		return
	}
	head := Head{Gateway: gateway, Epoch: s.Epoch, Sequence: s.Sequence, Previous: s.Previous, Oldest: s.Outbox.OldestID, SetAside: s.Outbox.SetAside}
	select {
	case h.news <- head:
	default:
	}
}

func (h *Heads) enter(ctx context.Context, head Head) {
	h.mu.Lock()
	last, known := h.last[head.Gateway]
	h.mu.Unlock()
	if known && last.head.equal(head) && time.Since(last.at) < headEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := h.book.EnterHead(ctx, head); err != nil {
		h.log.DebugContext(ctx, "head not entered, the next will be", slog.String("gateway", head.Gateway), slog.Any("err", err))
		return
	}
	h.mu.Lock()
	h.last[head.Gateway] = entered{head, time.Now()}
	h.mu.Unlock()
}

func (h Head) equal(o Head) bool {
	same := func(a, b *contract.BatchID) bool { return a == b || a != nil && b != nil && *a == *b }
	return h.Epoch == o.Epoch && h.Sequence == o.Sequence && same(h.Previous, o.Previous) && same(h.Oldest, o.Oldest) && slices.Equal(h.SetAside, o.SetAside)
}
