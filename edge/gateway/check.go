package gateway

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// Bounds of a configuration. A floor has a hundred plugs.
const (
	maxPlugs       = 4096
	maxPollSeconds = 24 * 3600
	maxStagger     = 60_000 // ms
)

var databaseForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// check names every mistake of a configuration that makes it useless as a whole:
// what would mix places up, or poll in no sensible way. What is wrong with one
// plug alone is that plug's trouble; see unusable.
func check(gateway string, c contract.GatewayConfig) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Gateway != gateway {
		wrong("gateway: it is for %.80q", c.Gateway)
	}
	if c.Version == 0 {
		wrong("version: missing")
	}
	if c.PollSeconds != 0 && !(c.PollSeconds >= 1 && c.PollSeconds <= maxPollSeconds) {
		wrong("poll_seconds: %v is not 1 to %d", c.PollSeconds, maxPollSeconds)
	}
	if c.StaggerMillis < 0 || c.StaggerMillis > maxStagger {
		wrong("stagger_ms: %d is not 0 to %d", c.StaggerMillis, maxStagger)
	}
	if c.Database != "" && (!databaseForm.MatchString(c.Database) || c.Database == "wattline") {
		wrong("database: %.80q is not lower-case letters, digits and _, or is wattline, which is taken", c.Database)
	}
	if _, err := c.Discovery.Addresses(); err != nil {
		wrong("discovery.%w", err)
	}
	if len(c.Plugs) > maxPlugs {
		wrong("plugs: %d of them, at most %d", len(c.Plugs), maxPlugs)
		return errors.Join(errs...)
	}
	return errors.Join(errors.Join(errs...), checkPlugs(c.Plugs))
}

// checkPlugs: a place has one plug, and a plug one place.
func checkPlugs(plugs []contract.Plug) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	places := map[device.ID]bool{}
	owners := map[string]device.ID{}
	claim := func(what, value string, id device.ID) {
		if value == "" {
			return
		}
		if other, taken := owners[what+value]; taken {
			wrong("plugs: %s %.80q is at %s and at %s", what, value, other, id)
		}
		owners[what+value] = id
	}
	for n, p := range plugs {
		switch {
		case p.Device.IsZero():
			wrong("plugs[%d].device: missing", n)
			continue
		case places[p.Device]:
			wrong("plugs[%d].device: %s is there twice", n, p.Device)
		}
		places[p.Device] = true
		if p.PollSeconds != 0 && !(p.PollSeconds >= 1 && p.PollSeconds <= maxPollSeconds) {
			wrong("plugs[%d].poll_seconds: %v of %s is not 1 to %d", n, p.PollSeconds, p.Device, maxPollSeconds)
		}
		if !(p.MaxPower >= 0) {
			wrong("plugs[%d].max_power_w: %v of %s is negative", n, p.MaxPower, p.Device)
		}
		mac, _ := hs110.CanonicalMAC(p.MAC)
		claim("device_id", strings.ToUpper(p.DeviceID), p.Device)
		claim("mac", mac, p.Device)
	}
	for _, p := range plugs { // who is told by the address alone must have it alone
		if p.DeviceID == "" && p.MAC == "" {
			claim("address", p.Address, p.Device)
		}
	}
	for _, p := range plugs {
		if other := owners["address"+p.Address]; p.Address != "" && !other.IsZero() && other != p.Device && (p.DeviceID != "" || p.MAC != "") {
			wrong("plugs: address %.80q is at %s, which has nothing else, and at %s", p.Address, other, p.Device)
		}
	}
	return errors.Join(errs...)
}
