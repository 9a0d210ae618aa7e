package collector

import (
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// PlugView is how a plug is now, for people.
type PlugView struct {
	Device   device.ID
	Interval time.Duration
	// Last is when it last answered, nil if it did not yet.
	Last *device.Micros
	// Power and On are of that answer; nil where it did not have them.
	Power *device.Watts
	On    *bool
	// Failures counts the failed polls since it answered; Reason and Detail tell
	// of the last, Since when they began. Offline is set from the third on.
	Failures int
	Offline  bool
	Reason   string
	Detail   string
	Since    *device.Micros
	Missed   int // ticks skipped
	Suspects int // implausible fields
}

// Status tells how the plugs are. A plug is a problem when it is offline, and
// reachable when it has answered and is not; before the first answer it is
// neither.
func (c *Collector) Status() contract.PlugsStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	when := c.dating()
	s := contract.PlugsStatus{Configured: len(c.plugs)}
	for id, p := range c.plugs {
		if p.suspects > 0 {
			if s.Suspects == nil {
				s.Suspects = map[device.ID]int{}
			}
			s.Suspects[id] = p.suspects
		}
		switch {
		case p.offline():
			s.Problems = append(s.Problems, contract.PlugProblem{
				Device: id, Reason: p.reason, Detail: p.detail, Since: *when(p.since), Last: when(p.last),
			})
		case !p.last.IsZero():
			s.Reachable++
		}
	}
	slices.SortFunc(s.Problems, func(a, b contract.PlugProblem) int { return device.Compare(a.Device, b.Device) })
	return s
}

// Plugs lists the plugs in the order of their ids.
func (c *Collector) Plugs() []PlugView {
	c.mu.Lock()
	defer c.mu.Unlock()
	when := c.dating()
	views := make([]PlugView, 0, len(c.plugs))
	for _, p := range c.plugs {
		views = append(views, PlugView{
			Device: p.device, Interval: p.interval, Last: when(p.last), Power: p.power, On: p.on,
			Failures: p.failures, Offline: p.offline(), Reason: p.reason, Detail: p.detail, Since: when(p.since),
			Missed: p.missed, Suspects: p.suspects,
		})
	}
	slices.SortFunc(views, func(a, b PlugView) int { return device.Compare(a.Device, b.Device) })
	return views
}

// dating gives a function that dates what happened by the clock of now: where
// the clock was set or stepped since, what happened before moves with it. A
// zero time, never, is nil.
func (c *Collector) dating() func(time.Time) *device.Micros {
	at, _ := c.o.Clock()
	now := time.Now()
	return func(t time.Time) *device.Micros {
		if t.IsZero() {
			return nil
		}
		return new(at.Add(t.Sub(now)))
	}
}
