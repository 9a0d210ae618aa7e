package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// batchOf is how many readings a batch has where nothing else is said.
const batchOf = 100

// measureDrain lets a gateway and a Mosquitto bridge do the same job in turns:
// what an outage has left goes through a Mosquitto to a subscriber.
func measureDrain(ctx context.Context, b *bench) error {
	readings, rounds := 1_000_000, 3
	if b.long {
		readings, rounds = 5_000_000, 7
	}
	master := filepath.Join(b.dir, "backlog.db")
	if err := makeBacklog(ctx, master, "edge-f1", 1, readings, past(device.MicrosOf(time.Now()), readings)); err != nil {
		return err
	}
	var ours, theirs, limits []float64
	var facts peer
	for round := range rounds {
		p, err := b.bridged(ctx, round)
		if err != nil {
			return fmt.Errorf("the bridge: %w", err)
		}
		facts, theirs = p, append(theirs, p.drain)
		got, size, err := b.drained(ctx, master, readings, round)
		if err != nil {
			return fmt.Errorf("the gateway: %w", err)
		}
		ours = append(ours, got)
		limit, err := b.brokerLimit(ctx, round, 30_000, size)
		if err != nil {
			return fmt.Errorf("the broker's limit: %w", err)
		}
		limits = append(limits, limit*batchOf)
	}
	b.note("%d readings in batches of %d against %d messages, medians of %d rounds in turns", readings, batchOf, peerReadings, rounds)
	b.fact("drain", median(ours), "readings/s")
	b.fact("drain_peer", median(theirs), "readings/s")
	b.least("drain_ratio", median(ours)/median(theirs), 10, "x")
	b.fact("drain_broker_limit", median(limits), "readings/s")
	b.fact("drain_of_broker_limit", 100*median(ours)/median(limits), "%")
	b.fact("drain_peer_absorb", facts.absorb, "readings/s")
	b.fact("drain_peer_disk", facts.disk, "B/reading")
	b.fact("drain_peer_memory", facts.memory, "MB")
	return nil
}

// drained starts a gateway on a copy of the backlog beside a broker, and tells
// the readings per second from the first batch to the last at the subscriber,
// and the mean size of a batch.
func (b *bench) drained(ctx context.Context, master string, readings, round int) (perSecond float64, size int, err error) {
	broker, err := b.startMosquitto(ctx, fmt.Sprintf("broker-%d", round))
	if err != nil {
		return 0, 0, err
	}
	defer broker.stop()
	e, err := b.newEdge("edge-f1", broker.address)
	if err != nil {
		return 0, 0, err
	}
	if err := copyFile(master, e.outboxPath()); err != nil {
		return 0, 0, fmt.Errorf("copy the backlog: %w", err)
	}
	k, err := hear(broker.address, e.name)
	if err != nil {
		return 0, 0, err
	}
	if err := e.run(); err != nil {
		return 0, 0, err
	}
	defer e.stop()
	batches := readings / batchOf
	if err := until(ctx, e.process, 5*time.Minute, "the drain", func() bool { return int(k.heard.Load()) >= batches }); err != nil {
		return 0, 0, err
	}
	if err := every(ctx, 50*time.Millisecond, e.process, time.Minute, "an empty outbox", func() bool {
		s, err := e.view()
		return err == nil && s.Outbox.Readings == 0
	}); err != nil {
		return 0, 0, err
	}
	if n := k.distinct(); n != batches {
		return 0, 0, fmt.Errorf("%d batches came of %d", n, batches)
	}
	return rate(readings-batchOf, k.span()), int(k.bytes.Load() / k.heard.Load()), k.close()
}
