package hs110_test

import (
	"context"
	"errors"
	"sync"
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
