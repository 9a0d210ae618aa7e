// Package schedule runs something at the times of a cron expression, by the clock
// of a time zone: never twice at once, once when times were missed because nothing
// ran, and again after a while when it failed. It owns robfig/cron, of which it
// uses the expressions only.
package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// lookEvery bounds how late a step of the clock is noticed.
const lookEvery = time.Minute

// Times are those of a cron expression in a time zone.
type Times struct {
	text     string
	schedule cron.Schedule
	zone     *time.Location
}

// Parse reads a cron expression of five fields, minute, hour, day of the month,
// month, day of the week, or @hourly, @daily, @weekly, @monthly. Where clocks are
// put forward, a time that does not exist is left out; zone names a time zone of
// IANA.
func Parse(expression, zone string) (*Times, error) {
	// cron 3.0.1 panics on some texts that begin with a zone.
	if strings.Contains(expression, "TZ=") {
		return nil, fmt.Errorf("%.60q: the time zone is a setting of its own", expression)
	}
	s, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("%.60q is no cron expression, such as 15 3 * * * for 03:15 each day: %w", expression, err)
	}
	if _, every := s.(cron.ConstantDelaySchedule); every {
		return nil, fmt.Errorf("%.60q: @every has no times of its own; take fields, such as 0 */6 * * *", expression)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("time zone: %w", err)
	}
	t := &Times{expression, s, location}
	if t.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("%.60q: there is no such time", expression)
	}
	return t, nil
}

// String is the expression.
func (t *Times) String() string { return t.text }

// Next is the first time after another.
func (t *Times) Next(after time.Time) time.Time { return t.schedule.Next(after.In(t.zone)) }

// Job is what is run.
type Job struct {
	Times *Times
	// Last tells when it was last done, also before the program began; zero:
	// never, and then it is due at the next time, not at once.
	Last func() time.Time
	// Do does it. What it does of its own accord is up to it; an error has it done
	// again after Retry, and then after longer, until the next time comes.
	Do    func(ctx context.Context) error
	Retry time.Duration
	// Jitter is how much later than its time it begins at most, by chance, so that
	// many sites do not begin at once.
	Jitter time.Duration
	// Now is the wall clock; nil: the real one.
	Now func() time.Time
}

// Run runs the job at its times until ctx ends. A job under way is ended by ctx and
// waited for. now may be sent to, to run it at once.
func Run(ctx context.Context, j Job, now <-chan struct{}) {
	if j.Now == nil {
		j.Now = time.Now
	}
	begun, failures := j.Now(), 0
	var tried time.Time
	late := j.chance()
	for {
		due := j.due(begun, tried, failures).Add(late)
		timer := time.NewTimer(min(lookEvery, max(0, due.Sub(j.Now()))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-now:
			timer.Stop()
		case <-timer.C:
			if j.Now().Before(due) {
				continue
			}
		}
		if err := j.Do(ctx); err != nil {
			failures++
		} else {
			failures = 0
		}
		if ctx.Err() != nil {
			return
		}
		tried, late = j.Now(), j.chance()
	}
}

func (j *Job) chance() time.Duration {
	if j.Jitter <= 0 {
		return 0
	}
	return rand.N(j.Jitter)
}

// due is when the job is to be run next.
func (j *Job) due(begun, tried time.Time, failures int) time.Time {
	now, last := j.Now(), j.Last()
	if last.IsZero() {
		last = begun
	}
	if last.After(now) { // the clock was set back
		last = now
	}
	if tried.After(now) {
		tried = now
	}
	if failures == 0 {
		if tried.After(last) {
			last = tried
		}
		return j.Times.Next(last)
	}
	again := tried.Add(j.Retry << min(failures-1, 6))
	if next := j.Times.Next(tried); next.Before(again) {
		return next
	}
	return again
}
