package hs110_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestSwitchReadsBack(t *testing.T) {
	var asked requests
	sim := hs110test.New(t, hs110test.Options{Off: true, OnRequest: asked.add})
	p := mustPlug(t, driver.Options{Address: sim.Address(), DeviceID: sim.DeviceID()})
	for _, on := range []bool{true, true, false} {
		got, err := p.Switch(t.Context(), on)
		if err != nil || got != on || sim.On() != on {
			t.Errorf("switched to %v: %v, %v; relay %v", on, got, err, sim.On())
		}
	}
	if got, want := asked.kinds(), "isiisiisi"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestSwitchReportsAMismatch(t *testing.T) {
	var sim *hs110test.Plug
	sim = hs110test.New(t, hs110test.Options{OnRequest: func(b []byte) {
		if !strings.Contains(string(b), "set_relay") {
			sim.Press(true) // somebody holds the button
		}
	}})
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	if got, err := p.Switch(t.Context(), false); err != nil || !got {
		t.Errorf("read back %v, %v, want on", got, err)
	}
}

func TestSwitchLooksTwiceAtASlowRelay(t *testing.T) {
	var sim *hs110test.Plug
	var looks int
	var mu sync.Mutex
	sim = hs110test.New(t, hs110test.Options{OnRequest: func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(b), "set_relay") {
			looks = 0
			return
		}
		looks++
		sim.Press(looks < 2) // shows the state before, once
	}})
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	if got, err := p.Switch(t.Context(), false); err != nil || got {
		t.Errorf("read back %v, %v, want off", got, err)
	}
}

// A power strip takes set_relay_state for all its outlets.
func TestSwitchSparesAPowerStrip(t *testing.T) {
	var asked requests
	strip := newScript(t, `{"system":{"get_sysinfo":{"feature":"TIM:ENE","children":[]}},"emeter":{"get_realtime":{"power_mw":1000}}}`, &asked)
	p := mustPlug(t, driver.Options{Address: strip})
	if _, err := p.Switch(t.Context(), false); reason(err) != "unsupported" {
		t.Errorf("switch: %v (%s)", err, reason(err))
	}
	if m, err := p.Poll(t.Context()); err != nil || m.On != nil || m.Power == nil {
		t.Errorf("poll: %+v, %v", m, err)
	}
	if got := asked.kinds(); strings.Contains(got, "s") {
		t.Errorf("asked %q", got)
	}
}

func TestSwitchReadsBackWhenTheAnswerIsLost(t *testing.T) {
	var sim *hs110test.Plug
	sim = hs110test.New(t, hs110test.Options{OnRequest: func(b []byte) {
		f := hs110test.Fault{}
		if strings.Contains(string(b), "set_relay") {
			f.Close = true // done, but the answer never arrives
		}
		_ = sim.SetFault(f)
	}})
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	if got, err := p.Switch(t.Context(), false); err != nil || got || sim.On() {
		t.Errorf("read back %v, %v; relay %v", got, err, sim.On())
	}
}

func TestSwitchSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		fault  hs110test.Fault
		reason string
	}{
		"refuses": {hs110test.Fault{Refuse: true}, "refused"},
		"silent":  {hs110test.Fault{Silent: true}, "silent"},
		"garbage": {hs110test.Fault{Garbage: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, "garbage"},
	} {
		t.Run(name, func(t *testing.T) {
			sim := hs110test.New(t, hs110test.Options{})
			mustFault(t, sim, c.fault)
			p := mustPlug(t, driver.Options{Address: sim.Address(), Timeout: 100 * time.Millisecond})
			if _, err := p.Switch(t.Context(), false); reason(err) != c.reason {
				t.Errorf("switch: %v (%s), want %s", err, reason(err), c.reason)
			}
			if _, err := p.Poll(t.Context()); reason(err) != c.reason {
				t.Errorf("poll: %v (%s), want %s", err, reason(err), c.reason)
			}
		})
	}
}
