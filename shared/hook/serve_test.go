package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
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

// serve puts a component on a bus and waits until it answers there.
func serve(t *testing.T, c hook.Component) *bus.Asker {
	t.Helper()
	broker := bustest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
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
	for range 200 {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := asker.Once(ctx, string(c.Family)+"/"+c.Name+"/up", nil, nil)
		cancel()
		if err == nil {
			return asker
		}
	}
	t.Fatal("it never answers")
	return nil
}

func TestAnAskerThatLeavesSetsTheComponentFree(t *testing.T) {
	left := make(chan error, 1)
	asker := serve(t, hook.Component{Name: "long", Family: hook.Queries, Timeout: time.Minute, Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		if r.Subpath == "up" {
			return nil
		}
		for {
			if err := w.Part(ctx, json.RawMessage("[1]")); err != nil {
				left <- err
				return err
			}
		}
	}})
	enough := errors.New("enough")
	parts := 0
	_, err := asker.Once(t.Context(), "query/long", nil, func(json.RawMessage) error {
		if parts++; parts == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	select {
	case err := <-left:
		if !strings.Contains(err.Error(), "has gone") {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the component still waits")
	}
}

func TestARequestWithoutSubpathIsHandledOnce(t *testing.T) {
	var handled atomic.Int32
	c := hook.Component{Name: "once", Family: hook.Queries, Timeout: time.Second, Handle: func(_ context.Context, _ hook.Request, w *hook.Answer) error {
		handled.Add(1)
		w.Send(json.RawMessage("1"), nil)
		return nil
	}}
	asker := serve(t, c)
	ask := func(topic string, wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, err := asker.Once(ctx, topic, nil, nil)
		return err
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
