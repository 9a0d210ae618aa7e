package spcommand

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	auditDatabase    = "wattline"
	auditMeasurement = "audit"
	maxAudit         = 4 << 20   // bytes that wait for InfluxDB
	auditPiece       = 256 << 10 // bytes of one write, about
	auditWrite       = 10 * time.Second
	auditRetryLeast  = time.Second
	auditRetryMost   = 30 * time.Second
	// intentPatience is how long an answer waits for the intent to be stored.
	intentPatience = 150 * time.Millisecond
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

// audit hands accounts to InfluxDB, in the background and in their order.
type audit struct {
	store Store
	log   *slog.Logger
	lost  *metrics.Counter
	wake  chan struct{}

	mu      sync.Mutex    // protects the fields below
	waiting [][]byte      // a line each, the oldest first
	bytes   int           // of them
	last    int64         // time of the newest account, in us: no two have the same
	added   uint64        // accounts ever taken
	settled uint64        // those of them that are stored or lost, the oldest first
	away    bool          // the last write failed
	changed chan struct{} // closed and replaced when settled or away change
}

func newAudit(store Store, reg *metrics.Registry, log *slog.Logger) *audit {
	return &audit{
		store: store, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		lost: reg.Counter("wattline_sp_command_audit_lost_total", "Accounts of switches that were not stored because InfluxDB was away too long or refused them."),
	}
}

// intent tells what is about to be asked of each place. The function that it
// gives waits until that is stored, at most so long after now as a person does
// not notice, and not at all while InfluxDB is known to be away.
func (a *audit) intent(command string, o order, places []contract.Result) (stored func(context.Context)) {
	var mark uint64
	for i := range places {
		mark = a.add("intent", command, o, &places[i])
	}
	until := time.Now().Add(intentPatience)
	return func(ctx context.Context) { a.await(ctx, mark, until) }
}

// result tells how it ended.
func (a *audit) result(command string, o order, places []contract.Result) {
	for i := range places {
		a.add("result", command, o, &places[i], line.String("outcome", string(places[i].Outcome)), line.String("detail", places[i].Detail))
	}
}

// add takes an account and gives its number. When there is no room the oldest
// are lost.
func (a *audit) add(phase, command string, o order, r *contract.Result, more ...line.Field) uint64 {
	if a.store == nil {
		return 0
	}
	fields := append([]line.Field{
		line.String("command", command), line.String("who", o.Who), line.String("reason", o.Reason), line.Bool("on", o.On),
	}, more...)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = max(a.last+1, time.Now().UnixMicro())
	account := line.Append(nil, auditMeasurement, []line.Tag{{Key: "id", Value: r.Device.String()}, {Key: "phase", Value: phase}}, fields, a.last)
	a.waiting = append(a.waiting, account)
	a.bytes += len(account)
	a.added++
	a.fit()
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return a.added
}

// fit loses the oldest accounts until the others have room; mu is held.
func (a *audit) fit() {
	for a.bytes > maxAudit {
		a.bytes -= len(a.waiting[0])
		a.waiting = a.waiting[1:]
		a.settle(1, true)
	}
}

// settle ends the waiting for accounts, the oldest that wait; mu is held.
func (a *audit) settle(n int, lost bool) {
	if lost {
		a.lost.Add(float64(n))
	}
	a.settled += uint64(n) //nolint:gosec // a count
	a.news()
}

// end is settle for who does not hold mu.
func (a *audit) end(n int, lost bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(n, lost)
}

// news wakes those who wait; mu is held.
func (a *audit) news() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// await waits until the account of that number, and those before, are settled.
func (a *audit) await(ctx context.Context, mark uint64, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		a.mu.Lock()
		done, changed := a.settled >= mark || a.away, a.changed
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// run writes until ctx ends, and then once more.
func (a *audit) run(ctx context.Context) {
	if a.store == nil {
		return
	}
	wait := auditRetryLeast
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
		if was := a.nowAway(err != nil); was != (err != nil) {
			if was {
				a.log.InfoContext(ctx, "audit is written again")
			} else {
				a.log.WarnContext(ctx, "audit not written, trying again", slog.Any("err", err))
			}
		}
		if err == nil {
			wait = auditRetryLeast
			continue
		}
		pause(ctx, wait)
		wait = min(2*wait, auditRetryMost)
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// nowAway notes whether InfluxDB is away, and gives what it was before.
func (a *audit) nowAway(away bool) (was bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, a.away = a.away, away
	a.news()
	return was
}

// write writes what waits, piece by piece; what could not be written waits again.
func (a *audit) write(ctx context.Context) error {
	for {
		piece := a.take()
		if len(piece) == 0 {
			return nil
		}
		left, err := a.put(ctx, piece)
		if err == nil {
			continue
		}
		a.mu.Lock()
		for _, account := range left {
			a.bytes += len(account)
		}
		a.waiting = slices.Concat(left, a.waiting)
		a.fit()
		a.mu.Unlock()
		return err
	}
}

// take takes the oldest accounts that wait.
func (a *audit) take() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, size := 0, 0
	for n < len(a.waiting) && size < auditPiece {
		size += len(a.waiting[n])
		n++
	}
	piece := a.waiting[:n:n]
	a.waiting, a.bytes = a.waiting[n:], a.bytes-size
	return piece
}

// put writes accounts, and gives those that must wait. Of accounts that are
// refused together it finds the ones to blame.
func (a *audit) put(ctx context.Context, accounts [][]byte) (left [][]byte, err error) {
	writing, cancel := context.WithTimeout(ctx, auditWrite)
	err = a.store.Write(writing, auditDatabase, bytes.Join(accounts, nil))
	cancel()
	refusal, judged := errors.AsType[verdict](err)
	switch {
	case err == nil:
		a.end(len(accounts), false)
		return nil, nil
	case !judged || !refusal.Refused():
		return accounts, err
	case len(accounts) == 1:
		a.end(1, true)
		a.log.ErrorContext(ctx, "audit refused", slog.Any("err", err))
		return nil, nil
	}
	half := len(accounts) / 2
	if left, err = a.put(ctx, accounts[:half]); err != nil {
		return slices.Concat(left, accounts[half:]), err
	}
	return a.put(ctx, accounts[half:])
}

// drop gives up what waits.
func (a *audit) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(len(a.waiting), true)
	a.waiting, a.bytes = nil, 0
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
