package e2e_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/gateway"
)

// steps is a system clock that can be set, over the machine's own.
type steps struct {
	mu  sync.Mutex // protects off
	off time.Duration
}

func (s *steps) step(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off += d
}

func (s *steps) wall() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.off)
}

// TestClockStepsLoseAndDoubleNothing runs a gateway in this process, because a
// clock can't be stepped for one process only; everything else is real. Its
// system clock goes forth and back, by seconds and by half an hour.
//
// That two readings of a plug get the same microsecond takes more luck than a
// test has; what happens then is a matter of the tests of edge/outbox.
func TestClockStepsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	s := prepare(t, layout{gateways: 1, plugs: 3})
	e := s.edges[0]
	s.cloud.start()
	clock := &steps{}
	ticks := gateway.SystemTicks()
	ticks.Wall = clock.wall
	cfg := gateway.DefaultConfig()
	cfg.Gateway, cfg.Data, cfg.Broker.URL, cfg.Status.Listen = e.id, e.data, "tcp://"+s.ip+":1883", e.page
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- gateway.Run(ctx, cfg, gateway.Options{Version: "test", Ticks: ticks}, slog.New(slog.DiscardHandler))
	}()
	e.ready()
	for _, d := range []time.Duration{-2 * time.Second, -3 * time.Second, 30 * time.Minute, -40 * time.Minute, 5 * time.Second, -time.Minute, 11*time.Minute + time.Second} {
		pause(1500 * time.Millisecond)
		clock.step(d)
	}
	pause(2 * time.Second)
	for _, p := range e.plugs {
		p.Close()
	}
	pause(1500 * time.Millisecond)
	eventually(t, time.Minute, "the gateway has drained", func() bool {
		v, err := e.look()
		return err == nil && v.Status.Outbox.Batches == 0
	})
	v, err := e.look()
	if err != nil {
		t.Fatal(err)
	}
	if v.Status.Clock.Rebased < 7 {
		t.Errorf("%d steps were noticed, want 7", v.Status.Clock.Rebased)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	e.keepWitness()
	for _, p := range e.plugs {
		list := s.points()[p.id.String()]
		var numbers []int
		for _, x := range list {
			numbers = append(numbers, x.number)
		}
		if len(numbers) < 10 || len(slices.Compact(numbers)) != len(list) || numbers[len(numbers)-1]-numbers[0]+1 != len(list) {
			t.Errorf("%v: numbers %v, want each once", p.id, numbers)
		}
	}
	s.count()
}
