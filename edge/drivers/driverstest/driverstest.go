// Package driverstest holds the tests that every driver has to pass, whatever its
// plug speaks: they are what package drivers promises to collector and controller.
package driverstest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/drivers"
	"github.com/wattline/wattline/shared/device"
)

// Timeout is what a driver under test must be given for one attempt.
const Timeout = 200 * time.Millisecond

// allowed is the most that a call may take then, on a busy machine.
const allowed = 20 * Timeout

// Trouble is what befalls a simulated plug.
type Trouble string

// The troubles; a reason of package drivers is the trouble that causes it.
const (
	Refuses  Trouble = drivers.Refused
	Silent   Trouble = drivers.Silent
	Garbage  Trouble = drivers.Garbage
	Stranger Trouble = drivers.WrongPlug // another plug, which is on, has the address
)

// Subject is a driver and the simulated plug that it drives, which is on, has a
// meter and whose identity the driver was given.
type Subject struct {
	Plug drivers.Plug
	// On is the relay of whoever has the address now.
	On func() bool
	// Befall brings trouble.
	Befall func(Trouble)
	// Asked is the number of questions so far, and MostAtOnce how many of them the
	// plug had to answer at the same moment.
	Asked, MostAtOnce func() int
}

// Run puts a driver to the test; start gives a new subject each time.
func Run(t *testing.T, start func(t *testing.T) Subject) {
	t.Helper()
	t.Run("reads and switches", func(t *testing.T) { readsAndSwitches(t, start(t)) })
	for _, trouble := range []Trouble{Refuses, Silent, Garbage, Stranger} {
		t.Run("says why not: "+string(trouble), func(t *testing.T) { saysWhyNot(t, start(t), trouble) })
	}
	t.Run("a call that is given up blames nobody", func(t *testing.T) { blamesNobody(t, start(t)) })
	t.Run("a call that is late asks nothing", func(t *testing.T) { asksNothing(t, start(t)) })
	t.Run("one question at a time", func(t *testing.T) { oneAtATime(t, start(t)) })
}

func readsAndSwitches(t *testing.T, s Subject) {
	for _, on := range []bool{true, false, false, true} {
		if got, err := s.Plug.Switch(t.Context(), on); err != nil || got != on || s.On() != on {
			t.Errorf("switch to %v: %v, %v; relay %v", on, got, err, s.On())
		}
		m, err := s.Plug.Poll(t.Context())
		if err != nil || m.On == nil || *m.On != on || m.Power == nil || m.Voltage == nil || m.Current == nil || m.Energy == nil || len(m.Suspects) > 0 {
			t.Errorf("poll: %+v, %v", m, err)
			continue
		}
		if (*m.Power > 0) != on || *m.Voltage < 100 || *m.Energy < 0 {
			t.Errorf("poll of a plug that is on %v: %v W, %v V, %v Wh", on, *m.Power, *m.Voltage, *m.Energy)
		}
	}
}

func saysWhyNot(t *testing.T, s Subject, trouble Trouble) {
	if _, err := s.Plug.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Befall(trouble)
	on := s.On()
	begun := time.Now()
	m, err := s.Plug.Poll(t.Context())
	if got := reason(err); got != string(trouble) || !reflect.DeepEqual(m, device.Measurement{}) {
		t.Errorf("poll: %+v, %v (%q), want %q", m, err, got, trouble)
	}
	if _, err := s.Plug.Switch(t.Context(), !on); reason(err) != string(trouble) {
		t.Errorf("switch: %v (%q), want %q", err, reason(err), trouble)
	}
	if s.On() != on {
		t.Error("switched it all the same")
	}
	if took := time.Since(begun); took > allowed {
		t.Errorf("took %v, want at most %v", took, allowed)
	}
}

func blamesNobody(t *testing.T, s Subject) {
	s.Befall(Silent)
	for name, call := range calls(s.Plug) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(Timeout/10, cancel)
		begun := time.Now()
		err := call(ctx)
		if !errors.Is(err, context.Canceled) || reason(err) != "" || time.Since(begun) > allowed {
			t.Errorf("%s: %v (%q) after %v", name, err, reason(err), time.Since(begun))
		}
	}
}

func asksNothing(t *testing.T, s Subject) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	before := s.Asked()
	for name, call := range calls(s.Plug) {
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.Asked() - before; got != 0 || !s.On() {
		t.Errorf("asked %d questions, relay %v", got, s.On())
	}
}

func oneAtATime(t *testing.T, s Subject) {
	var calling sync.WaitGroup
	for i := range 12 {
		calling.Go(func() {
			if i%4 == 0 {
				if _, err := s.Plug.Switch(t.Context(), i%8 == 0); err != nil {
					t.Error(err)
				}
				return
			}
			if _, err := s.Plug.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	calling.Wait()
	if got := s.MostAtOnce(); got != 1 {
		t.Errorf("%d questions at once", got)
	}
}

// calls are both ways to ask a plug; the switch is to off.
func calls(p drivers.Plug) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"poll":   func(ctx context.Context) error { _, err := p.Poll(ctx); return err },
		"switch": func(ctx context.Context) error { _, err := p.Switch(ctx, false); return err },
	}
}

// reason is the word that an error has, as collector and controller find it.
func reason(err error) string {
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return r.Reason()
	}
	return ""
}
