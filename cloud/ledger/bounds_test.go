package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
)

// crowd is a store with one entry each of many sources.
type crowd struct{ sources int }

func (crowd) Write(context.Context, string, []byte) error { return nil }

func (c crowd) Query(_ context.Context, _, q string, each func(string, map[string]string, []string, [][]any) error) error {
	switch {
	case !strings.Contains(q, `"batch"`):
		return nil
	case strings.HasPrefix(q, "SELECT last"):
		return each("batch", map[string]string{"instance": "i"}, []string{"time", "last"}, [][]any{{json.Number("9"), "x"}})
	}
	for i := range c.sources {
		row := []any{json.Number("9"), fmt.Sprintf("stranger%d", i), "00000000000000aa", json.Number("1")}
		if err := each("batch", nil, []string{"time", "gateway", "epoch", "sequence"}, [][]any{row}); err != nil {
			return err
		}
	}
	return nil
}

func TestStrangersDoNotFillTheReader(t *testing.T) {
	var log bytes.Buffer
	r := ledger.NewReader(crowd{10_005})
	r.Log = slog.New(slog.NewTextHandler(&log, nil))
	proofs, err := r.Prove(t.Context(), "", 0, 0)
	if err != nil || len(proofs) != 10_000 || strings.Count(log.String(), "too many sources") != 1 {
		t.Errorf("%d proofs, %v, log %s", len(proofs), err, log.String())
	}
}

// stuck is a store that answers when ctx ends.
type stuck struct{ asked chan struct{} }

func (stuck) Write(context.Context, string, []byte) error { return nil }

func (s stuck) Query(ctx context.Context, _, _ string, _ func(string, map[string]string, []string, [][]any) error) error {
	s.asked <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func TestAProofIsNotWaitedForLongerThanAsked(t *testing.T) {
	store := stuck{make(chan struct{}, 2)}
	r := ledger.NewReader(store)
	long, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.Prove(long, "", 0, 0)
		done <- err
	}()
	<-store.asked
	reason := errors.New("enough")
	short, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := r.Prove(short, "", 0, 0); !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
	stop()
	if err := <-done; err == nil {
		t.Error("no error of the first")
	}
}

func TestHeadsEndWhenListeningCannotBegin(t *testing.T) {
	h := ledger.NewHeads(ledger.NewBook(crowd{}, "i", nil), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- h.Run(t.Context(), bus.Options{URL: "nonsense"}) }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error for a broker that cannot be")
		}
	case <-time.After(10 * time.Second):
		t.Error("Run does not return")
	}
}
