package broker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// start runs a broker on a free port for the life of the test.
func start(t testing.TB, change ...func(*broker.Config)) *broker.Broker {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	for _, c := range change {
		c(&cfg)
	}
	b, err := broker.Start(context.Background(), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// link connects to the broker for the life of the test and waits until it is up.
func link(t testing.TB, b *broker.Broker, o bus.Options) *bus.Link {
	t.Helper()
	o.URL = b.URL()
	l := bus.NewLink(o, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	up, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := l.AwaitUp(up); err != nil {
		t.Fatalf("%s: %v", o.ClientID, err)
	}
	return l
}

func hearing(t testing.TB, b *broker.Broker, o bus.Options, filters ...string) <-chan bus.Message {
	t.Helper()
	heard := make(chan bus.Message, 10_000)
	o.Up = func(ctx context.Context, s *bus.Session) error {
		for _, f := range filters {
			if err := s.Subscribe(ctx, f, func(m bus.Message) { heard <- m }); err != nil {
				return err
			}
		}
		return nil
	}
	link(t, b, o)
	return heard
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func next(t testing.TB, heard <-chan bus.Message) bus.Message {
	t.Helper()
	select {
	case m := <-heard:
		return m
	case <-within(t).Done():
		t.Fatal("nothing heard")
		return bus.Message{}
	}
}

func TestMessagesPassAndRetainedOnesStay(t *testing.T) {
	b := start(t)
	heard := hearing(t, b, bus.Options{ClientID: "listener"}, "a/#")
	l := link(t, b, bus.Options{ClientID: "speaker"})
	if err := l.Publish(within(t), bus.Message{Topic: "a/b", Payload: []byte("x"), Retained: true}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, heard); m.Topic != "a/b" || string(m.Payload) != "x" || m.Retained {
		t.Errorf("%+v", m)
	}
	late := hearing(t, b, bus.Options{ClientID: "late"}, "a/b")
	if m := next(t, late); string(m.Payload) != "x" || !m.Retained {
		t.Errorf("retained: %+v", m)
	}
}
