package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// measureLink pulls and plugs a gateway's cable while a long backlog waits, and
// kills gateways in the middle of a drain.
func measureLink(ctx context.Context, b *bench) error {
	readings, rounds, kills := 2_000_000, 20, 3
	if b.long {
		readings, rounds, kills = 20_000_000, 200, 20
	}
	master := filepath.Join(b.dir, "backlog.db")
	if err := makeBacklog(ctx, master, "edge-f1", 1, readings, past(device.MicrosOf(time.Now()), readings)); err != nil {
		return err
	}
	if err := b.linkUps(ctx, master, rounds); err != nil {
		return err
	}
	small := filepath.Join(b.dir, "small.db")
	const few = 200_000
	if err := makeBacklog(ctx, small, "edge-f1", 1, few, past(device.MicrosOf(time.Now()), few)); err != nil {
		return err
	}
	repeated, err := b.killed(ctx, "large", master, readings, kills)
	if err != nil {
		return err
	}
	b.most("sent_twice", repeated, 1.5, "%")
	if repeated, err = b.killed(ctx, "small", small, few, kills); err != nil {
		return err
	}
	b.fact("sent_twice_of_200k", repeated, "%")
	b.note("%d readings waiting; of a kill in the middle, the worst of %d", readings, kills)
	return nil
}

// linkUps gives no receipts, so that the backlog stays whole.
func (b *bench) linkUps(ctx context.Context, master string, rounds int) error {
	broker, err := b.startMosquitto(ctx, "broker")
	if err != nil {
		return err
	}
	defer broker.stop()
	line, err := newCable(broker.address)
	if err != nil {
		return err
	}
	defer line.pull()
	e, err := b.newEdge("edge-f1", line.address)
	if err != nil {
		return err
	}
	if err := copyFile(master, e.outboxPath()); err != nil {
		return err
	}
	k, err := hear(broker.address, e.name)
	if err != nil {
		return err
	}
	k.receipts.Store(false)
	if err := e.run(); err != nil {
		return err
	}
	defer e.stop()
	if err := until(ctx, e.process, time.Minute, "the gateway", func() bool { _, err := e.view(); return err == nil }); err != nil {
		return err
	}
	var took []time.Duration
	for range rounds {
		time.Sleep(time.Second + rand.N(500*time.Millisecond)) // away for so long, at any point of its attempts
		k.forget()
		begin := time.Now()
		if err := line.plugIn(); err != nil {
			return err
		}
		var first time.Time
		if err := until(ctx, e.process, time.Minute, "the first batch", func() (ok bool) { first, ok = k.firstHeard(); return ok }); err != nil {
			return err
		}
		took = append(took, first.Sub(begin))
		line.pull()
	}
	b.fact("link_up_p50", median(took).Seconds(), "s")
	b.most("link_up_max", quantile(took, 1).Seconds(), 1, "s")
	return k.close()
}

// killed drains a backlog, kills the gateway when about half of it has come,
// starts it again, and tells how many batches came more than once, in percent
// of the backlog, at worst.
func (b *bench) killed(ctx context.Context, name, master string, readings, kills int) (worst float64, err error) {
	for n := range kills {
		percent, err := b.killedOnce(ctx, fmt.Sprintf("%s-%d", name, n), master, readings/batchOf)
		if err != nil {
			return 0, err
		}
		worst = max(worst, percent)
	}
	return worst, nil
}

func (b *bench) killedOnce(ctx context.Context, name, master string, batches int) (percent float64, err error) {
	broker, err := b.startMosquitto(ctx, "broker-"+name)
	if err != nil {
		return 0, err
	}
	defer broker.stop()
	e, err := b.newEdge("edge-f1", broker.address)
	if err != nil {
		return 0, err
	}
	if err := copyFile(master, e.outboxPath()); err != nil {
		return 0, err
	}
	k, err := hear(broker.address, e.name)
	if err != nil {
		return 0, err
	}
	if err := e.run(); err != nil {
		return 0, err
	}
	defer func() { e.stop() }()
	middle := batches*2/5 + rand.N(batches/5)
	if err := until(ctx, e.process, 10*time.Minute, "half of the drain", func() bool { return int(k.heard.Load()) >= middle }); err != nil {
		return 0, err
	}
	e.kill()
	if err := e.run(); err != nil {
		return 0, err
	}
	if err := every(ctx, 50*time.Millisecond, e.process, 10*time.Minute, "the rest of the drain", func() bool {
		s, err := e.view()
		return err == nil && s.Outbox.Readings == 0 && k.distinct() == batches
	}); err != nil {
		return 0, err
	}
	return 100 * float64(int(k.heard.Load())-batches) / float64(batches), k.close()
}
