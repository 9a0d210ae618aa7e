package hs110test_test

import (
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// The energy is the integral of the power whenever and however often one looks.
func TestEnergyIsTheIntegralOfThePower(t *testing.T) {
	noon := time.Date(2026, 3, 3, 12, 0, 0, 250e6, time.UTC)
	for name, load := range map[string]hs110test.Load{
		"constant": constant(1800), "workplace": hs110test.Workplace(7), "meeting room": hs110test.MeetingRoom(7), "printer": hs110test.Printer(7),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := &clock{now: noon}, &clock{now: noon}
			often := hs110test.New(t, hs110test.Options{Load: load, Now: a.Now, Location: time.UTC})
			once := hs110test.New(t, hs110test.Options{Load: load, Now: b.Now, Location: time.UTC})
			const hours = 2
			for range hours * 3600 * 2 {
				a.Add(500 * time.Millisecond)
				often.Values()
			}
			b.Add(hours * time.Hour)
			var want float64 // Wh
			for s := range hours * 3600 {
				w0, _ := load(noon.Truncate(time.Second).Add(time.Duration(s) * time.Second))
				w1, _ := load(noon.Truncate(time.Second).Add(time.Duration(s+1) * time.Second))
				want += (0.75*float64(w0) + 0.25*float64(w1)) / 3600
			}
			for _, got := range []device.WattHours{often.Values().Energy, once.Values().Energy} {
				if math.Abs(float64(got)-want) > 1e-6*want {
					t.Errorf("got %v Wh, want %v", got, want)
				}
			}
		})
	}
}

func TestRelaySwitchesTheLoad(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)}
	p := hs110test.New(t, hs110test.Options{Load: constant(1000), Now: c.Now})
	c.Add(time.Hour)
	mustAsk(t, p, `{"system":{"set_relay_state":{"state":0}}}`)
	c.Add(time.Hour)
	if v := p.Values(); v.Power != 0 || v.Current != 0 || math.Abs(float64(v.Energy)-1000) > 1e-6 {
		t.Errorf("off: %+v", v)
	}
	p.Press(true)
	c.Add(90 * time.Second)
	if v := p.Values(); v.Power != 1000 || math.Abs(float64(v.Energy)-1025) > 1e-6 {
		t.Errorf("on again: %+v", v)
	}
	if got := mustAsk(t, p, `{"system":{"get_sysinfo":{}}}`); !strings.Contains(got, `"on_time":90,`) {
		t.Errorf("got %s", got)
	}
	if got := mustAsk(t, p, `{"schedule":{"get_daystat":{"year":2026,"month":3}}}`); !strings.Contains(got, `"day":3,"time":61}`) {
		t.Errorf("got %s", got)
	}
}

func TestRebootRestartsTheCounterOnly(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)}
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Load: constant(1000), Now: c.Now, Location: time.UTC, BootTime: time.Millisecond})
	c.Add(time.Hour)
	mustAsk(t, p, `{"system":{"reboot":{"delay":0}}}`)
	for deadline := time.Now().Add(5 * time.Second); p.Values().Energy != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no reboot")
		}
	}
	c.Add(time.Hour)
	var got string
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", p.Address())
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it stays away")
		}
	}
	got = mustAsk(t, p, `{"emeter":{"get_realtime":{},"get_daystat":{"year":2026,"month":3}}}`)
	if !strings.Contains(got, `"total_wh":1000,`) || !strings.Contains(got, `"energy_wh":2000}`) {
		t.Errorf("got %s", got)
	}
}

func TestLoadsAreThoseOfAnOffice(t *testing.T) {
	tuesday := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	mean := func(load hs110test.Load, from, to float64, day time.Time) float64 {
		var sum float64
		n := 0
		for s := from * 3600; s < to*3600; s += 7 {
			w, factor := load(day.Add(time.Duration(s) * time.Second))
			if !(w > 0 && w < 1500) || !(factor > 0.1 && factor < 1) {
				t.Fatalf("%v W, power factor %v", w, factor)
			}
			sum += float64(w)
			n++
		}
		return sum / float64(n)
	}
	for name, c := range map[string]struct {
		load     func(uint64) hs110test.Load
		more, hi float64 // working hours over night, and their highest mean
	}{
		"workplace": {hs110test.Workplace, 5, 150}, "meeting room": {hs110test.MeetingRoom, 5, 400}, "printer": {hs110test.Printer, 3, 300},
	} {
		t.Run(name, func(t *testing.T) {
			var day, night, sunday float64
			for seed := range uint64(40) {
				day += mean(c.load(seed), 9, 17, tuesday) / 40
				night += mean(c.load(seed), 0, 6, tuesday) / 40
				sunday += mean(c.load(seed), 9, 17, tuesday.AddDate(0, 0, 5)) / 40
			}
			if day < c.more*night || day < 2*sunday || day > c.hi {
				t.Errorf("by day %.1f W, by night %.1f W, on Sunday %.1f W", day, night, sunday)
			}
		})
	}
}

func TestPowerIsBelowVoltageTimesCurrent(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 10, 0, 0, 0, time.UTC)}
	for _, hw := range []hs110test.Hardware{hs110test.HW1, hs110test.HW2} {
		p := hs110test.New(t, hs110test.Options{Hardware: hw, Now: c.Now, Location: time.UTC})
		client, err := hs110.New(p.Address(), hs110.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			c.Add(7 * time.Minute)
			rt, err := client.Realtime(t.Context())
			if err != nil || rt.Suspects != nil {
				t.Fatalf("%+v, %v", rt, err)
			}
			if p, ui := float64(*rt.Power), float64(*rt.Voltage)*float64(*rt.Current); p <= 0 || p >= ui {
				t.Errorf("%v W of %v VA", p, ui)
			}
		}
	}
}
