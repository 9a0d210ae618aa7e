package hs110_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	driver "github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestCommandsGoBeforePolls(t *testing.T) {
	var asked requests
	first := make(chan struct{})
	hold := make(chan struct{})
	var once sync.Once
	sim := hs110test.New(t, hs110test.Options{OnRequest: func(b []byte) {
		asked.add(b)
		once.Do(func() { close(first); <-hold })
	}})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the plug's own end, which would wait
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Poll(t.Context()) })
	<-first // the plug is busy with a poll
	for range 3 {
		wg.Go(func() {
			if _, err := p.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { polls, _ := p.Waiting(); return polls == 3 })
	wg.Go(func() {
		if _, err := p.Switch(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { _, commands := p.Waiting(); return commands == 1 })
	release()
	wg.Wait()
	if got, want := asked.kinds(), "ipisippp"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	if got, want := sim.MaxBusy(), 1; got != want {
		t.Errorf("%d questions at once, want %d", got, want)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	first := make(chan struct{})
	hold := make(chan struct{})
	var once sync.Once
	sim := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) { once.Do(func() { close(first); <-hold }) }})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the plug's own end, which would wait
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Poll(t.Context()) })
	<-first
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if _, err := p.Poll(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("waiting poll: %v", err)
		}
	})
	waitFor(t, func() bool { polls, _ := p.Waiting(); return polls == 1 })
	cancel()
	waitFor(t, func() bool { polls, _ := p.Waiting(); return polls == 0 })
	release()
	wg.Wait()
	if _, err := p.Poll(t.Context()); err != nil {
		t.Errorf("the turn was lost: %v", err)
	}
}

// Turns that arrive as their owner gives up must not be lost: run under -race.
func TestTheTurnSurvivesImpatientCallers(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{})
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%20)*time.Millisecond)
			defer cancel()
			if i%3 == 0 {
				_, _ = p.Switch(ctx, i%2 == 0)
			} else {
				_, _ = p.Poll(ctx)
			}
		})
	}
	wg.Wait()
	if _, err := p.Poll(t.Context()); err != nil {
		t.Error(err)
	}
}
