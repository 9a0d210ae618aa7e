package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// serve runs a component and an asker on a broker.
func serve(t *testing.T, c hook.Component) (context.Context, *bus.Asker) {
	t.Helper()
	broker := bustest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	var running sync.WaitGroup
	up := make(chan struct{}, 10)
	running.Go(func() {
		options := bus.Options{URL: broker.URL, Up: func(context.Context, *bus.Session) error { up <- struct{}{}; return nil }}
		if err := c.Serve(ctx, options, quiet); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	asker := bus.NewAsker("asker", bus.Options{URL: broker.URL, ClientID: "asker"}, nil, quiet)
	running.Go(func() {
		if err := asker.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	select {
	case <-up:
	case <-ctx.Done():
		t.Fatal("the component does not come up")
	}
	return ctx, asker
}

func TestComponentAnswersEachRequest(t *testing.T) {
	ctx, asker := serve(t, hook.Component{
		Name: "echo", Family: hook.Queries, // with the time-out that goes without saying
		Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			switch r.Subpath {
			case "fail":
				return errors.New("no such thing")
			case "panic":
				panic("bug")
			case "both":
				w.Send(json.RawMessage(`1`), json.RawMessage(`{"a":"b"}`))
				return nil
			}
			w.Send(r.Data, nil)
			return nil
		},
	})
	for name, tc := range map[string]struct{ topic, data, failure string }{
		"data":             {"query/echo/x/y", `"hello"`, ""},
		"no subpath":       {"query/echo", `"hello"`, ""},
		"an error":         {"query/echo/fail", ``, "no such thing"},
		"a panic":          {"query/echo/panic", ``, "internal error"},
		"both":             {"query/echo/both", `1`, `{"a":"b"}`},
		"after the panics": {"query/echo/z", `"hello"`, ""},
	} {
		answer, err := asker.Once(ctx, tc.topic, json.RawMessage(`"hello"`), nil)
		if err != nil || string(answer.Data) != tc.data || answer.ErrorText() != tc.failure {
			t.Errorf("%s: data %s, error %q, %v", name, answer.Data, answer.ErrorText(), err)
		}
	}
}

func TestMalformedRequestsAreAnsweredAndCounted(t *testing.T) {
	malformed := make(chan struct{}, 10)
	ctx, asker := serve(t, hook.Component{
		Name: "echo", Family: hook.Commands, Timeout: 10 * time.Second,
		Malformed: func() { malformed <- struct{}{} },
		Handle: func(_ context.Context, r hook.Request, w *hook.Answer) error {
			w.Send(r.Data, nil)
			return nil
		},
	})
	for _, payload := range []string{"", "garbage", "[1]", `{"data":`, `{"data":1,"response_topic":"state/edge-f1/x"}`, `{"id":7,"data":1}`} {
		if err := asker.Link().Publish(ctx, bus.Message{Topic: "command/echo/x", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-malformed:
		case <-ctx.Done():
			t.Fatalf("%q was not counted", payload)
		}
	}
	answer, err := asker.Once(ctx, "command/echo/x", json.RawMessage(`1`), nil)
	if err != nil || string(answer.Data) != "1" {
		t.Errorf("afterwards: %+v, %v", answer, err)
	}
}

func TestLongAnswersComeInPartsAsAskedFor(t *testing.T) {
	const parts = 20
	var mu sync.Mutex
	made := 0
	ctx, asker := serve(t, hook.Component{
		Name: "long", Family: hook.Queries, Timeout: 10 * time.Second,
		Handle: func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
			for n := range parts {
				mu.Lock()
				made++
				mu.Unlock()
				if err := w.Part(ctx, fmt.Appendf(nil, `[%d,%q]`, n, strings.Repeat("x", 100_000))); err != nil {
					return err
				}
			}
			return nil
		},
	})
	var got []int
	answer, err := asker.Once(ctx, "query/long", nil, func(data json.RawMessage) error {
		var part []any
		if err := json.Unmarshal(data, &part); err != nil {
			return err
		}
		got = append(got, int(part[0].(float64)))
		mu.Lock()
		defer mu.Unlock()
		if made > len(got)+2 {
			t.Errorf("%d parts made when %d were taken", made, len(got))
		}
		return nil
	})
	if err != nil || len(got) != parts || !answer.Last {
		t.Fatalf("%d parts, last %v, %v", len(got), answer.Last, err)
	}
	for i, n := range got {
		if i != n {
			t.Errorf("part %d came at place %d", n, i)
		}
	}
	if err := (&hook.Answer{}).Part(ctx, make([]byte, 2<<20)); err == nil {
		t.Error("a part of 2 MiB was taken")
	}
}

func TestABusyComponentSaysSo(t *testing.T) {
	release := make(chan struct{})
	ctx, asker := serve(t, hook.Component{
		Name: "slow", Family: hook.Queries, Timeout: 20 * time.Second,
		Handle: func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
			select {
			case <-release:
			case <-ctx.Done():
			}
			w.Send(json.RawMessage(`1`), nil)
			return nil
		},
	})
	const requests = 400 // more than are handled and queued
	outcomes := make(chan string, requests)
	for range requests {
		go func() {
			answer, err := asker.Once(ctx, "query/slow", nil, nil)
			outcomes <- fmt.Sprint(answer.ErrorText(), err)
		}()
	}
	if got := <-outcomes; !strings.Contains(got, "busy") {
		t.Errorf("the first answer was %q", got)
	}
	close(release)
	for range requests - 1 {
		<-outcomes
	}
}

func TestServeEndsWhenItCanNeverConnect(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := hook.Component{Name: "echo", Family: hook.Queries, Timeout: time.Second}
	if err := c.Serve(ctx, bus.Options{URL: "http://127.0.0.1"}, quiet); err == nil || ctx.Err() != nil {
		t.Errorf("Serve: %v, the context %v", err, ctx.Err())
	}
}
