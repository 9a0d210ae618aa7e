package hs110_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestClientTriesOnceMoreOnANewConnection(t *testing.T) {
	for name, f := range map[string]hs110test.Fault{
		"closed without a byte": {Close: true},
		"closed in the header":  {CutAfter: 3},
		"closed in the body":    {CutAfter: 56},
		"reset":                 {Reset: true},
		"silent":                {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := hs110test.New(t, hs110test.Options{Generate: fixed})
			c := mustClient(t, p.Address(), hs110.Options{Timeout: 300 * time.Millisecond})
			f.Times = 1
			mustFault(t, p, f)
			if s, err := c.Poll(t.Context()); err != nil || s.Power == nil {
				t.Errorf("one fault: %v, %v", s.Power, err)
			}
			if got, want := p.Requests(), 2; got != want {
				t.Errorf("asked %d times, want %d", got, want)
			}
			f.Times = 0
			mustFault(t, p, f)
			_, err := c.Poll(t.Context())
			if !errors.Is(err, hs110.ErrOffline) || reason(err) != hs110.ReasonSilent {
				t.Errorf("standing fault: %v (%s)", err, reason(err))
			}
			if got, want := p.Requests(), 4; got != want {
				t.Errorf("asked %d times, want %d", got, want)
			}
		})
	}
}

func TestOnlyWhatPassesIsTriedOnceMore(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{fmt.Errorf("read length: %w", io.ErrUnexpectedEOF), true},
		{op(syscall.ECONNRESET), true},
		{op(syscall.EPIPE), true},
		{op(syscall.ETIMEDOUT), true},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true},
		{op(syscall.ECONNREFUSED), false},
		{op(syscall.EHOSTUNREACH), false},
		{op(syscall.ENETUNREACH), false},
		{op(syscall.EHOSTDOWN), false},
		{hs110.ErrFrame, false},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, false},
	} {
		if got := hs110.Passing(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestClientReadsAnswersInPieces(t *testing.T) {
	for _, hw := range []hs110test.Hardware{hs110test.HW1, hs110test.HW2} {
		p := hs110test.New(t, hs110test.Options{Hardware: hw, Generate: fixed})
		mustFault(t, p, hs110test.Fault{Split: true})
		s, err := mustClient(t, p.Address(), hs110.Options{}).Poll(t.Context())
		if err != nil || s.Power == nil || *s.Power != 61.753 {
			t.Errorf("hw %d: %v, %v", hw, s.Power, err)
		}
	}
}

func TestClientWaitsForASlowPlug(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	mustFault(t, p, hs110test.Fault{Delay: 100 * time.Millisecond})
	if _, err := mustClient(t, p.Address(), hs110.Options{}).Info(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClientTellsLockedFromRefusing(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	mustFault(t, p, hs110test.Fault{Refuse: true})
	_, err := mustClient(t, p.Address(), hs110.Options{}).Info(t.Context())
	if !errors.Is(err, hs110.ErrOffline) || reason(err) != hs110.ReasonRefused {
		t.Errorf("refusing: %v (%s)", err, reason(err))
	}
	if got := p.Requests(); got != 0 {
		t.Errorf("asked %d times", got)
	}

	for name, o := range map[string]hs110test.Options{
		"by HTTP": {HTTPAddress: "0"},
		"by KLAP": {KLAPAddress: "0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := hs110test.New(t, hs110test.Options{})
			host, _, _ := net.SplitHostPort(p.Address())
			_ = p.Close()
			if o.HTTPAddress != "" {
				o.HTTPAddress = host + ":0"
			}
			if o.KLAPAddress != "" {
				o.KLAPAddress = host + ":0"
			}
			p, err := hs110test.Start(p.Address(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			mustFault(t, p, hs110test.Fault{Locked: true})
			http, klap := p.LockedAddresses()
			c := mustClient(t, p.Address(), hs110.Options{HTTPPort: port(t, http), KLAPPort: port(t, klap)})
			_, err = c.Info(t.Context())
			if !errors.Is(err, hs110.ErrLocked) || errors.Is(err, hs110.ErrOffline) || reason(err) != hs110.ReasonLocked {
				t.Errorf("locked: %v (%s)", err, reason(err))
			}
			mustFault(t, p, hs110test.Fault{})
			if _, err := c.Info(t.Context()); err != nil {
				t.Errorf("unlocked: %v", err)
			}
		})
	}
}

func port(t *testing.T, address string) int {
	t.Helper()
	if address == "" {
		return -1
	}
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func TestClientReportsSpikes(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Generate: fixed})
	mustFault(t, p, hs110test.Fault{Spike: 15_000_000})
	s, err := mustClient(t, p.Address(), hs110.Options{}).Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []device.Suspect{{Field: device.Power, Raw: "power_mw=15000000000"}}
	if diff := cmp.Diff(want, s.Suspects); diff != "" || s.Power != nil || s.Voltage == nil || s.Energy == nil {
		t.Errorf("%+v -want +got\n%s", s.Realtime, diff)
	}
}

func TestClientSeesTheCounterRestart(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Load: func(time.Time) (device.Watts, float64) { return 3e6, 0.9 }})
	c := mustClient(t, p.Address(), hs110.Options{MaxPower: math.MaxFloat32})
	energy := func() device.WattHours {
		deadline := time.Now().Add(5 * time.Second)
		for {
			if rt, err := c.Realtime(t.Context()); err == nil && rt.Energy != nil {
				return *rt.Energy
			} else if time.Now().After(deadline) {
				t.Fatalf("%v, %v", rt, err)
			}
		}
	}
	for energy() < 100 { // 833 Wh a second
	}
	p.Reboot(0)
	if got := energy(); got >= 100 {
		t.Errorf("after the restart %v Wh", got)
	}
	if !p.On() {
		t.Error("the relay did not survive")
	}
}

func TestClientSurvivesOneConnectionAtATime(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	mustFault(t, p, hs110test.Fault{OneConnection: true})
	c := mustClient(t, p.Address(), hs110.Options{})
	for range 50 {
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.MaxBusy(), 1; got != want {
		t.Errorf("%d connections at once, want %d", got, want)
	}
}
