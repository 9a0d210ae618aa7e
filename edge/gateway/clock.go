package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/shared/device"
)

// ClockMode is what makes the system clock one that readings may be dated by.
type ClockMode string

const (
	// ClockSystem trusts the system clock from [ClockFloor] on: for hardware
	// with a battery-backed clock, and for machines that somebody else keeps.
	ClockSystem ClockMode = "system"
	// ClockNTP trusts it from the moment that the kernel calls it synchronised:
	// for hardware that starts with whatever time it last knew.
	ClockNTP ClockMode = "ntp"
)

// ClockFloor is older than any time at which this program can run: an earlier
// system clock has not been set.
var ClockFloor = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// maxClockError is how far the clock of a run may be from the system's before
// the system's is taken over.
const maxClockError = time.Second

// staUnsync is STA_UNSYNC of linux/timex.h, which x/sys does not name.
const staUnsync = 0x40

// UnmarshalText takes "system" or "ntp".
func (m *ClockMode) UnmarshalText(text []byte) error {
	switch mode := ClockMode(text); mode {
	case ClockSystem, ClockNTP:
		*m = mode
		return nil
	default:
		return fmt.Errorf("%.40q is not a clock mode: system, ntp", text)
	}
}

// Ticks are the clocks of a machine, as [Clock] reads them.
type Ticks struct {
	// Wall is the system clock, which may be wrong and may step.
	Wall func() time.Time
	// Boot is the time since the machine started. It never steps, and counts
	// while the machine sleeps.
	Boot func() time.Duration
	// Synchronised reports whether the kernel believes that Wall is right.
	Synchronised func() (bool, error)
	// BootID names this boot of the machine.
	BootID func() (string, error)
}

// SystemTicks are the clocks of the machine that this program runs on.
func SystemTicks() Ticks {
	return Ticks{Wall: time.Now, Boot: sinceBoot, Synchronised: synchronised, BootID: bootID}
}

// Clock gives the times of readings. Within a run its time is start plus time
// elapsed, so that a step of the system clock does not fold the readings over;
// when the two are more than a second apart the system's is taken over at once,
// and counted. Until the system clock can be trusted it is not set, and a
// time is then the time since boot.
//
// A system clock that stops being trustworthy later (it fell below
// [ClockFloor], or lost its synchronisation and then stepped) does not unset the
// Clock: it goes on from what it knew. Safe for concurrent use.
type Clock struct {
	ticks  Ticks
	mode   ClockMode
	bootID string
	log    *slog.Logger

	mu       sync.Mutex    // protects what follows
	set      bool          // wall and boot are a pair
	wall     time.Time     // the true time at boot
	boot     time.Duration // time since boot at wall
	rebased  int
	doubted  bool  // the system clock is off and not trusted; logged
	lastSync error // why the kernel could not be asked; logged
}

// NewClock returns a clock of the given mode. Where the boot has no id, a drawn
// one stands in: readings kept without a time are then of an earlier boot for
// the next run.
func NewClock(mode ClockMode, ticks Ticks, log *slog.Logger) *Clock {
	id, err := ticks.BootID()
	if err != nil {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
		id = hex.EncodeToString(b[:])
		log.Warn("boot has no id, drew one for this run", slog.Any("err", err))
	}
	return &Clock{ticks: ticks, mode: mode, bootID: id, log: log}
}

// Now is the time, and whether it is one. While set is false, at counts the
// microseconds since boot.
func (c *Clock) Now() (at device.Micros, set bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, boot := c.ticks.Wall().Round(0), c.ticks.Boot() // Round: the system clock alone, no monotonic part
	if !c.set {
		if !c.trusted(wall) {
			return device.Micros(boot.Microseconds()), false
		}
		c.set, c.wall, c.boot = true, wall, boot
		c.log.Info("clock set", slog.Time("time", wall.UTC()))
	}
	now := c.wall.Add(boot - c.boot)
	if off := wall.Sub(now); off.Abs() > maxClockError {
		now = c.rebase(now, wall, boot)
	} else {
		c.doubted = false
	}
	return device.MicrosOf(now), true
}

// rebase takes the system clock over, if it can be trusted; mu is held.
func (c *Clock) rebase(now, wall time.Time, boot time.Duration) time.Time {
	step := slog.Duration("duration", wall.Sub(now))
	if !c.trusted(wall) {
		if !c.doubted {
			c.doubted = true
			c.log.Warn("system clock moved to a time that is not trusted, going on without it", step)
		}
		return now
	}
	c.doubted = false
	c.wall, c.boot = wall, boot
	c.rebased++
	c.log.Warn("clock stepped", step)
	return wall
}

// trusted reports whether wall is a time to date readings by; mu is held.
func (c *Clock) trusted(wall time.Time) bool {
	if wall.Before(ClockFloor) {
		return false
	}
	if c.mode != ClockNTP {
		return true
	}
	ok, err := c.ticks.Synchronised()
	if err != nil && c.lastSync == nil {
		c.log.Error("kernel does not tell whether the clock is synchronised: readings stay without a time", slog.Any("err", err))
	}
	c.lastSync = err
	return ok && err == nil
}

// Boot is the clock in which commands have their deadline: this boot's id, and
// the seconds since it. It needs no time to be set.
func (c *Clock) Boot() (id string, monotonic float64) {
	return c.bootID, c.ticks.Boot().Seconds()
}

// Rebased counts how often the system clock stepped by more than a second and
// was followed.
func (c *Clock) Rebased() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rebased
}

// sinceBoot reads CLOCK_BOOTTIME, which unlike Go's own monotonic clock counts
// while the machine sleeps: a command from before must be late after.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has it since 2.6.39 and gives no other error.
		panic("clock_gettime CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// synchronised asks the kernel, as clock_adjtime(2) with nothing to change.
func synchronised() (bool, error) {
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return false, fmt.Errorf("adjtimex: %w", err)
	}
	return tx.Status&staUnsync == 0, nil
}

// bootID is the kernel's, drawn at each boot.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	if id := strings.TrimSpace(string(text)); id != "" {
		return id, nil
	}
	return "", errors.New("read boot id: empty")
}
