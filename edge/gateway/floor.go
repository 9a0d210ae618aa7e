package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// floor is the set of plugs that the configuration names.
type floor struct {
	gateway *Gateway
	file    string
	heard   chan contract.GatewayConfig // the newest, not applied yet

	mu      sync.Mutex // protects what follows
	config  contract.GatewayConfig
	plugs   map[device.ID]plug
	specs   map[device.ID]contract.Plug // as configured
	used    map[device.ID]contract.Plug // as reached: with what was learned
	learned map[device.ID]learned
	trial   *trial                  // nil once config has proved itself
	refused *contract.ConfigRefused // what is not run, nil where the newest is
	worse   *contract.GatewayConfig // that was tried and gone back from
	safe    uint64                  // version of the configuration that is on disk
	unsaved bool                    // something is to be kept beside that

	failing bool // as run has logged; its own
}

// newFloor starts with what is kept; without it the floor is empty until the
// cloud is heard.
func newFloor(ctx context.Context, g *Gateway, k kept) *floor {
	f := &floor{
		gateway: g, file: filepath.Join(g.config.Data, keptFile), heard: make(chan contract.GatewayConfig, 1),
		plugs: map[device.ID]plug{}, specs: map[device.ID]contract.Plug{}, used: map[device.ID]contract.Plug{}, learned: map[device.ID]learned{},
	}
	switch c := k.Config; {
	case c.Version == 0:
	case c.Gateway != g.config.Gateway:
		g.log.ErrorContext(ctx, "kept configuration is another gateway's: waiting for the cloud's", slog.String("file", f.file), slog.String("gateway", c.Gateway))
	default:
		if k.Learned != nil {
			f.learned = k.Learned
		}
		f.refused, f.worse = k.Refused, k.Worse
		f.resume(ctx, k)
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
		f.refuse(versionIn(m.Payload), err)
		f.gateway.misheard(ctx, "configuration not understood: the last one stays", err)
		return
	}
	if err := check(f.gateway.config.Gateway, c); err != nil {
		f.refuse(c.Version, err)
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

// versionIn is the version of a configuration that can't be read otherwise, 0
// where that can't either.
func versionIn(text []byte) uint64 {
	var c struct {
		Version uint64 `json:"version"`
	}
	if json.Unmarshal(text, &c) != nil {
		return 0
	}
	return c.Version
}

// refuse notes what the status tells of a configuration that is not run.
func (f *floor) refuse(version uint64, err error) {
	f.mu.Lock()
	f.refused = &contract.ConfigRefused{Version: version, Reason: clip(err.Error())}
	f.mu.Unlock()
	f.gateway.beatNow()
}

// maxReason bounds what the status tells of a configuration's mistakes, in bytes.
const maxReason = 2000

func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "") + "..."
}

// refusal is what the status tells of it.
func (f *floor) refusal() *contract.ConfigRefused {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// watchEvery is how often the floor looks at how its plugs are.
const watchEvery = 2 * time.Second

// run applies what was heard until ctx ends, and sees to it that it is kept.
func (f *floor) run(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			f.settle(ctx)
			return
		case <-ticker.C:
			f.watch(ctx)
		case c := <-f.heard:
			f.take(ctx, c)
		}
		f.settle(ctx)
	}
}

// settle keeps the configuration that is applied, if it is not kept yet. Until
// it is, the older one stays the confirmed one: nobody may rely on a protection
// that a restart forgets.
func (f *floor) settle(ctx context.Context) {
	f.mu.Lock()
	c, known, unsaved := f.config, f.safe, f.unsaved
	k := f.kept()
	f.unsaved = false
	f.mu.Unlock()
	if c.Version == known && !unsaved {
		return
	}
	log := f.gateway.log
	if err := f.keep(k); err != nil {
		if !f.failing {
			log.ErrorContext(ctx, "configuration not kept: it holds, but is not confirmed, and a restart would use an older one", slog.Any("err", err))
		}
		f.failing = true
		f.mu.Lock()
		f.unsaved = true
		f.mu.Unlock()
		return
	}
	f.failing = false
	if c.Version == known {
		return
	}
	f.mu.Lock()
	f.safe = c.Version
	f.mu.Unlock()
	log.InfoContext(ctx, "configuration kept", slog.Uint64("version", c.Version))
	f.gateway.beatNow()
}

// apply makes the plugs those of the configuration, each where it was found last.
// A plug that stays as it is keeps its queue and its back-off.
func (f *floor) apply(c contract.GatewayConfig) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(c)
}

// set is apply; the caller holds the lock.
func (f *floor) set(c contract.GatewayConfig) {
	plugs, specs, used := make(map[device.ID]plug), make(map[device.ID]contract.Plug), make(map[device.ID]contract.Plug)
	var meters []collector.Target
	var switches []controller.Target
	for _, spec := range c.Plugs {
		now := f.reached(spec)
		p := f.plugs[spec.Device]
		if p == nil || !sameHardware(f.used[spec.Device], now) {
			var err error
			if p, err = f.newPlug(now); err != nil {
				f.gateway.log.Error("plug not usable by this gateway", slog.String("device", spec.Device.String()), slog.Any("err", err))
				p = &unusable{err, "unsupported"}
			}
		}
		plugs[spec.Device], specs[spec.Device], used[spec.Device] = p, spec, now
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
	f.config, f.plugs, f.specs, f.used = c, plugs, specs, used
	f.gateway.controller.Set(c.Version, switches)
	f.gateway.controller.SetStagger(time.Duration(c.StaggerMillis) * time.Millisecond)
	f.gateway.discovery.Configure(c.Discovery)
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
