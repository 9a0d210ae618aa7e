package hs110test_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func mustDial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustAsk puts a question on a connection of its own and gives the answer.
func mustAsk(t *testing.T, p *hs110test.Plug, question string) string {
	t.Helper()
	c := mustDial(t, p.Address())
	defer c.Close()
	if _, err := c.Write(hs110.AppendFrame(nil, []byte(question))); err != nil {
		t.Fatal(err)
	}
	body, err := hs110.ReadFrame(c, nil)
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return string(body)
}

// clock is a time that the test moves.
type clock struct {
	mu  sync.Mutex // protects what follows
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func constant(w device.Watts) hs110test.Load {
	return func(time.Time) (device.Watts, float64) { return w, 0.9 }
}

func TestAnswersKeepTheOrderOfTheQuestion(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Generate: hs110test.Numbered})
	for question, want := range map[string]string{
		`{"emeter":{"get_realtime":{}}}`:                                                         `{"emeter":{"get_realtime":{"voltage_mv":230000,`,
		`{"foo":{"a":{},"b":null}}`:                                                              `{"foo":{"err_code":-1,"err_msg":"module not support"}}`,
		`{"foo":{"a":{}},"bar":{"a":{}}}`:                                                        `{"foo":{"err_code":-1,"err_msg":"module not support"},"bar":{"err_code":-1,"err_msg":"module not support"}}`,
		`{"time":{"x":{}},"foo":{"a":{}},"time":{"get_timezone":null}}`:                          `{"time":{"x":{"err_code":-2,"err_msg":"member not support"}},"foo":{"err_code":-1,"err_msg":"module not support"},"time":{"get_timezone":{"index":39,"err_code":0}}}`,
		`{"context":{"child_ids":["1"]},"system":{"set_led_off":{"off":1}}}`:                     `{"system":{"set_led_off":{"err_code":0}}}`,
		`{"system":{"set_relay_state":{"state":"1"}}}`:                                           `{"system":{"set_relay_state":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"system":{"set_relay_state":{"state":2}}}`:                                             `{"system":{"set_relay_state":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"emeter":{"get_daystat":{"month":"12","year":2026}}}`:                                  `{"emeter":{"get_daystat":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"system":{"get_sysinfo":null},"emeter":{"get_monthstat":{"year":1999}}}`:               `{"system":{"get_sysinfo":{"sw_ver":`,
		`{"emeter":{"get_monthstat":{"year":1999}},"system":{"set_dev_alias":{"alias":"ä\"☕"}}}`: `{"emeter":{"get_monthstat":{"month_list":[],"err_code":0}},"system":{"set_dev_alias":{"err_code":0}}}`,
	} {
		got := mustAsk(t, p, question)
		if !strings.HasPrefix(got, want) || !json.Valid([]byte(got)) {
			t.Errorf("%s\n got %s\nwant %s", question, got, want)
		}
	}
	if got := mustAsk(t, p, `{"system":{"get_sysinfo":{}}}`); !strings.Contains(got, `"alias":"ä\"☕"`) || !strings.Contains(got, `"led_off":1`) {
		t.Errorf("got %s", got)
	}
}

func TestHardwareFormsDiffer(t *testing.T) {
	for _, c := range []struct {
		hw         hs110test.Hardware
		has, hasNo []string
	}{
		{hs110test.HW1, []string{`"type"`, `"latitude":`, `"fwId"`, `"current":0.`, `"voltage":2`, `"total":`}, []string{`mic_type`, `_mw`, `_i"`}},
		{hs110test.HW2, []string{`"type"`, `"latitude_i":`, `"fwId"`, `"current_ma":`, `"total_wh":`}, []string{`mic_type`, `"power":`}},
		{hs110test.HW4, []string{`"mic_type"`, `"latitude_i":`, `"next_action"`, `"power_mw":`}, []string{`fwId`, `"type":"IOT`, `"power":`}},
	} {
		p := hs110test.New(t, hs110test.Options{Hardware: c.hw})
		got := mustAsk(t, p, `{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`)
		for _, s := range c.has {
			if !strings.Contains(got, s) {
				t.Errorf("hw %d: no %s in %s", c.hw, s, got)
			}
		}
		for _, s := range c.hasNo {
			if strings.Contains(got, s) {
				t.Errorf("hw %d: %s in %s", c.hw, s, got)
			}
		}
	}
}

