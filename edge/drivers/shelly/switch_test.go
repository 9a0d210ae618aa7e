package shelly_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
)

func TestSwitchReadsBack(t *testing.T) {
	var list asked
	sim := shellytest.New(t, shellytest.Options{Off: true, OnRequest: list.add})
	p := mustPlug(t, shelly.Options{Address: sim.Address(), DeviceID: strings.ToUpper(sim.ID())})
	for _, on := range []bool{true, true, false} {
		got, err := p.Switch(t.Context(), on)
		if err != nil || got != on || sim.On() != on {
			t.Errorf("switched to %v: %v, %v; relay %v", on, got, err, sim.On())
		}
	}
	if got, want := list.String(), strings.TrimSpace(strings.Repeat("GetDeviceInfo GetStatus Set GetDeviceInfo GetStatus ", 3)); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestSwitchReportsWhatTheRelayShows(t *testing.T) {
	var list asked
	sim := shellytest.New(t, shellytest.Options{OnRequest: list.add})
	mustFault(t, sim, shellytest.Fault{Stuck: true})
	if got, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Switch(t.Context(), false); err != nil || !got {
		t.Errorf("read back %v, %v, want on", got, err)
	}
	if got := strings.Count(list.String(), "GetStatus"); got != 3 {
		t.Errorf("looked %d times, want 3: once before and twice after", got)
	}
}

func TestSwitchSaysWhenItCannotReadBack(t *testing.T) {
	var sim *shellytest.Plug
	var set sync.Once
	sim = shellytest.New(t, shellytest.Options{OnRequest: func(method string) {
		if method == "Switch.Set" {
			set.Do(func() { _ = sim.SetFault(shellytest.Fault{Silent: true}) })
		}
	}})
	p := mustPlug(t, shelly.Options{Address: sim.Address(), Timeout: 100 * time.Millisecond})
	if _, err := p.Switch(t.Context(), false); reason(err) != "silent" {
		t.Errorf("%v (%s)", err, reason(err))
	}
}

func TestASwitchWithoutStateIsNotSwitched(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{})
	mustFault(t, sim, shellytest.Fault{Result: `{"id":0,"apower":1}`})
	if _, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Switch(t.Context(), false); reason(err) != "unsupported" || !sim.On() {
		t.Errorf("%v (%s), relay %v", err, reason(err), sim.On())
	}
}

func TestACommandThatIsLateDoesNotSwitch(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{})
	mustFault(t, sim, shellytest.Fault{Delay: 200 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Switch(ctx, false); err == nil || !sim.On() {
		t.Errorf("%v, relay %v", err, sim.On())
	}
}

func TestCommandsGoBeforePollsAndOneQuestionAtATime(t *testing.T) {
	var list asked
	first, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	sim := shellytest.New(t, shellytest.Options{OnRequest: func(method string) {
		list.add(method)
		once.Do(func() { close(first); <-hold })
	}})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the plug's own end, which would wait
	p := mustPlug(t, shelly.Options{Address: sim.Address()})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Poll(t.Context()) })
	<-first // the plug is busy with a poll
	wg.Go(func() {
		if _, err := p.Poll(t.Context()); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { polls, _ := p.Waiting(); return polls == 1 })
	wg.Go(func() {
		if _, err := p.Switch(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { _, commands := p.Waiting(); return commands == 1 })
	release()
	wg.Wait()
	want := "GetDeviceInfo GetStatus GetDeviceInfo GetStatus Set GetDeviceInfo GetStatus GetDeviceInfo GetStatus"
	if got := list.String(); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	if got := sim.MaxBusy(); got != 1 {
		t.Errorf("%d questions at once, want 1", got)
	}
}

// waitFor polls ok under a deadline.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
