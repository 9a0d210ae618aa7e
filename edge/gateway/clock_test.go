package gateway_test

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/device"
)

// machine is a set of clocks that a test turns.
type machine struct {
	mu      sync.Mutex
	wall    time.Time
	boot    time.Duration
	sync    bool
	syncErr error
	idErr   error
}

func (m *machine) ticks() gateway.Ticks {
	return gateway.Ticks{
		Wall:         func() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.wall },
		Boot:         func() time.Duration { m.mu.Lock(); defer m.mu.Unlock(); return m.boot },
		Synchronised: func() (bool, error) { m.mu.Lock(); defer m.mu.Unlock(); return m.sync, m.syncErr },
		BootID:       func() (string, error) { return "boot-1", m.idErr },
	}
}

// pass lets d pass, and the system clock step besides.
func (m *machine) pass(d, step time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot += d
	m.wall = m.wall.Add(d + step)
}

func (m *machine) synchronise(ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sync = ok
}

var noon = time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)

func TestClockFollowsElapsedTimeThroughSmallSteps(t *testing.T) {
	m := &machine{wall: noon, boot: time.Hour}
	c := newClock(gateway.ClockSystem, m)
	wantNow(t, c, noon)
	m.pass(10*time.Second, -900*time.Millisecond)
	wantNow(t, c, noon.Add(10*time.Second))
	if got := c.Rebased(); got != 0 {
		t.Errorf("rebased %d times for a step below a second", got)
	}
}

func TestClockTakesOverAndCountsLargeSteps(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"forth": time.Hour, "back": -time.Hour, "just above a second": 1001 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{wall: noon}
			c := newClock(gateway.ClockSystem, m)
			c.Now()
			m.pass(time.Minute, step)
			wantNow(t, c, noon.Add(time.Minute+step))
			m.pass(time.Minute, 0)
			wantNow(t, c, noon.Add(2*time.Minute+step))
			if got := c.Rebased(); got != 1 {
				t.Errorf("rebased %d times, want 1", got)
			}
		})
	}
}

func TestSlowDriftIsTakenOverInTheEnd(t *testing.T) {
	m := &machine{wall: noon}
	c := newClock(gateway.ClockSystem, m)
	c.Now()
	for range 11 {
		m.pass(time.Minute, 100*time.Millisecond)
		c.Now()
	}
	wantNow(t, c, noon.Add(11*time.Minute+1100*time.Millisecond))
	if got := c.Rebased(); got != 1 {
		t.Errorf("rebased %d times, want 1", got)
	}
}

func TestClockIsNotSetBeforeTheFloor(t *testing.T) {
	m := &machine{wall: time.Unix(30, 0), boot: 42 * time.Second}
	c := newClock(gateway.ClockSystem, m)
	if at, set := c.Now(); set || at != 42_000_000 {
		t.Errorf("Now = %d, %v; want the microseconds since boot, not set", at, set)
	}
	m.pass(time.Second, noon.Sub(time.Unix(31, 0)))
	wantNow(t, c, noon)
	if got := c.Rebased(); got != 0 {
		t.Errorf("setting the clock counted as %d steps", got)
	}
}

func TestNTPModeWaitsForTheKernel(t *testing.T) {
	m := &machine{wall: noon, boot: time.Second}
	c := newClock(gateway.ClockNTP, m)
	if at, set := c.Now(); set || at != 1_000_000 {
		t.Errorf("Now = %d, %v before synchronisation", at, set)
	}
	m.synchronise(true)
	wantNow(t, c, noon)
}

func TestNTPModeDoesNotFollowAStepOfAnUnsynchronisedClock(t *testing.T) {
	m := &machine{wall: noon, sync: true}
	c := newClock(gateway.ClockNTP, m)
	c.Now()
	m.synchronise(false)
	m.pass(time.Minute, time.Hour)
	wantNow(t, c, noon.Add(time.Minute))
	if got := c.Rebased(); got != 0 {
		t.Errorf("rebased %d times onto an untrusted clock", got)
	}
	m.synchronise(true)
	wantNow(t, c, noon.Add(time.Minute+time.Hour))
}

func TestAClockOnceSetDoesNotFallTo1970(t *testing.T) {
	m := &machine{wall: noon}
	c := newClock(gateway.ClockSystem, m)
	c.Now()
	m.pass(time.Minute, -noon.Sub(time.Unix(0, 0)))
	wantNow(t, c, noon.Add(time.Minute))
}

func TestAKernelThatCannotBeAskedLeavesTheClockUnset(t *testing.T) {
	m := &machine{wall: noon, sync: true, syncErr: errors.New("not permitted")}
	if _, set := newClock(gateway.ClockNTP, m).Now(); set {
		t.Error("the clock is set")
	}
}

func TestDeadlineClock(t *testing.T) {
	m := &machine{wall: noon, boot: 90 * time.Second}
	id, at := newClock(gateway.ClockNTP, m).Boot()
	if id != "boot-1" || at != 90 {
		t.Errorf("Boot = %q, %v", id, at)
	}
	m.idErr = errors.New("no /proc")
	first, _ := newClock(gateway.ClockNTP, m).Boot()
	second, _ := newClock(gateway.ClockNTP, m).Boot()
	if len(first) != 32 || first == second {
		t.Errorf("without a boot id: %q and %q, want two drawn ones", first, second)
	}
}

func TestClockModesInText(t *testing.T) {
	var mode gateway.ClockMode
	for _, text := range []string{"system", "ntp"} {
		if err := mode.UnmarshalText([]byte(text)); err != nil || string(mode) != text {
			t.Errorf("UnmarshalText(%q) = %v, %v", text, mode, err)
		}
	}
	if err := mode.UnmarshalText([]byte("gps")); err == nil {
		t.Error("gps was taken for a clock mode")
	}
}

func TestClockOfThisMachine(t *testing.T) {
	c := gateway.NewClock(gateway.ClockSystem, gateway.SystemTicks(), slog.New(slog.DiscardHandler))
	id, first := c.Boot()
	_, second := c.Boot()
	if id == "" || first <= 0 || second < first {
		t.Errorf("Boot = %q, %v then %v", id, first, second)
	}
	at, set := c.Now()
	if off := time.Since(at.Time()).Abs(); set != !time.Now().Before(gateway.ClockFloor) || set && off > time.Second {
		t.Errorf("Now = %v, %v, off by %v", at.Time(), set, off)
	}
	if _, err := gateway.SystemTicks().Synchronised(); err != nil {
		t.Logf("this kernel does not tell: %v", err)
	}
}

func newClock(mode gateway.ClockMode, m *machine) *gateway.Clock {
	return gateway.NewClock(mode, m.ticks(), slog.New(slog.DiscardHandler))
}

func wantNow(t *testing.T, c *gateway.Clock, want time.Time) {
	t.Helper()
	at, set := c.Now()
	if at != device.MicrosOf(want) || !set {
		t.Errorf("Now = %v, %v; want %v, true", at.Time(), set, want)
	}
}