func TestHardware1ClosesAndTakesAnyLength(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	for _, header := range [][]byte{{0, 0, 0, 0}, {0, 0, 0, 29}, {0xff, 0xff, 0xff, 0xff}} {
		c := mustDial(t, p.Address())
		question := append(bytes.Clone(header), hs110.InfoDatagram()...)
		for _, part := range [][]byte{question[:2], question[2:7], question[7:]} {
			if _, err := c.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if body, err := hs110.ReadFrame(c, nil); err != nil || !json.Valid(body) {
			t.Errorf("header %x: %q, %v", header, body, err)
		}
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("header %x: read %d bytes, %v, want the end", header, n, err)
		}
	}
}

func TestHardware2KeepsTheConnectionAndWantsTheLength(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2})
	c := mustDial(t, p.Address())
	for range 3 {
		if _, err := c.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`))); err != nil {
			t.Fatal(err)
		}
		if _, err := hs110.ReadFrame(c, nil); err != nil {
			t.Fatal(err)
		}
	}
	c = mustDial(t, p.Address())
	if _, err := c.Write(append([]byte{0, 0, 0, 200}, hs110.InfoDatagram()...)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, io.EOF) {
		t.Errorf("a wrong length was answered: %d bytes, %v", n, err)
	}
}

func TestNonsenseIsNotAnswered(t *testing.T) {
	for _, question := range []string{`{}`, `[]`, `{"system":`, `{"system":[]}`, "\xff\xfe", ``} {
		p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2})
		c := mustDial(t, p.Address())
		_, _ = c.Write(hs110.AppendFrame(nil, []byte(question)))
		_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n != 0 {
			t.Errorf("%q was answered", question)
		}
		mustAsk(t, p, `{"system":{"get_sysinfo":{}}}`) // others still are
	}
}

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

func TestFaultsStrikeAsOrdered(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Generate: hs110test.Numbered})
	spiked := func(n int) (pattern string) {
		for range n {
			if strings.Contains(mustAsk(t, p, `{"emeter":{"get_realtime":{}}}`), `"power_mw":9000000,`) {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	for _, c := range []struct {
		fault hs110test.Fault
		want  string
	}{
		{hs110test.Fault{Spike: 9000}, "xxxxxx"},
		{hs110test.Fault{Spike: 9000, Times: 2}, "xx...."},
		{hs110test.Fault{Spike: 9000, Every: 3}, "..x..x"},
		{hs110test.Fault{Spike: 9000, Every: 2, Times: 2}, ".x.x.."},
		{hs110test.Fault{}, "......"},
	} {
		if err := p.SetFault(c.fault); err != nil {
			t.Fatal(err)
		}
		if got := spiked(6); got != c.want || p.Struck() != strings.Count(c.want, "x") {
			t.Errorf("%+v: got %s (%d), want %s", c.fault, got, p.Struck(), c.want)
		}
	}
	if got, want := p.Polls(), uint64(30); got != want {
		t.Errorf("%d answers counted, want %d", got, want)
	}
}

func TestOneConnectionResetsASecond(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	p := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) { close(arrived); <-hold }})
	if err := p.SetFault(hs110test.Fault{OneConnection: true}); err != nil {
		t.Fatal(err)
	}
	first := mustDial(t, p.Address())
	if _, err := first.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`))); err != nil {
		t.Fatal(err)
	}
	<-arrived
	second := mustDial(t, p.Address())
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("second connection: %v, want a reset", err)
	}
	close(hold)
	if _, err := hs110.ReadFrame(first, nil); err != nil {
		t.Errorf("first connection: %v", err)
	}
}

