package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// What the peer has to carry: readings as messages of about 150 bytes each.
const (
	peerReadings = 200_000
	peerWindow   = 1000 // messages that the broker has not acknowledged
)

// peer is what one drain of a Mosquitto bridge shows.
type peer struct {
	drain  float64 // readings/s
	absorb float64 // readings/s while the far broker is away
	disk   float64 // B per reading
	memory float64 // MB
}

// bridged measures a Mosquitto that queues for a far one which is away, and then
// drains to it: the common way to get MQTT through an outage. Its queue's limit,
// which would lose most of it, is off.
func (b *bench) bridged(ctx context.Context, round int) (p peer, err error) {
	far, err := b.newMosquitto(fmt.Sprintf("far-%d", round), "persistence false")
	if err != nil {
		return p, err
	}
	store := filepath.Join(b.dir, fmt.Sprintf("bridge-%d", round))
	if err := os.MkdirAll(store, 0o750); err != nil {
		return p, fmt.Errorf("make the bridge's directory: %w", err)
	}
	near, err := b.newMosquitto(fmt.Sprintf("near-%d", round),
		"persistence true", "persistence_location "+store+"/",
		"connection up", "address "+far.address, "topic data/# out 1", "cleansession false", "restart_timeout 1",
		"notifications false", "bridge_protocol_version mqttv311", "remote_clientid bridge", "local_clientid local.bridge")
	if err != nil {
		return p, err
	}
	if err := far.start(ctx); err != nil { // once together, so that the bridge's subscription is there
		return p, err
	}
	defer far.stop()
	if err := near.start(ctx); err != nil {
		return p, err
	}
	defer near.stop()
	if err := b.awaitBridge(ctx, near, far); err != nil {
		return p, err
	}
	far.stop()
	begin := time.Now()
	if err := publishReadings(near.address, peerReadings); err != nil {
		return p, err
	}
	p.absorb = rate(peerReadings, time.Since(begin))
	if p.memory, err = near.rssAnon(); err != nil {
		return p, err
	}
	if p.disk, err = savedSize(ctx, near, filepath.Join(store, "mosquitto.db")); err != nil {
		return p, err
	}
	if err := far.start(ctx); err != nil {
		return p, err
	}
	p.drain, err = countReadings(far.address, peerReadings)
	return p, err
}

// awaitBridge waits until a message comes through.
func (b *bench) awaitBridge(ctx context.Context, near, far *mosquitto) error {
	c, err := dialMQTT(far.address, "probe")
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.subscribe("data/probe"); err != nil {
		return err
	}
	var came atomic.Bool
	go func() {
		for {
			p, err := c.next()
			if err != nil {
				return
			}
			if p.kind == typePublish {
				came.Store(true)
			}
		}
	}()
	return until(ctx, near.process, 30*time.Second, "the bridge", func() bool {
		from, err := dialMQTT(near.address, "prober")
		if err != nil {
			return false
		}
		defer from.close()
		_ = from.publish("data/probe", []byte("x"), 0)
		_ = from.w.Flush()
		_, _ = from.next()
		time.Sleep(50 * time.Millisecond) // between two tries
		return came.Load()
	})
}

// publishReadings publishes n messages as fast as they are acknowledged.
func publishReadings(address string, n int) error {
	return publishAll(address, n, func(i int) (string, []byte) {
		plug := i % 100
		id := fmt.Sprintf("sp_f2.w.r%d.c%d", plug/5, plug%5)
		text := fmt.Sprintf(`{"id":%q,"t":1800000%03d.%06d,"power":%.3f,"voltage":%.3f,"current":%.3f,"energy":%d,"on":true,"type":"w","floor":2,"gateway":"edge-f2"}`,
			id, i/100%1000, i*7919%1_000_000, 60+float64(i*31%9973)/1000, 229+float64(i*17%1999)/1000, float64(i*13%907)/1000, 41_000+i/100)
		return "data/edge-f2/" + id, []byte(text)
	})
}

func publishAll(address string, n int, message func(i int) (topic string, payload []byte)) error {
	c, err := dialMQTT(address, "publisher")
	if err != nil {
		return err
	}
	defer c.close()
	room := make(chan struct{}, peerWindow)
	failed := make(chan error, 1)
	go func() {
		for acked := 0; acked < n; {
			p, err := c.next()
			if err != nil {
				failed <- err
				return
			}
			if p.kind == typePuback {
				acked++
				<-room
			}
		}
		failed <- nil
	}()
	for i := range n {
		select {
		case room <- struct{}{}:
		default: // the window is full: out with what is buffered
			if err := c.w.Flush(); err != nil {
				return err
			}
			select {
			case room <- struct{}{}:
			case err := <-failed:
				return fmt.Errorf("publish: %w", err)
			}
		}
		topic, payload := message(i)
		if err := c.publish(topic, payload, 0); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	return <-failed
}

// countReadings hears n messages and tells how many came each second.
func countReadings(address string, n int) (perSecond float64, err error) {
	c, err := dialMQTT(address, "listener")
	if err != nil {
		return 0, err
	}
	defer c.close()
	if err := c.subscribe("data/#"); err != nil {
		return 0, err
	}
	var first time.Time
	for heard := 0; heard < n; {
		p, err := c.next()
		if err != nil {
			return 0, fmt.Errorf("heard %d of %d: %w", heard, n, err)
		}
		if p.kind != typePublish {
			continue
		}
		if heard++; heard == 1 {
			first = time.Now()
		}
	}
	return rate(n-1, time.Since(first)), nil
}

// savedSize has the broker write its store and tells the bytes per reading.
func savedSize(ctx context.Context, m *mosquitto, file string) (float64, error) {
	if err := m.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return 0, fmt.Errorf("ask Mosquitto to save: %w", err)
	}
	size := int64(-1)
	err := until(ctx, m.process, 30*time.Second, "Mosquitto's store", func() bool {
		info, err := os.Stat(file)
		if err != nil || info.Size() < peerReadings {
			return false
		}
		settled := info.Size() == size
		size = info.Size()
		time.Sleep(100 * time.Millisecond) // between two looks
		return settled
	})
	return float64(size) / peerReadings, err
}

// brokerLimit is how many messages of a size one publisher gets through a
// Mosquitto to one subscriber, with nothing else to do.
func (b *bench) brokerLimit(ctx context.Context, round, messages, size int) (float64, error) {
	m, err := b.startMosquitto(ctx, fmt.Sprintf("limit-%d", round))
	if err != nil {
		return 0, err
	}
	defer m.stop()
	payload := make([]byte, size)
	published := make(chan error, 1)
	listening, err := dialMQTT(m.address, "listener")
	if err != nil {
		return 0, err
	}
	defer listening.close()
	if err := listening.subscribe("data/#"); err != nil {
		return 0, err
	}
	begin := time.Now()
	go func() {
		published <- publishAll(m.address, messages, func(i int) (string, []byte) {
			return fmt.Sprintf("data/edge-f1/influx_data/sp/0123456789abcdef-%d", i+1), payload
		})
	}()
	for heard := 0; heard < messages; {
		p, err := listening.next()
		if err != nil {
			return 0, err
		}
		if p.kind == typePublish {
			heard++
		}
	}
	return rate(messages, time.Since(begin)), <-published
}
