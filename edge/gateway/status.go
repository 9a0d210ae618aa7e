package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// beatEvery is the time between two heartbeats.
const beatEvery = 10 * time.Second

// cloud remembers how the connection to the broker is. Its times are dated when
// they are shown: when they happened the clock may not have been set yet.
type cloud struct {
	url   string
	clock *Clock
	now   chan struct{} // a heartbeat is wanted at once

	mu      sync.Mutex // protects what follows
	up      bool
	since   time.Time
	err     error
	receipt time.Time
}

func newCloud(url string, clock *Clock) *cloud {
	return &cloud{url: url, clock: clock, since: time.Now(), now: make(chan struct{}, 1)}
}

// date is a moment of this run on the clock of now.
func date(clock *Clock, moment time.Time) device.Micros {
	now, _ := clock.Now()
	return now.Add(-time.Since(moment))
}

func (c *cloud) change(up bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != up {
		c.up, c.since = up, time.Now()
	}
	c.err = err
}

func (c *cloud) found()         { c.change(true, nil) }
func (c *cloud) lost(err error) { c.change(false, err) }

// failed tells of a connection that could not be made.
func (c *cloud) failed(err error) { c.change(false, err) }

func (c *cloud) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receipt = time.Now()
}

func (c *cloud) view() status.Cloud {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := status.Cloud{Reachable: c.up, Since: date(c.clock, c.since), Broker: c.url}
	if !c.receipt.IsZero() {
		at := date(c.clock, c.receipt)
		v.LastReceipt = &at
	}
	if c.err != nil {
		v.Err = c.err.Error()
	}
	return v
}

// status is what the gateway tells of itself now.
func (g *Gateway) status() contract.Status {
	head, previous := g.outbox.Head()
	at, set := g.clock.Now()
	boot, monotonic := g.clock.Boot()
	return contract.Status{
		Gateway: g.config.Gateway, Online: true, Epoch: head.Epoch, Sequence: head.Sequence, Previous: previous,
		Version: g.version, ConfigVersion: g.floor.confirmed(), ConfigRefused: g.floor.refusal(), Time: at, BootID: boot, Monotonic: monotonic,
		Clock: contract.ClockStatus{Set: set, Rebased: g.clock.Rebased()}, Outbox: g.outbox.Stats(), Plugs: g.collector.Status(),
	}
}

func encodeStatus(s contract.Status) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return payload, nil
}

func encodeNote(account contract.Switched) (string, error) {
	text, err := json.Marshal(account)
	if err != nil {
		return "", fmt.Errorf("encode account: %w", err)
	}
	return string(text), nil
}

type publisher interface {
	Publish(ctx context.Context, m bus.Message) error
}

func (g *Gateway) publishStatus(ctx context.Context, to publisher, s contract.Status) error {
	payload, err := encodeStatus(s)
	if err != nil {
		return err
	}
	return to.Publish(ctx, bus.Message{Topic: bus.StatusTopic(g.config.Gateway), Payload: payload, Retained: true})
}

// beat sends the heartbeat every ten seconds, and when asked to; and logs once
// when the outbox fills.
func (g *Gateway) beat(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	warned := 0
	g.beats()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-g.cloud.now:
		}
		s := g.status()
		g.beats()
		warned = g.warn(ctx, s.Outbox, warned)
		if g.link.IsUp() {
			g.say(ctx, s)
		}
	}
}

// warn logs how full the outbox is when that changes, and returns it.
func (g *Gateway) warn(ctx context.Context, s contract.OutboxStatus, warned int) (full int) {
	full = outbox.Warning(s)
	switch attrs := []any{slog.Int("percent", full), slog.Int("readings", s.Readings)}; {
	case full > warned:
		g.log.WarnContext(ctx, "outbox fills", attrs...)
	case full < warned:
		g.log.InfoContext(ctx, "outbox empties", attrs...)
	}
	return full
}

// say sends a heartbeat. One that is not out in good time is given up: it would
// follow a newer one on the next connection, with a clock that is past.
func (g *Gateway) say(ctx context.Context, s contract.Status) {
	ctx, cancel := context.WithTimeout(ctx, beatEvery/4)
	defer cancel()
	if err := g.publishStatus(ctx, g.link, s); err != nil && ctx.Err() == nil {
		g.log.DebugContext(ctx, "heartbeat not sent", slog.Any("err", err))
	}
}

func (g *Gateway) beatNow() {
	if g.cloud == nil {
		return
	}
	select {
	case g.cloud.now <- struct{}{}:
	default:
	}
}

// healthy tells a watcher of this machine what a person should look at. It says
// so until the next start.
func (g *Gateway) healthy() error {
	s := g.outbox.Stats()
	switch refused := s.Refused - g.refused; {
	case refused > 0:
		return fmt.Errorf("%d readings were refused: the disk is full or broken", refused)
	case s.Damaged != "":
		return fmt.Errorf("the outbox was damaged and moved aside to %s", s.Damaged)
	}
	return nil
}

// view is everything for the page.
func (g *Gateway) view() status.View {
	v := status.View{
		Status: g.status(), Floor: g.floor.current().Floor, Started: date(g.clock, g.started), Cloud: g.cloud.view(), DiskReserve: g.config.Outbox.MinFree,
	}
	if !v.Cloud.Reachable {
		v.Cloud.Err = g.trouble(v.Cloud.Err)
	}
	var disk unix.Statfs_t
	if unix.Statfs(filepath.Clean(g.config.Data), &disk) == nil {
		v.DiskFree = int64(disk.Bavail) * int64(disk.Bsize) //nolint:gosec,unconvert // a disk's size; Bsize has 32 bits on ARM
	}
	if found, ok := g.discovery.Found(); ok {
		v.Found = &found
	}
	protected := g.floor.protected()
	for _, p := range g.collector.Plugs() {
		v.Plugs = append(v.Plugs, status.Plug{
			Device: p.Device, Offline: p.Offline, Failures: p.Failures, Reason: p.Reason, Detail: p.Detail, Since: p.Since, Last: p.Last,
			Power: p.Power, On: p.On, IntervalSeconds: p.Interval.Seconds(), Missed: p.Missed, Suspects: p.Suspects, Protected: protected[p.Device],
		})
	}
	return v
}