func TestCloseEndsWhatIsOpen(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	if err := p.SetFault(hs110test.Fault{Silent: true, Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c := mustDial(t, p.Address())
		_, _ = c.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`)))
	}
	p.Reboot(time.Hour)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := p.SetFault(hs110test.Fault{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("fault on a closed plug: %v", err)
	}
}

func TestParseFault(t *testing.T) {
	f, err := hs110test.ParseFault("slow:250ms+split+spike:15000/10")
	if err != nil || f.Delay != 250*time.Millisecond || !f.Split || f.Spike != 15000 || f.Every != 10 {
		t.Errorf("%+v, %v", f, err)
	}
	for line := range strings.Lines(hs110test.Orders) {
		word, _, _ := strings.Cut(line, " ")
		if word == "Several" {
			break
		}
		if _, err := hs110test.ParseFault(word); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "slow", "slow:-1s", "slow:x", "cut:x", "spike:NaN", "spike:-1", "silent:1", "none", "slow:1s/0", "slow:1s/x", "ok+"} {
		if f, err := hs110test.ParseFault(bad); err == nil {
			t.Errorf("%q: no error, %+v", bad, f)
		}
	}
}

func TestFleetIsTheSameEachTime(t *testing.T) {
	o := hs110test.FleetOptions{Floors: 2, Rows: 3, Columns: 2, Rooms: 1, Printers: 1, Port: 19999}
	first, err := hs110test.StartFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := hs110test.StartFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Block == second.Block {
		t.Fatalf("both have block %d", first.Block)
	}
	var ids []string
	macs := map[string]bool{}
	hardware := map[string]bool{}
	for i, p := range first.Plugs {
		q := second.Plugs[i]
		if p.ID != q.ID || p.DeviceID() != q.DeviceID() || p.MAC() != q.MAC() || p.Address() == q.Address() {
			t.Errorf("%s and %s differ", p.ID, q.ID)
		}
		ids = append(ids, p.ID.String())
		macs[p.MAC()] = true
		answer := mustAsk(t, p.Plug, `{"system":{"get_sysinfo":{}}}`)
		_, rest, _ := strings.Cut(answer, `"hw_ver":"`)
		hardware[rest[:1]] = true
	}
	want := "sp_f1.w.r0.c0 sp_f1.w.r0.c1 sp_f1.w.r1.c0 sp_f1.w.r1.c1 sp_f1.w.r2.c0 sp_f1.w.r2.c1 sp_f1.g0 sp_f1.p0 " +
		"sp_f2.w.r0.c0 sp_f2.w.r0.c1 sp_f2.w.r1.c0 sp_f2.w.r1.c1 sp_f2.w.r2.c0 sp_f2.w.r2.c1 sp_f2.g0 sp_f2.p0"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("got %s", got)
	}
	if len(macs) != len(ids) || len(hardware) != 3 {
		t.Errorf("%d MACs of %d plugs, hardware %v", len(macs), len(ids), hardware)
	}
	if p := first.Find(first.Plugs[3].ID); p != &first.Plugs[3] {
		t.Errorf("found %v", p)
	}
	third, err := hs110test.StartFleet(hs110test.FleetOptions{Rows: 1, Columns: 1, Port: 19999, Block: first.Block})
	if !errors.Is(err, syscall.EADDRINUSE) || third != nil {
		t.Errorf("a block that is taken: %v", err)
	}
}

func TestFleetAnswersBroadcasts(t *testing.T) {
	const port = 19998
	f, err := hs110test.StartFleet(hs110test.FleetOptions{Rows: 10, Columns: 4, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Plugs[5].SetFault(hs110test.Fault{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(to string) map[string]bool {
		addr, err := net.ResolveUDPAddr("udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteTo(hs110.InfoDatagram(), addr); err != nil {
			t.Fatal(err)
		}
		heard := map[string]bool{}
		buf := make([]byte, 4096)
		for {
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return heard
			}
			if _, err := hs110.ParseInfoDatagram(buf[:n]); err != nil {
				t.Errorf("%v: %v", from, err)
			}
			heard[from.String()] = true
		}
	}
	heard := ask("127.255.255.255:19998")
	for i, p := range f.Plugs {
		if got, want := heard[p.Address()], i != 5; got != want {
			t.Errorf("%s heard: %v, want %v", p.Address(), got, want)
		}
	}
	if heard := ask(f.Plugs[3].Address()); len(heard) != 1 || !heard[f.Plugs[3].Address()] {
		t.Errorf("asked one, heard %v", heard)
	}
	if heard := ask("127.0.0.9:19998"); len(heard) != 0 {
		t.Errorf("asked nobody, heard %v", heard)
	}
}

// Many at once, for the race detector.
func TestPlugStandsManyClients(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	client, err := hs110.New(p.Address(), hs110.Options{HTTPPort: -1, KLAPPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.Poll(ctx)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		_ = p.SetFault([]hs110test.Fault{{}, {Refuse: true}, {Split: true}, {OneConnection: true}, {Close: true}}[i%5])
		p.Press(i%2 == 0)
		if i%10 == 0 {
			p.Reboot(time.Millisecond)
		}
		p.Values()
	}
	wg.Wait()
}
