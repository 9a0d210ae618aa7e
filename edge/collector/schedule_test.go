package collector_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/shared/device"
)

func TestPlugsArePolledOnAFixedGridWithRandomPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ms := map[device.ID]*meter{}
		var targets []collector.Target
		for _, s := range []string{"sp_g0", "sp_g1", "sp_g2", "sp_g3", "sp_g4", "sp_g5", "sp_g6", "sp_g7"} {
			ms[id(t, s)] = answering()
			targets = append(targets, collector.Target{Device: id(t, s), Meter: ms[id(t, s)]})
		}
		f := run(t, nil, targets...)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		phases := map[time.Duration]bool{}
		for device, m := range ms {
			asked := m.times()
			if got, want := len(asked), 60; got != want {
				t.Errorf("%v: %d polls in 10 minutes, want %d", device, got, want)
			}
			phases[asked[0].Sub(start)] = true
			for i, at := range asked {
				if got, want := at, asked[0].Add(time.Duration(i)*10*time.Second); !got.Equal(want) {
					t.Fatalf("%v: poll %d at %v, want %v", device, i, got, want)
				}
			}
			if got := len(f.sink.of(device)); got != 60 {
				t.Errorf("%v: %d readings accepted, want 60", device, got)
			}
		}
		if len(phases) < 7 {
			t.Errorf("8 plugs have %d phases", len(phases))
		}
	})
}

func TestALatePollDoesNotMoveTheGridAndMissedTicksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		m.delay = 3500 * time.Millisecond
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: m})
		time.Sleep(time.Minute)
		m.change(func(m *meter) { m.delay = 0 })
		time.Sleep(time.Minute)
		synctest.Wait()
		asked := m.times()
		for i, at := range asked {
			if off := at.Sub(asked[0]) % time.Second; off != 0 {
				t.Fatalf("poll %d is %v off the grid", i, off)
			}
			if i == 1 && at.Sub(asked[0]) != 4*time.Second {
				t.Errorf("second poll after %v, want 4s: 3.5s taken, up to the grid", at.Sub(asked[0]))
			}
		}
		view := f.Plugs()[0]
		passed := int(asked[len(asked)-1].Sub(asked[0])/time.Second) + 1
		if got, want := view.Missed, passed-len(asked); got != want || got < 40 {
			t.Errorf("missed %d ticks, want %d (of %d)", got, want, passed)
		}
	})
}

func TestAPollThatTakesExactlyItsIntervalMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		m.delay = time.Second
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: m})
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		if got := len(m.times()); got < 29 || f.Plugs()[0].Missed != 0 {
			t.Errorf("%d polls in 30s, %d missed", got, f.Plugs()[0].Missed)
		}
	})
}

func TestDeadAndSlowPlugsDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []collector.Target
		healthy := answering()
		for i := range 200 {
			silent := &meter{delay: time.Hour}
			targets = append(targets, collector.Target{Device: grid(t, i), Interval: time.Second, Meter: silent})
		}
		targets = append(targets, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: healthy})
		run(t, func(o *collector.Options) { o.Simultaneous = 64 }, targets...)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		asked := healthy.times()
		if got := len(asked); got < 119 {
			t.Errorf("the healthy plug was polled %d times in 120s", got)
		}
		last := asked[len(asked)-1] // by now the silent plugs are asked once a minute
		for i, at := range asked {
			if late := (time.Hour - last.Sub(at)) % time.Second; late > patience {
				t.Errorf("poll %d was %v late", i, late)
			}
		}
	})
}

// patience is how long a silent plug occupies a place among the polls that begin.
const patience = 250 * time.Millisecond

func TestPollsThatBeginTogetherAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gauge
		var targets []collector.Target
		for i := range 100 {
			targets = append(targets, collector.Target{Device: grid(t, i), Interval: time.Second, Meter: &g})
		}
		run(t, func(o *collector.Options) { o.Simultaneous = 3 }, targets...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if most := g.highest(); most != 3 {
			t.Errorf("%d polls at once, want 3", most)
		}
	})
}

func TestIntervalsAreAtLeastASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Millisecond, Meter: m})
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if got := len(m.times()); got > 11 || f.Plugs()[0].Interval != time.Second {
			t.Errorf("%d polls in 10s at %v", got, f.Plugs()[0].Interval)
		}
	})
}

func TestSetKeepsPhaseAndStateOfWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, goes, comes := answering(), answering(), answering()
		a := collector.Target{Device: id(t, "sp_g1"), Meter: stays}
		f := run(t, nil, a, collector.Target{Device: id(t, "sp_g2"), Meter: goes})
		for range 20 {
			time.Sleep(7 * time.Second)
			f.Set([]collector.Target{a, {Device: id(t, "sp_g3"), Meter: comes}})
		}
		synctest.Wait()
		asked := stays.times()
		if len(asked) != 14 {
			t.Errorf("%d polls in 140s", len(asked))
		}
		for i, at := range asked {
			if off := at.Sub(asked[0]) % (10 * time.Second); off != 0 {
				t.Fatalf("poll %d moved by %v", i, off)
			}
		}
		if len(goes.times()) > 1 {
			t.Errorf("a plug that was taken away was polled %d times", len(goes.times()))
		}
		if len(comes.times()) < 13 {
			t.Errorf("a plug that was added was polled %d times", len(comes.times()))
		}
		if got := len(f.Plugs()); got != 2 {
			t.Errorf("%d plugs", got)
		}
	})
}

func TestSetChangesAnIntervalWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := answering()
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Hour, Meter: m})
		time.Sleep(time.Second)
		f.Set([]collector.Target{{Device: id(t, "sp_g1"), Interval: 2 * time.Second, Meter: m}})
		before := len(m.times())
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := len(m.times()) - before; got < 9 || got > 11 {
			t.Errorf("%d polls in 20s, want 10", got)
		}
	})
}

func TestAReplacedPlugIsAskedSoonAndTheOldReadingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := id(t, "sp_g1")
		old := &meter{err: failure("offline")}
		f := run(t, nil, collector.Target{Device: device, Meter: old})
		time.Sleep(5 * time.Minute)
		old.change(func(m *meter) { m.delay, m.err = time.Hour, nil })
		time.Sleep(time.Minute) // the last back-off: now the old plug is being asked
		fresh := answering()
		f.Set([]collector.Target{{Device: device, Meter: fresh}})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if len(fresh.times()) == 0 || len(f.sink.of(device)) != len(fresh.times()) {
			t.Errorf("new plug asked %d times, %d readings", len(fresh.times()), len(f.sink.of(device)))
		}
		if s := f.Status(); s.Reachable != 1 || len(s.Problems) != 0 {
			t.Errorf("status: %+v", s)
		}
		before := len(old.times())
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := len(old.times()) - before; got != 0 {
			t.Errorf("the old plug was asked %d times more", got)
		}
	})
}

func TestAReadingOfAPlugThatWasTakenAwayIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stubborn := &deaf{}
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Interval: time.Second, Meter: stubborn})
		time.Sleep(2 * time.Second) // it is being asked
		f.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(f.sink.of(id(t, "sp_g1"))); got != 0 {
			t.Errorf("%d readings", got)
		}
	})
}

// deaf answers after five seconds, whatever its context says.
type deaf struct{}

func (*deaf) Poll(context.Context) (device.Measurement, error) {
	time.Sleep(5 * time.Second)
	return measured(1), nil
}

func TestADeviceNamedTwiceIsPolledByItsLastTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, last := answering(), answering()
		f := run(t, nil, collector.Target{Device: id(t, "sp_g1"), Meter: first}, collector.Target{Device: id(t, "sp_g1"), Meter: last})
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(first.times()) != 0 || len(last.times()) != 6 || len(f.Plugs()) != 1 {
			t.Errorf("polled %d and %d times, %d plugs", len(first.times()), len(last.times()), len(f.Plugs()))
		}
	})
}
