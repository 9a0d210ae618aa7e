package gateway

import (
	"context"
	"log/slog"
	"maps"
	"strings"

	driver "github.com/wattline/wattline/edge/drivers/hs110"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// learned is what the gateway has found out about the plug of a place. It counts
// for as long as the configuration says the same as then, and over restarts.
type learned struct {
	Configured string `json:"configured"` // the address that the configuration gave
	// DeviceID and MAC are which plug it is: by the configuration, or the first
	// that answered where that does not say.
	DeviceID string `json:"device_id,omitempty"`
	MAC      string `json:"mac,omitempty"`
	// Address is where the plug was found, empty where it is as configured.
	Address string `json:"address,omitempty"`
}

// reached is a configured plug with what was learned about it; the caller holds
// the lock. What was learned about something else is forgotten.
func (f *floor) reached(spec contract.Plug) contract.Plug {
	l, ok := f.learned[spec.Device]
	if !ok {
		return spec
	}
	same := func(a, b string) bool { return a == "" || b == "" || strings.EqualFold(a, b) }
	if !same(spec.DeviceID, l.DeviceID) || !same(spec.MAC, l.MAC) || spec.Address != l.Configured && spec.Address != l.Address {
		delete(f.learned, spec.Device)
		f.unsaved = true
		return spec
	}
	if l.Address != "" && spec.Address == l.Address { // the cloud has heard of it
		l.Configured, l.Address = spec.Address, ""
		f.learned[spec.Device], f.unsaved = l, true
	}
	if spec.DeviceID == "" && spec.MAC == "" {
		spec.DeviceID, spec.MAC = l.DeviceID, l.MAC
	}
	if l.Address != "" {
		spec.Address = l.Address
	}
	return spec
}

// elsewhere reports whether a plug is another place's.
func (f *floor) elsewhere(id device.ID, deviceID, mac string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, p := range f.used {
		if other != id && (deviceID != "" && strings.EqualFold(p.DeviceID, deviceID) || mac != "" && strings.EqualFold(p.MAC, mac)) {
			return true
		}
	}
	return false
}

// moved takes over that a plug was found at another address.
func (f *floor) moved(id device.ID, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.used[id]
	if !ok || before.Address == address {
		return
	}
	spec := f.specs[id]
	l := learned{Configured: spec.Address, DeviceID: before.DeviceID, MAC: before.MAC, Address: address}
	if address == spec.Address {
		l.Address = ""
	}
	f.learned[id], f.unsaved = l, true
	f.gateway.log.Info("plug found at another address", slog.String("device", id.String()), slog.String("from", before.Address), slog.String("to", address))
	f.set(f.config)
}

// watch looks at how the plugs are: tells the discovery, keeps which plug has
// answered where nobody said which it is, and judges a configuration on trial.
func (f *floor) watch(ctx context.Context) {
	views := make(map[device.ID]collector.PlugView)
	for _, v := range f.gateway.collector.Plugs() {
		views[v.Device] = v
	}
	f.mu.Lock()
	known := make([]discovery.Known, 0, len(f.specs))
	for id, now := range f.used {
		if p, ok := f.plugs[id].(*shelly.Plug); ok { // nothing that the discovery knows
			deviceID, mac := p.Identity()
			f.identify(id, deviceID, mac)
			continue
		}
		k := discovery.Known{Device: id, DeviceID: now.DeviceID, MAC: now.MAC, Address: now.Address, Home: f.specs[id].Address}
		if v := views[id]; v.Failures > 0 {
			k.Reason, k.Offline = v.Reason, v.Offline
		}
		if p, ok := f.plugs[id].(*driver.Plug); ok {
			if info := p.Info(); !info.Time.IsZero() {
				k.Told, k.Seen = &info.Info, info.Time
				f.identify(id, info.DeviceID, info.MAC)
			}
		}
		known = append(known, k)
	}
	f.mu.Unlock()
	f.gateway.discovery.Know(known)
	f.judge(ctx, views)
}

// identify keeps which plug answers at a place of which only the address is
// configured; the caller holds the lock.
func (f *floor) identify(id device.ID, deviceID, mac string) {
	now := f.used[id]
	if now.DeviceID != "" || now.MAC != "" || deviceID == "" && mac == "" {
		return
	}
	f.learned[id] = learned{Configured: f.specs[id].Address, DeviceID: deviceID, MAC: mac}
	now.DeviceID, now.MAC = deviceID, mac // the driver holds on to it by itself
	f.used[id], f.unsaved = now, true
}

// forgetting drops what was learned about places that are no more; the caller
// holds the lock.
func (f *floor) forgetting() map[device.ID]learned {
	out := maps.Clone(f.learned)
	maps.DeleteFunc(out, func(id device.ID, _ learned) bool { _, ok := f.specs[id]; return !ok })
	return out
}
