package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	// pollTimeout is the most that one poll may take, its wait behind a command
	// for the same plug and the driver's second attempt included.
	pollTimeout = 15 * time.Second
	// patience is how long a poll counts among those that begin. Real plugs
	// answer within 10 to 50 ms.
	patience = 250 * time.Millisecond
)

// Words for errors that have no Reason of their own.
const (
	reasonOffline = "offline"
	reasonSilent  = "silent"
	reasonGarbage = "garbage"
)

// errEmpty says that an answer had nothing in it.
var errEmpty = errors.New("the answer has no value in it")

// counts are the metrics of a Collector.
type counts struct {
	polls, missed, suspects, refused, dropped *metrics.Counter
	failed                                    *metrics.CounterVec
	late, took                                *metrics.Histogram
}

func newCounts(r *metrics.Registry) counts {
	return counts{
		polls:    r.Counter("wattline_collector_polls_total", "Polls begun."),
		missed:   r.Counter("wattline_collector_missed_total", "Ticks skipped because a poll was late or took too long."),
		suspects: r.Counter("wattline_collector_suspects_total", "Implausible fields left out of readings."),
		refused:  r.Counter("wattline_collector_refused_total", "Readings that the outbox did not take."),
		dropped:  r.Counter("wattline_collector_dropped_total", "Readings dropped because their plug was replaced during the poll."),
		failed:   r.CounterVec("wattline_collector_failed_total", "Polls that came to nothing.", 16, "reason"),
		late:     r.Histogram("wattline_collector_late_seconds", "From a tick to the begin of its poll.", 0.001, 0.01, 0.1, 0.25, 0.5, 1, 5),
		took:     r.Histogram("wattline_collector_poll_seconds", "Duration of a poll.", 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
	}
}

// poll asks one plug once. Only the goroutine of a poll touches a plug in
// which polling is set, so due stands still.
func (c *Collector) poll(ctx context.Context, p *plug, due time.Time) {
	release, ok := c.begin(ctx)
	if !ok {
		c.finish(p, func(now time.Time) int { return p.advance(now) }) // the tick is missed, the plug is not to blame
		return
	}
	begun := time.Now()
	c.count.polls.Inc()
	c.count.late.Observe(begun.Sub(due).Seconds())
	m, err := c.ask(ctx, p)
	// The measurement time is the moment when the answer is there. The plug takes
	// its values while it answers, 10 to 50 ms earlier at most; the begin of the
	// poll may lie seconds before that, behind a command or a first attempt.
	at, clockSet := c.o.Clock()
	release()
	c.count.took.Observe(time.Since(begun).Seconds())

	switch {
	case err == nil && empty(m):
		err = errEmpty
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		c.finish(p, func(time.Time) int { return 0 }) // stopped or replaced: this says nothing about the plug
		return
	}
	if err != nil {
		c.count.failed.With(reasonOf(err)).Inc()
		c.finish(p, func(now time.Time) int { return p.failed(err, now, c.wentAway) })
		return
	}
	c.deliver(p, device.Reading{Device: p.device, Time: at, Measurement: m}, clockSet)
	c.finish(p, func(now time.Time) int { return p.answered(m, now, c.cameBack) })
}

// begin waits for room to begin a poll. The room is free again when release is
// called, or earlier, when patience has passed.
func (c *Collector) begin(ctx context.Context) (release func(), ok bool) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	timer := time.AfterFunc(patience, func() { <-c.slots })
	return func() {
		if timer.Stop() {
			<-c.slots
		}
	}, true
}

// ask polls the meter; a panic in a driver is an error of that plug and harms
// no other.
func (c *Collector) ask(ctx context.Context, p *plug) (_ device.Measurement, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("driver panicked: %v", v)
			c.log.ErrorContext(ctx, "driver panicked", slog.String("device", p.device.String()),
				slog.String("err", fmt.Sprintf("%v\n%s", v, debug.Stack())))
		}
	}()
	return p.meter.Poll(ctx)
}

// deliver hands a reading on, unless its plug was replaced meanwhile.
func (c *Collector) deliver(p *plug, r device.Reading, clockSet bool) {
	c.mu.Lock()
	retired := p.retired
	c.mu.Unlock()
	if retired {
		c.count.dropped.Inc()
		return
	}
	c.count.suspects.Add(float64(len(r.Suspects)))
	err := c.o.Sink.Accept(r, clockSet)
	if c.o.Latest != nil {
		c.o.Latest(r)
	}
	if err != nil {
		c.count.refused.Inc()
	}
	c.mu.Lock()
	changed := c.refusing != (err != nil)
	c.refusing = err != nil
	c.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		c.log.Error("readings are refused", slog.String("device", r.Device.String()), slog.Any("err", err))
	default:
		c.log.Info("readings are accepted again", slog.String("device", r.Device.String()))
	}
}

// finish applies the outcome of a poll to its plug and puts it back into the
// queue.
func (c *Collector) finish(p *plug, outcome func(now time.Time) (missed int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.cancel()
	p.polling, p.cancel = false, nil
	if p.retired {
		return
	}
	c.count.missed.Add(float64(outcome(time.Now())))
	c.queue.push(p)
	if c.queue[0] == p {
		c.reschedule()
	}
}

func empty(m device.Measurement) bool {
	return m.Power == nil && m.Voltage == nil && m.Current == nil && m.Energy == nil && m.On == nil && len(m.Suspects) == 0
}

// reasonOf is the one word for why a plug was not read.
func reasonOf(err error) string {
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return r.Reason()
	}
	switch {
	case errors.Is(err, errEmpty):
		return reasonGarbage
	case errors.Is(err, context.DeadlineExceeded):
		return reasonSilent
	}
	return reasonOffline
}
