package collector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestOfflinePlugsAreAskedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{err: failure("offline")}
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: m})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		asked := m.times()
		want := []time.Duration{time.Second, time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 60 * time.Second, 60 * time.Second, 60 * time.Second}
		for i, want := range want {
			got := asked[i+1].Sub(asked[i])
			if least := want - want/4; got > want || i >= 2 && got < least || i < 2 && got != want {
				t.Errorf("pause %d is %v, want %v less jitter of at most a quarter", i, got, want)
			}
		}
		if got := f.log.of("plug away"); len(got) != 1 || !strings.Contains(got[0], "offline") {
			t.Errorf("log lines: %q, want one", got)
		}

		m.change(func(m *meter) { m.err, m.m = nil, measured(5) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		again := m.times()[len(asked):] // the first is of the back-off still
		if len(again) < 30 {
			t.Fatalf("back, but asked %d times", len(again))
		}
		for _, at := range again[1:] {
			if off := at.Sub(asked[0]) % time.Second; off != 0 {
				t.Errorf("back, but %v off its grid", off)
			}
		}
		if got := f.log.of("plug back"); len(got) != 1 {
			t.Errorf("log lines: %q, want one", got)
		}
		if s := f.Status(); s.Reachable != 1 || len(s.Problems) != 0 {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestBackOffIsNeverShorterThanTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{err: failure("offline")}
		run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: 5 * time.Minute, Meter: m})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(m.times()); got != 12 {
			t.Errorf("%d polls in an hour, want 12", got)
		}
	})
}

func TestAPlugIsOfflineAfterThreeFailuresNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Meter: m})
		time.Sleep(30 * time.Second)
		m.change(func(m *meter) { m.err = errPlain })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s := f.Status(); s.Reachable != 1 || len(s.Problems) != 0 {
			t.Errorf("after two failures: %+v", s)
		}
		if v := f.Plugs()[0]; v.Failures != 2 || v.Offline || v.Reason != "offline" {
			t.Errorf("view after two failures: %+v", v)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		first, asked := f.sink.of(id(t, "sp_g1")), m.times()
		want := contract.PlugsStatus{Configured: 1, Problems: []contract.PlugProblem{{
			Device: id(t, "sp_g1"), Reason: "offline", Detail: "connection reset",
			Since: device.MicrosOf(asked[3]), Last: new(first[len(first)-1].Time),
		}}}
		near := cmp.Comparer(func(a, b device.Micros) bool { return a-b <= 1 && b-a <= 1 }) // rounding
		if diff := cmp.Diff(want, f.Status(), near, cmp.Comparer(func(a, b device.ID) bool { return a == b })); diff != "" {
			t.Errorf("after three failures (-want +got):\n%s", diff)
		}
	})
}

func TestAReasonIsLoggedOnceEachTimeAPlugGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{err: failure("silent")}
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: m})
		for i := range 20 {
			time.Sleep(2 * time.Minute)
			m.change(func(m *meter) { m.err = failure([]string{"locked", "silent"}[i%2]) })
		}
		synctest.Wait()
		if got := f.log.of("plug away"); len(got) != 2 {
			t.Errorf("%d lines for two reasons: %q", len(got), got)
		}
	})
}

func TestPollsThatHangAreGivenUpAsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Meter: &meter{delay: time.Hour}})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := f.Status(); len(s.Problems) != 1 || s.Problems[0].Reason != "silent" || s.Problems[0].Last != nil {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestAnAnswerWithNothingInItIsNoReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Meter: &meter{}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := f.Status(); len(s.Problems) != 1 || s.Problems[0].Reason != "garbage" || len(f.sink.readings) != 0 {
			t.Errorf("status %+v, %d readings", s, len(f.sink.readings))
		}
	})
}

func TestAPanicInADriverHarmsItsPlugOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := answering()
		f := run(t, nil,
			collector.Target{Device: id(t, "sp_g1"), Meter: &meter{panic: true}},
			collector.Target{Device: id(t, "sp_g2"), Meter: good})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := f.Status(); s.Reachable != 1 || len(s.Problems) != 1 || len(good.times()) != 6 {
			t.Errorf("status %+v, %d polls of the other", s, len(good.times()))
		}
	})
}

func TestReadingsAreDatedWhenTheAnswerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		m.delay = 700 * time.Millisecond
		var latest []device.Reading
		var mu sync.Mutex
		f := run(t, func(o *collector.Options) {
			o.Latest = func(r device.Reading) { mu.Lock(); defer mu.Unlock(); latest = append(latest, r) }
		}, collector.Target{Device: id(t, "sp_g1"), Meter: m})
		time.Sleep(time.Minute)
		synctest.Wait()
		readings := f.sink.of(id(t, "sp_g1"))
		for i, r := range readings {
			if got, want := r.Time, device.MicrosOf(m.times()[i].Add(m.delay)); got != want {
				t.Errorf("reading %d at %v, want %v", i, got.Time(), want.Time())
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(readings) == 0 || len(latest) != len(readings) {
			t.Errorf("%d readings, %d newest states", len(readings), len(latest))
		}
	})
}

func TestSuspectsAreCountedByDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		m.m.Suspects = []device.Suspect{{Field: "power", Raw: "power_mw=99999999"}, {Field: "current", Raw: "current_ma=41124"}}
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Meter: m}, collector.Target{Device: id(t, "sp_g2"), Meter: answering()})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := f.Status().Suspects; len(got) != 1 || got[id(t, "sp_g1")] != 12 {
			t.Errorf("suspects: %v, want 12 of sp_g1", got)
		}
		if r := f.sink.of(id(t, "sp_g1"))[0]; len(r.Suspects) != 2 {
			t.Errorf("the reading lost its suspects: %+v", r)
		}
	})
}

func TestRefusedReadingsAreLoggedOnceAndThePlugStaysReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: answering()})
		f.sink.refuse(errors.New("no space left on device"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := f.Status(); s.Reachable != 1 {
			t.Errorf("status: %+v", s)
		}
		f.sink.refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if away, back := f.log.of("readings are refused"), f.log.of("readings are accepted again"); len(away) != 1 || len(back) != 1 {
			t.Errorf("log: %d and %d lines, want 1 and 1", len(away), len(back))
		}
	})
}

func TestAClockSetLaterMovesTheDatesOfWhatWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		set, start := false, time.Now()
		f := run(t, func(o *collector.Options) {
			o.Clock = func() (device.Micros, bool) {
				mu.Lock()
				defer mu.Unlock()
				if !set {
					return device.Micros(time.Since(start).Microseconds()), false
				}
				return device.MicrosOf(time.Now()), true
			}
		}, collector.Target{Device: id(t, "sp_g1"), Meter: &meter{err: failure("locked")}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if since := f.Status().Problems[0].Since; since > 60_000_000 {
			t.Errorf("since %v before the clock was set", since)
		}
		mu.Lock()
		set = true
		mu.Unlock()
		if since := f.Status().Problems[0].Since.Time(); since.Before(start) || since.After(start.Add(10*time.Second)) {
			t.Errorf("since %v, want within 10s after %v", since, start)
		}
	})
}

func TestRunEndsWithoutWaitingForSlowPlugs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		c := collector.New(collector.Options{Sink: &sink{}, Clock: func() (device.Micros, bool) { return 0, false }}, discard)
		c.Set([]collector.Target{{Device: id(t, "sp_g1"), Interval: time.Second, Meter: &meter{delay: time.Hour}}})
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(2 * time.Second)
		before := time.Now()
		stop()
		if err := <-done; err != nil || time.Since(before) > 0 {
			t.Errorf("Run gave %v after %v", err, time.Since(before))
		}
		if s := c.Status(); len(s.Problems) != 0 || c.Plugs()[0].Failures != 0 {
			t.Errorf("a poll that was given up counts against its plug: %+v", c.Plugs())
		}
	})
}

// gauge is a meter that tells how many are asked at once.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) Poll(ctx context.Context) (device.Measurement, error) {
	g.mu.Lock()
	g.now++
	g.most = max(g.most, g.now)
	g.mu.Unlock()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.now--
	g.mu.Unlock()
	return measured(1), nil
}

func (g *gauge) highest() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

func grid(t *testing.T, i int) device.ID {
	t.Helper()
	return id(t, fmt.Sprintf("sp_f1.w.r%d.c%d", i/50, i%50))
}

// A floor without power is one thing to tell, not a hundred.
func TestAFloorThatVanishesIsToldOfInAFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const plugs = 100
		meters, targets := make([]*meter, plugs), make([]collector.Target, plugs)
		for i := range meters {
			meters[i] = answering()
			targets[i] = collector.Target{Device: id(t, fmt.Sprintf("sp_f1.w%d", i)), Meter: meters[i]}
		}
		f := run(t, nil, targets...)
		time.Sleep(time.Minute)
		for _, m := range meters {
			m.change(func(m *meter) { m.err = failure("offline") })
		}
		time.Sleep(3 * time.Minute)
		singly, rest := f.log.of("plug away"), f.log.of("more plugs away: see the status")
		if len(singly) != 3 || len(rest) != 1 || !strings.Contains(rest[0], "plugs=97") || len(f.log.of("one more plug away")) != plugs-3 {
			t.Errorf("away: %v, %v", singly, rest)
		}
		for _, m := range meters {
			m.change(func(m *meter) { m.err = nil })
		}
		time.Sleep(3 * time.Minute)
		if singly, rest := f.log.of("plug back"), f.log.of("more plugs back"); len(singly)+len(rest) > 12 || len(rest) == 0 {
			t.Errorf("back: %v, %v", singly, rest)
		}
	})
}
