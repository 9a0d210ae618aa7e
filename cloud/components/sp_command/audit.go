package spcommand

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	auditDatabase    = "wattline"
	auditMeasurement = "audit"
	maxAudit         = 4 << 20 // bytes that wait for InfluxDB
	auditWrite       = 10 * time.Second
	auditRetryLeast  = time.Second
	auditRetryMost   = 30 * time.Second
)

// Store is where accounts go. Write returns nil when the lines are stored; an
// error with a method Refused that gives true is InfluxDB's verdict on the
// lines, any other means "not now".
type Store interface {
	Write(ctx context.Context, database string, lines []byte) error
}

// verdict is an error of a Store that may blame the lines.
type verdict interface {
	error
	Refused() bool
}

// audit hands accounts to InfluxDB, in the background.
type audit struct {
	store Store
	log   *slog.Logger
	lost  *metrics.Counter
	wake  chan struct{}

	mu      sync.Mutex // protects the fields below
	waiting []byte
	lines   int
	last    int64 // time of the newest account, in us: no two have the same
}

func newAudit(store Store, reg *metrics.Registry, log *slog.Logger) *audit {
	return &audit{
		store: store, log: log, wake: make(chan struct{}, 1),
		lost: reg.Counter("wattline_sp_command_audit_lost_total", "Accounts of switches that were not stored because InfluxDB was away too long or refused them."),
	}
}

// intent tells what is about to be asked of each place.
func (a *audit) intent(command string, o order, places []contract.Result) {
	for i := range places {
		a.add("intent", command, o, &places[i])
	}
}

// result tells how it ended.
func (a *audit) result(command string, o order, places []contract.Result) {
	for i := range places {
		a.add("result", command, o, &places[i], line.String("outcome", string(places[i].Outcome)), line.String("detail", places[i].Detail))
	}
}

func (a *audit) add(phase, command string, o order, r *contract.Result, more ...line.Field) {
	if a.store == nil {
		return
	}
	fields := append([]line.Field{
		line.String("command", command), line.String("who", o.Who), line.String("reason", o.Reason), line.Bool("on", o.On),
	}, more...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > maxAudit {
		a.lost.Inc()
		return
	}
	a.last = max(a.last+1, time.Now().UnixMicro())
	a.waiting = line.Append(a.waiting, auditMeasurement, []line.Tag{{Key: "id", Value: r.Device.String()}, {Key: "phase", Value: phase}}, fields, a.last)
	a.lines++
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then once more.
func (a *audit) run(ctx context.Context) {
	if a.store == nil {
		return
	}
	wait, away := auditRetryLeast, false
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = a.write(last) // what is lost is counted
			a.drop()
			return
		}
		err := a.write(ctx)
		if err == nil {
			if away {
				a.log.InfoContext(ctx, "audit is written again")
			}
			wait, away = auditRetryLeast, false
			continue
		}
		if !away {
			a.log.WarnContext(ctx, "audit not written, trying again", slog.Any("err", err))
		}
		away = true
		pause(ctx, wait)
		wait = min(2*wait, auditRetryMost)
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// write writes what waits; what could not be written waits again.
func (a *audit) write(ctx context.Context) error {
	a.mu.Lock()
	text, lines := a.waiting, a.lines
	a.waiting, a.lines = nil, 0
	a.mu.Unlock()
	if lines == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, auditWrite)
	defer cancel()
	err := a.store.Write(ctx, auditDatabase, text)
	if err == nil {
		return nil
	}
	if v, ok := errors.AsType[verdict](err); ok && v.Refused() {
		a.lost.Add(float64(lines))
		a.log.ErrorContext(ctx, "audit refused", slog.Any("err", err))
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(text, a.waiting...)
	a.lines += lines
	return err
}

func (a *audit) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost.Add(float64(a.lines))
	a.waiting, a.lines = nil, 0
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
