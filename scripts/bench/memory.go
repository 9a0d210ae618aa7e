package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// plugs are simulated ones in a process of their own.
type plugs struct {
	list []contract.Plug
	*process
}

// startPlugs runs rows times 5 workplaces on each of so many floors.
func (b *bench) startPlugs(ctx context.Context, floors, rows int, extra ...string) (*plugs, error) {
	args := append([]string{
		filepath.Join(b.bin, "plugsim"), "-floors", fmt.Sprint(floors), "-rows", fmt.Sprint(rows), "-columns", "5",
		"-rooms", "0", "-printers", "0", "-list", "-at", "10:30",
	}, extra...)
	p, err := b.start("plugsim", args...)
	if err != nil {
		return nil, err
	}
	s := &plugs{process: p}
	if err := until(ctx, p, time.Minute, "the plugs", p.said("plugsim: ready")); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return nil, fmt.Errorf("read the plugs: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 || !strings.HasPrefix(f[0], "sp_") {
			continue
		}
		id, err := device.Parse(f[0])
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, contract.Plug{Device: id, Driver: "hs110", Address: f[1], DeviceID: f[2], MAC: f[3]})
	}
	if want := floors * rows * 5; len(s.list) != want {
		return nil, fmt.Errorf("%d plugs, want %d", len(s.list), want)
	}
	return s, nil
}

// configure retains a gateway's configuration at a broker, as the cloud does.
func configure(broker, gateway string, pollSeconds float64, plugs []contract.Plug) error {
	text, err := json.Marshal(contract.GatewayConfig{Version: 1, Gateway: gateway, Floor: 1, Database: "sp", PollSeconds: pollSeconds, Plugs: plugs})
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	c, err := dialMQTT(broker, "configurer")
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.publish(bus.ConfigTopic(gateway), text, retain); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	_, err = c.next()
	return err
}

// measureMemory runs the real gateway of 300 plugs, through an outage and out of
// it again.
func measureMemory(ctx context.Context, b *bench) error {
	readings := 2_000_000
	if b.long {
		readings = 20_000_000
	}
	sim, err := b.startPlugs(ctx, 3, 20)
	if err != nil {
		return err
	}
	defer sim.stop()
	broker, err := b.startMosquitto(ctx, "broker")
	if err != nil {
		return err
	}
	defer broker.stop()
	e, err := b.newEdge("edge-f1", broker.address)
	if err != nil {
		return err
	}
	if err := configure(broker.address, e.name, 10, sim.list); err != nil {
		return err
	}
	k, err := hear(broker.address, e.name)
	if err != nil {
		return err
	}
	if err := e.run(); err != nil {
		return err
	}
	defer e.stop()
	empty, err := b.watchMemory(ctx, e, len(sim.list))
	if err != nil {
		return err
	}
	e.stop()
	if err := k.close(); err != nil {
		return err
	}
	broker.stop()

	// The backlog begins before what was read now, which would be a clock gone back.
	if err := os.Remove(e.outboxPath()); err != nil {
		return fmt.Errorf("remove the empty outbox: %w", err)
	}
	if err := makeBacklog(ctx, e.outboxPath(), e.name, 2, readings, past(device.MicrosOf(time.Now()), readings)); err != nil {
		return err
	}
	if err := e.run(); err != nil {
		return err
	}
	waiting, err := b.watchMemory(ctx, e, len(sim.list))
	if err != nil {
		return err
	}
	draining, err := b.drainMemory(ctx, e, broker, readings/batchOf)
	if err != nil {
		return err
	}
	b.note("RssAnon of wattline-edge with %d plugs polled every 10 s, the highest that was seen", len(sim.list))
	b.most("memory_empty", empty, 40, "MB")
	b.most(fmt.Sprintf("memory_%dM_waiting", readings/1_000_000), waiting, 40, "MB")
	b.most("memory_draining", draining, 40, "MB")
	b.fact("memory_waiting_ratio", waiting/empty, "x")
	return nil
}

// watchMemory gives the highest memory of a poll of every plug and a half.
func (b *bench) watchMemory(ctx context.Context, e *edge, plugs int) (highest float64, err error) {
	err = until(ctx, e.process, 3*time.Minute, "readings of all plugs", func() bool {
		s, err := e.view()
		return err == nil && s.Plugs.Reachable == plugs
	})
	if err != nil {
		return 0, err
	}
	end := time.Now().Add(15 * time.Second)
	err = until(ctx, e.process, time.Minute, "the gateway", func() bool {
		m, err := e.rssAnon()
		if err == nil {
			highest = max(highest, m)
		}
		return time.Now().After(end)
	})
	return highest, err
}

// drainMemory gives the highest memory from the return of the broker until the
// backlog is gone.
func (b *bench) drainMemory(ctx context.Context, e *edge, broker *mosquitto, batches int) (highest float64, err error) {
	if err := broker.start(ctx); err != nil {
		return 0, err
	}
	k, err := hear(broker.address, e.name)
	if err != nil {
		return 0, err
	}
	err = until(ctx, e.process, 10*time.Minute, "the drain", func() bool {
		m, err := e.rssAnon()
		if err == nil {
			highest = max(highest, m)
		}
		return int(k.heard.Load()) >= batches
	})
	b.fact("memory_drain", rate(int(k.heard.Load())*batchOf, k.span()), "readings/s")
	return highest, errors.Join(err, k.close())
}
