package alerting

import (
	"log/slog"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// setSlack is by how much the wall's clock may be ahead of the time that has
// passed since it was looked at a second ago, and yet nobody has set it.
const setSlack = 5 * time.Second

// looked is what both clocks said when they were looked at last.
type looked struct {
	wall device.Micros
	ran  time.Duration
}

// watchClock notices that the wall's clock was set ahead, or that the machine has
// slept: that much time has not passed for anybody, so that nobody was silent for
// it. A clock that was set back is noticed by whoever is told an earlier time.
func (a *Alerting) watchClock(now device.Micros) {
	last := a.looked
	a.looked = looked{now, a.ran()}
	ahead := time.Duration(now-last.wall)*time.Microsecond - (a.looked.ran - last.ran)
	if last.wall == 0 || ahead < setSlack {
		return
	}
	a.log.Warn("the clock was set ahead, or the machine has slept", slog.Duration("duration", ahead))
	by := device.Micros(ahead.Microseconds())
	a.signals.SetAhead(by, now)
	a.engine.SetAhead(by, now)
}
