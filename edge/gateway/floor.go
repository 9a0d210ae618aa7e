package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// plug is what every generation of plugs can do; a driver is one package and
// one line in newPlug.
type plug interface {
	collector.Meter
	controller.Switcher
}

func newPlug(p contract.Plug) (plug, error) {
	switch p.Driver {
	case "", "hs110":
		return hs110.New(p.Device, hs110.Options{Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC, MaxPower: p.MaxPower})
	}
	return nil, fmt.Errorf("no driver %q; there is hs110", p.Driver)
}

// unusable stands for a plug that this gateway can't use as it is configured,
// one of a later generation say: it must not cost the floor its others, and is
// told of as every plug with trouble is.
type unusable struct{ error }

// Reason is the word of the status.
func (unusable) Reason() string { return "unsupported" }

// Poll tells what is wrong.
func (u *unusable) Poll(context.Context) (device.Measurement, error) { return device.Measurement{}, u }

// Switch tells what is wrong.
func (u *unusable) Switch(context.Context, bool) (bool, error) { return false, u }

// floor is the set of plugs that the configuration names.
type floor struct {
	gateway *Gateway
	file    string
	heard   chan contract.GatewayConfig // the newest, not applied yet

	mu     sync.Mutex // protects what follows
	config contract.GatewayConfig
	plugs  map[device.ID]plug
	specs  map[device.ID]contract.Plug
	safe   uint64 // version of the configuration that is on disk

	failing bool // as run has logged; its own
}

// newFloor starts with what is kept; without it the floor is empty until the
// cloud is heard.
func newFloor(g *Gateway, k kept) *floor {
	f := &floor{
		gateway: g, file: filepath.Join(g.config.Data, keptFile), heard: make(chan contract.GatewayConfig, 1),
		plugs: map[device.ID]plug{}, specs: map[device.ID]contract.Plug{},
	}
	switch c := k.Config; {
	case c.Version == 0:
	case c.Gateway != g.config.Gateway:
		g.log.Error("kept configuration is another gateway's: waiting for the cloud's", slog.String("file", f.file), slog.String("gateway", c.Gateway))
	default:
		f.apply(c)
		f.safe = c.Version
	}
	return f
}

// database is where this floor's readings are stored.
func (f *floor) database() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.config.Database == "" {
		return "sp"
	}
	return f.config.Database
}

func (f *floor) current() contract.GatewayConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config
}

// confirmed is the version of the newest configuration that holds: it is applied,
// and a restart would find it.
func (f *floor) confirmed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.safe
}

// hear takes a configuration from the cloud. One that is broken or somebody
// else's changes nothing. It is called by the connection's reader and returns at
// once: run does what waits for the disk.
func (f *floor) hear(ctx context.Context, m bus.Message) {
	var c contract.GatewayConfig
	if err := json.Unmarshal(m.Payload, &c); err != nil {
		f.gateway.misheard(ctx, "configuration not understood: the last one stays", err)
		return
	}
	if err := f.check(c); err != nil {
		f.gateway.misheard(ctx, "configuration refused: the last one stays", err)
		return
	}
	for {
		select {
		case f.heard <- c:
			return
		case <-f.heard: // overtaken
		}
	}
}

// run applies what was heard until ctx ends, and sees to it that it is kept.
func (f *floor) run(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case c := <-f.heard:
			f.take(ctx, c)
		}
		f.settle(ctx)
	}
}

func (f *floor) take(ctx context.Context, c contract.GatewayConfig) {
	if c.Version == f.current().Version {
		return
	}
	f.apply(c)
	f.gateway.log.InfoContext(ctx, "configuration applied", slog.Uint64("version", c.Version), slog.Int("plugs", len(c.Plugs)))
}

// settle keeps the configuration that is applied, if it is not kept yet. Until
// it is, the older one stays the confirmed one: nobody may rely on a protection
// that a restart forgets.
func (f *floor) settle(ctx context.Context) {
	c := f.current()
	if c.Version == f.confirmed() {
		return
	}
	log := f.gateway.log
	if err := f.keep(c); err != nil {
		if !f.failing {
			log.ErrorContext(ctx, "configuration not kept: it holds, but is not confirmed, and a restart would use an older one", slog.Any("err", err))
		}
		f.failing = true
		return
	}
	f.failing = false
	f.mu.Lock()
	f.safe = c.Version
	f.mu.Unlock()
	log.InfoContext(ctx, "configuration kept", slog.Uint64("version", c.Version))
	f.gateway.beatNow()
}

// check names every mistake of a configuration that makes it useless as a whole.
func (f *floor) check(c contract.GatewayConfig) error {
	var errs []error
	if c.Gateway != f.gateway.config.Gateway {
		errs = append(errs, fmt.Errorf("it is for gateway %q", c.Gateway))
	}
	if c.Version == 0 {
		errs = append(errs, errors.New("version: missing"))
	}
	if c.PollSeconds != 0 && c.PollSeconds < 1 {
		errs = append(errs, fmt.Errorf("poll_seconds: %v is under 1", c.PollSeconds))
	}
	seen := make(map[device.ID]bool)
	for _, p := range c.Plugs {
		if p.Device.IsZero() || seen[p.Device] {
			errs = append(errs, fmt.Errorf("plugs: %q is missing or there twice", p.Device))
		}
		seen[p.Device] = true
	}
	return errors.Join(errs...)
}

// apply makes the plugs those of the configuration. A plug that stays as it is
// keeps its queue and its back-off.
func (f *floor) apply(c contract.GatewayConfig) {
	f.mu.Lock()
	defer f.mu.Unlock()
	plugs, specs := make(map[device.ID]plug), make(map[device.ID]contract.Plug)
	var meters []collector.Target
	var switches []controller.Target
	for _, spec := range c.Plugs {
		p := f.plugs[spec.Device]
		if p == nil || !sameHardware(f.specs[spec.Device], spec) {
			var err error
			if p, err = newPlug(spec); err != nil {
				f.gateway.log.Error("plug not usable by this gateway", slog.String("device", spec.Device.String()), slog.Any("err", err))
				p = &unusable{err}
			}
		}
		plugs[spec.Device], specs[spec.Device] = p, spec
		seconds := spec.PollSeconds
		if seconds == 0 {
			seconds = c.PollSeconds
		}
		meters = append(meters, collector.Target{Device: spec.Device, Interval: time.Duration(seconds * float64(time.Second)), Meter: p})
		switches = append(switches, controller.Target{Device: spec.Device, Protected: spec.Protected, Switcher: p})
	}
	f.gateway.collector.Set(meters)
	for id := range f.plugs {
		if plugs[id] == nil {
			f.gateway.states.clear(id) // now that it is not polled any more
		}
	}
	f.config, f.plugs, f.specs = c, plugs, specs
	f.gateway.controller.Set(c.Version, switches)
	f.gateway.controller.SetStagger(time.Duration(c.StaggerMillis) * time.Millisecond)
}

func sameHardware(a, b contract.Plug) bool {
	a.Protected, a.PollSeconds = b.Protected, b.PollSeconds
	return a == b
}

// protected lists the reasons of the places that are never switched.
func (f *floor) protected() map[device.ID]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[device.ID]string)
	for id, spec := range f.specs {
		if spec.Protected != "" {
			out[id] = spec.Protected
		}
	}
	return out
}
