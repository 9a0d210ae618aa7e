package alerting

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// take hands a message over: the connection's one reader must not wait.
func (a *Alerting) take(m bus.Message) {
	if !a.queue.Put(m) {
		a.counted.dropped.Inc()
	}
}

// watch looks at what came, and lets time pass.
func (a *Alerting) watch(ctx context.Context) {
	tick, save, prune := time.NewTicker(tickEvery), time.NewTicker(saveEvery), time.NewTicker(pruneEvery)
	defer tick.Stop()
	defer save.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-a.queue.Next():
			a.hear(m) //nolint:contextcheck // what is logged of a message belongs to no request
			a.queue.Took(m)
		case <-tick.C:
			a.tick()
		case <-save.C:
			if err := a.save(); err != nil {
				a.log.ErrorContext(ctx, "what is pending was not saved; after a crash it would have to hold anew", slog.Any("err", err))
			}
		case <-prune.C:
			a.prune(ctx)
		}
	}
}

// hear takes in one message.
func (a *Alerting) hear(m bus.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	a.watchClock(now)
	if a.stale(m) {
		return
	}
	samples := a.signals.Hear(m, now)
	if since := now - a.rehoused; len(samples) > 0 && (since < 0 || since >= device.Micros(tickEvery.Microseconds())) {
		a.rehouse(now) // the first sample after a start is of a place that was told before it
	}
	a.judge(samples, now)
}

// rehouse lets the engine look at the house anew, which takes a while where it is
// large.
func (a *Alerting) rehouse(now device.Micros) {
	if a.signals.Changed() {
		a.rehoused = now
		a.change(a.engine.Rehouse(now))
	}
}

// tick lets time pass.
func (a *Alerting) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	a.watchClock(now)
	a.rehouse(now)
	a.judge(a.signals.Tick(now), now)
	a.judge(a.signals.TakeReceivers(a.failing(), now), now)
	a.change(a.engine.Tick(now)) // and what could not be written before
	a.forgetRecent(a.micros())   // some ended since now was
}

// failing counts the receivers that do not take what they are told, those who are
// told a state among them.
func (a *Alerting) failing() int {
	n := a.desk.Failing()
	for _, s := range a.states {
		if s.Status().Failing != 0 {
			n++
		}
	}
	return n
}

// judge shows samples to the rules.
func (a *Alerting) judge(samples []engine.Sample, now device.Micros) {
	a.counted.samples.Add(float64(len(samples)))
	var changes []engine.Change
	for _, s := range samples {
		changes = append(changes, a.engine.Take(s, now)...)
	}
	if len(changes) > 0 {
		a.change(changes)
	}
}

// change writes what the engine changed, then lets it be told.
func (a *Alerting) change(changes []engine.Change) {
	if len(changes) == 0 && len(a.unsaved) == 0 {
		return
	}
	if err := a.keep(changes); err != nil {
		if len(a.unsaved) == 0 { // it is tried every second
			a.log.Error("alerts not written; they wait, and nobody is told yet", slog.Any("err", err))
		}
		a.unsaved = append(a.unsaved, changes...)
		if more := len(a.unsaved) - maxUnsaved; more > 0 {
			a.unsaved = a.unsaved[more:]
			a.counted.unwritten.Add(float64(more))
		}
	}
}

// keep writes changes, behind what waited for a better disk, and who asked for
// them, and has them told.
func (a *Alerting) keep(changes []engine.Change, audits ...contract.Audited) error {
	all := append(a.unsaved, changes...)
	if len(all) == 0 {
		return nil
	}
	now := a.micros()
	err := a.archive.Keep(all, func(tx *bbolt.Tx) error {
		for _, audit := range audits {
			if err := archive.Audit(tx, audit); err != nil {
				return err
			}
		}
		return a.desk.Enter(tx, all, now)
	})
	if err != nil {
		return err
	}
	if n := len(a.unsaved); n > 0 {
		a.log.Info("alerts are written again", slog.Int("waited", n))
	}
	a.unsaved = nil
	a.counted.firing.Set(float64(a.engine.Alerts()))
	for _, c := range all {
		if c.Kind == engine.Late {
			continue
		}
		a.publish(c.Alert)
		if c.Kind == engine.Ended {
			a.recent = append(a.recent, ended{c.Alert, now})
		}
	}
	a.desk.Poke()
	for _, s := range a.states {
		s.Poke()
	}
	return nil
}

// save keeps what is pending, so that a restart need not wait anew.
func (a *Alerting) save() error {
	a.mu.Lock()
	remembered := a.engine.Remember()
	a.mu.Unlock()
	return a.archive.Remember(remembered)
}

func (a *Alerting) prune(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = a.archive.Prune(a.now()); err != nil {
			a.log.ErrorContext(ctx, "old alerts not pruned", slog.Any("err", err))
			return
		}
	}
}

// ask asks the other components how they are, and the disk how full it is.
func (a *Alerting) ask(ctx context.Context, asker *bus.Asker) {
	questions := signals.NewQuestions(asker.Link().IsUp, a.log)
	ticker := time.NewTicker(signals.AskEvery)
	defer ticker.Stop()
	for {
		a.mu.Lock()
		about := a.signals.About()
		a.mu.Unlock()
		answers := questions.Ask(ctx, asker, about)
		backups := questions.AskBackup(ctx, asker)
		a.mu.Lock()
		now := a.micros()
		a.watchClock(now)
		a.judge(a.signals.Take(answers, now), now)
		a.judge(a.signals.TakeBackup(backups, now), now)
		if percent, err := used(a.data); err == nil {
			a.judge(a.signals.TakeDisk(percent, now), now)
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// used is how full the disk of a directory is, in percent, for those who are not
// root.
func used(dir string) (percent float64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look how full the disk of %s is: %w", dir, err)
	}
	taken := float64(fs.Blocks - fs.Bfree)
	return 100 * taken / max(1, taken+float64(fs.Bavail)), nil
}
