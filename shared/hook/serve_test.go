package hook_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func TestARequestWithoutSubpathIsHandledOnce(t *testing.T) {
	broker := bustest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	var handled atomic.Int32
	c := hook.Component{Name: "once", Family: hook.Queries, Timeout: time.Second, Handle: func(_ context.Context, _ hook.Request, w *hook.Answer) error {
		handled.Add(1)
		w.Send(json.RawMessage("1"), nil)
		return nil
	}}
	served, asked := make(chan error, 1), make(chan error, 1)
	asker := bus.NewAsker("test", bus.Options{URL: broker.URL, ClientID: "test"}, nil, quiet)
	go func() { served <- c.Serve(ctx, bus.Options{URL: broker.URL}, quiet) }()
	go func() { asked <- asker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := <-asked; err != nil {
			t.Error(err)
		}
	})
	ask := func(topic string, wait time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		_, err := asker.Once(ctx, topic, nil, nil)
		return err
	}
	for ask("query/once/up", 50*time.Millisecond) != nil { // until it listens
		if ctx.Err() != nil {
			t.Fatal("it never listens")
		}
	}
	handled.Store(0)
	for _, topic := range []string{"query/once", "query/once/x/y"} {
		for range 5 {
			if err := ask(topic, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := handled.Load(); got != 10 {
		t.Errorf("10 requests were handled %d times", got)
	}
}
