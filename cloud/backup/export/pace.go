package export

import (
	"context"
	"time"
)

// Rate lets so many points a second pass, over the time since the first. It is not
// for several exports at once. The zero value lets all pass.
type Rate struct {
	PerSecond int
	next      time.Time
}

// Wait implements Pace. What was not used for a second is lost, so that a pause is
// not made up for by a rush.
func (r *Rate) Wait(ctx context.Context, points int) error {
	if r == nil || r.PerSecond <= 0 {
		return context.Cause(ctx)
	}
	now := time.Now()
	if r.next.Before(now.Add(-time.Second)) {
		r.next = now.Add(-time.Second)
	}
	r.next = r.next.Add(time.Duration(float64(points) / float64(r.PerSecond) * float64(time.Second)))
	pause := time.Until(r.next)
	if pause <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
