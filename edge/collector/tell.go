package collector

import (
	"log/slog"
	"time"
)

// A floor that loses its power, or its network, loses a hundred plugs at once.
const (
	// tellSingly is how many plugs that went or came are logged one by one within
	// gather, from the first on; the others are counted in a line at its end.
	tellSingly = 3
	gather     = 30 * time.Second
)

// changes are the plugs that went and came within the present gather; the mutex
// of the Collector protects them.
type changes struct {
	told       int
	away, back int // that were not told singly
	end        *time.Timer
}

func newChanges() changes {
	end := time.NewTimer(gather)
	end.Stop()
	return changes{end: end}
}

// singly reports whether one more may be logged by itself; c.mu is held.
func (c *changes) singly() bool {
	if c.told == 0 {
		c.end.Reset(gather)
	}
	c.told++
	return c.told <= tellSingly
}

// wentAway logs that a plug is away; c.mu is held.
func (c *Collector) wentAway(p *plug) {
	attrs := []any{slog.String("device", p.device.String()), slog.String("err", p.reason+": "+p.detail)}
	if c.changes.singly() {
		c.log.Warn("plug away", attrs...)
		return
	}
	c.changes.away++
	c.log.Debug("one more plug away", attrs...)
}

// cameBack logs that a plug answers again; c.mu is held.
func (c *Collector) cameBack(p *plug, now time.Time) {
	attrs := []any{slog.String("device", p.device.String()), slog.Duration("duration", now.Sub(p.since))}
	if c.changes.singly() {
		c.log.Info("plug back", attrs...)
		return
	}
	c.changes.back++
	c.log.Debug("one more plug back", attrs...)
}

// sumUp logs how many were not logged singly.
func (c *Collector) sumUp() {
	s := c.Status()
	c.mu.Lock()
	away, back := c.changes.away, c.changes.back
	c.changes.told, c.changes.away, c.changes.back = 0, 0, 0
	c.mu.Unlock()
	now := []any{slog.Int("offline", len(s.Problems)), slog.Int("configured", s.Configured)}
	if away > 0 {
		c.log.Warn("more plugs away: see the status", append([]any{slog.Int("plugs", away)}, now...)...)
	}
	if back > 0 {
		c.log.Info("more plugs back", append([]any{slog.Int("plugs", back)}, now...)...)
	}
}
