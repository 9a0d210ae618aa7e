package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// relay is a plug that switches after delay, fails, or sticks.
type relay struct {
	mu    sync.Mutex
	delay time.Duration
	err   error
	stuck bool
	bug   bool

	on       bool
	switched []time.Time // begins
	states   []bool
	now      int
	most     int // switches at once
}

func (r *relay) Switch(ctx context.Context, on bool) (bool, error) {
	r.mu.Lock()
	r.switched = append(r.switched, time.Now())
	r.states = append(r.states, on)
	r.now++
	r.most = max(r.most, r.now)
	delay, err, stuck, bug := r.delay, r.err, r.stuck, r.bug
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now--
	}()
	if bug {
		panic("nil map")
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return false, fmt.Errorf("switch: %w", ctx.Err())
	}
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !stuck {
		r.on = on
	}
	return r.on, nil
}

func (r *relay) begins() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.switched...)
}

func (r *relay) asked() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]bool(nil), r.states...)
}

type failure string

func (f failure) Error() string  { return "ask 127.0.0.1:9999: no answer" }
func (f failure) Reason() string { return string(f) }

// bench is a controller on a machine that has run for 1000 seconds.
type bench struct {
	*controller.Controller

	t      *testing.T
	relays map[device.ID]*relay
	ctx    context.Context //nolint:containedctx // of the test
	stop   context.CancelFunc
	start  time.Time

	mu    sync.Mutex
	boot  string
	skew  float64
	notes map[device.ID][]contract.Switched
}

const uptime = 1000

func newBench(t *testing.T, devices ...string) *bench {
	t.Helper()
	b := &bench{t: t, boot: "boot-1", start: time.Now(), relays: map[device.ID]*relay{}, notes: map[device.ID][]contract.Switched{}}
	b.ctx, b.stop = context.WithCancel(t.Context())
	b.Controller = controller.New(controller.Options{
		Boot: func() (string, float64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.boot, uptime + time.Since(b.start).Seconds() + b.skew
		},
		Note: func(id device.ID, text contract.Switched) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.notes[id] = append(b.notes[id], text)
		},
	}, slog.New(slog.DiscardHandler))
	for _, d := range devices {
		b.relays[id(t, d)] = &relay{}
	}
	b.Set(1, b.targets())
	return b
}

func (b *bench) targets() (ts []controller.Target) {
	for id, r := range b.relays {
		ts = append(ts, controller.Target{Device: id, Switcher: r})
	}
	return ts
}

func (b *bench) relay(d string) *relay { return b.relays[id(b.t, d)] }

// command is one made now, with 10 seconds allowed.
func (b *bench) command(name string, on bool, devices ...string) contract.GatewayCommand {
	cmd := contract.GatewayCommand{
		ID: name, Who: "anna", Reason: "test", ConfigVersion: 1,
		Deadline: contract.Deadline{BootID: "boot-1", Monotonic: uptime + time.Since(b.start).Seconds() + 10},
	}
	for _, d := range devices {
		cmd.Switches = append(cmd.Switches, contract.Switch{Device: id(b.t, d), On: on})
	}
	return cmd
}

// answer is what a command was answered.
type answer struct {
	mu      sync.Mutex
	results []contract.Result
	parts   int
	last    time.Time
}

func (a *answer) take(rs contract.Results) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results = append(a.results, rs.Results...)
	a.parts++
	a.last = time.Now()
}

func (a *answer) of(t *testing.T, d string) contract.Result {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []contract.Result
	for _, r := range a.results {
		if r.Device == id(t, d) {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d results for %s, want 1: %+v", len(found), d, found)
	}
	return found[0]
}

func (a *answer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.results)
}

func (a *answer) at() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// send hands cmd over and lets d pass.
func (b *bench) send(cmd contract.GatewayCommand, d time.Duration) *answer {
	a := &answer{}
	b.Command(b.ctx, cmd, a.take)
	time.Sleep(d)
	synctest.Wait()
	return a
}

func (b *bench) notesOf(d string) []contract.Switched {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.notes[id(b.t, d)]
}

func wantOutcome(t *testing.T, a *answer, d string, want contract.Outcome) {
	t.Helper()
	if got := a.of(t, d); got.Outcome != want {
		t.Errorf("%s: %q (%s), want %q", d, got.Outcome, got.Detail, want)
	}
}

func id(t *testing.T, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
