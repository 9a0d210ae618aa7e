package hs110_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func mustClient(t *testing.T, address string, o hs110.Options) *hs110.Client {
	t.Helper()
	if o.HTTPPort == 0 {
		o.HTTPPort = -1
	}
	if o.KLAPPort == 0 {
		o.KLAPPort = -1
	}
	c, err := hs110.New(address, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustFault(t *testing.T, p *hs110test.Plug, f hs110test.Fault) {
	t.Helper()
	if err := p.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

// reason is what error classes of other packages look at, without this package.
func reason(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if r, ok := err.(interface{ Reason() string }); ok {
			return r.Reason()
		}
	}
	return ""
}

func fixed(n uint64, _ time.Time) hs110test.Values {
	return hs110test.Values{Power: 61.753, Voltage: 230.837, Current: 0.451, Energy: 16323 + device.WattHours(n)}
}

func TestClientReadsEveryHardware(t *testing.T) {
	for name, hw := range map[string]hs110test.Hardware{"hw1": hs110test.HW1, "hw2": hs110test.HW2, "hw4": hs110test.HW4} {
		t.Run(name, func(t *testing.T) {
			const alias = `Küche "3" ☕ 会議室 <&>`
			p := hs110test.New(t, hs110test.Options{Hardware: hw, Alias: alias, Generate: fixed})
			c := mustClient(t, p.Address(), hs110.Options{})
			info, err := c.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.Alias != alias || info.DeviceID != p.DeviceID() || info.MAC != p.MAC() || !info.HasMeter() || info.RSSI >= 0 {
				t.Errorf("got %+v", info)
			}
			if err := info.Identify(p.DeviceID(), p.MAC()); err != nil {
				t.Error(err)
			}
			s, err := c.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := hs110.Realtime{
				Power: new(device.Watts(61.753)), Voltage: new(device.Volts(230.837)),
				Current: new(device.Amperes(0.451)), Energy: new(device.WattHours(16324)),
			}
			if diff := cmp.Diff(want, s.Realtime); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if s.On == nil || !*s.On || s.MeterErr != nil {
				t.Errorf("relay %v, meter %v", s.On, s.MeterErr)
			}
			rt, err := c.Realtime(t.Context())
			if err != nil || *rt.Energy != 16325 {
				t.Errorf("second answer: %v, %v", rt, err)
			}
		})
	}
}

func TestClientSwitchesTheRelay(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Off: true})
	c := mustClient(t, p.Address(), hs110.Options{})
	for _, on := range []bool{true, true, false} {
		if err := c.SetRelay(t.Context(), on); err != nil {
			t.Fatal(err)
		}
		info, err := c.Info(t.Context())
		if err != nil || info.On == nil || *info.On != on || p.On() != on {
			t.Errorf("after %v: %v, %v", on, info.On, err)
		}
	}
}

func TestClientReadsStatisticsAndClock(t *testing.T) {
	zone := time.FixedZone("", 3600)
	var mu sync.Mutex
	now := time.Date(2026, 3, 31, 23, 0, 0, 0, zone)
	p := hs110test.New(t, hs110test.Options{
		Location: zone,
		Load:     func(time.Time) (device.Watts, float64) { return 1000, 0.9 },
		Now:      func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	mu.Lock()
	now = now.Add(3 * time.Hour) // one hour in March, two in April
	mu.Unlock()
	c := mustClient(t, p.Address(), hs110.Options{})
	days, err := c.DayStat(t.Context(), 2026, time.April)
	if diff := cmp.Diff(hs110.Stat{Entries: []hs110.DayEnergy{{2026, 4, 1, 2000}}}, days); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
	months, err := c.MonthStat(t.Context(), 2026)
	if diff := cmp.Diff(hs110.Stat{Entries: []hs110.DayEnergy{{2026, 3, 0, 1000}, {2026, 4, 0, 2000}}}, months); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
	if got, err := c.Time(t.Context(), zone); err != nil || !got.Equal(now) {
		t.Errorf("clock %v, %v, want %v", got, err, now)
	}
}

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

func TestClientObeysItsContext(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	asked := make(chan struct{}, 8)
	quiet := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) { asked <- struct{}{} }})
	mustFault(t, quiet, hs110test.Fault{Silent: true})

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	start := time.Now()
	_, err := mustClient(t, quiet.Address(), hs110.Options{}).Info(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, hs110.ErrOffline) || time.Since(start) > 2*time.Second {
		t.Errorf("cancelled: %v after %v", err, time.Since(start))
	}
	if _, err := mustClient(t, p.Address(), hs110.Options{}).Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	_, err = mustClient(t, quiet.Address(), hs110.Options{}).Info(ctx)
	if !errors.Is(err, hs110.ErrOffline) || time.Since(start) > 2*time.Second {
		t.Errorf("out of time: %v after %v", err, time.Since(start))
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

func TestClientWithoutMeter(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{NoMeter: true})
	c := mustClient(t, p.Address(), hs110.Options{})
	info, err := c.Info(t.Context())
	if err != nil || info.HasMeter() {
		t.Errorf("%+v, %v", info, err)
	}
	_, err = c.Realtime(t.Context())
	de, ok := errors.AsType[*hs110.DeviceError](err)
	if !errors.Is(err, hs110.ErrNoMeter) || reason(err) != hs110.ReasonUnsupported || !ok || de.Code != -1 {
		t.Errorf("%v (%s)", err, reason(err))
	}
	s, err := c.Poll(t.Context())
	if err != nil || s.On == nil || !errors.Is(s.MeterErr, hs110.ErrNoMeter) {
		t.Errorf("poll: %v, %v", err, s.MeterErr)
	}
}

func TestNewRefusesBadAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.7": "10.0.0.7:9999", "10.0.0.7:1": "10.0.0.7:1", "plug-7.lan": "plug-7.lan:9999",
		"fe80::1": "[fe80::1]:9999", "[::1]:80": "[::1]:80",
	} {
		if c, err := hs110.New(address, hs110.Options{}); err != nil || c.Address() != want {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
	for _, address := range []string{"", ":9999", "a:b", "a:0", "a:65536", "a:1:2", "[::1"} {
		if c, err := hs110.New(address, hs110.Options{}); err == nil {
			t.Errorf("%q: no error, %q", address, c.Address())
		}
	}
}
