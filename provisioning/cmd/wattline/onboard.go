package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/onboard"
	"github.com/wattline/wattline/shared/hs110"
)

func onboardCommands() []command {
	return []command{{
		name: "plugs onboard", args: "--wifi NAME [--place ID]", short: "bring a factory-new plug into the building's Wi-Fi", bind: plugsOnboard,
		long: `A new plug, or one whose button was held for ten seconds, has a network of its
own, "TP-LINK_Smart Plug_...". Join it with this machine's Wi-Fi, best with the
cable still in the office's network. The plug is looked at, named, given the
time zone and sent into the Wi-Fi; then it is waited for until a gateway finds
it, and put at its place. Until it is sent away everything can be repeated.

The protocol of these plugs hides nothing: who listens beside you learns the
passphrase of the Wi-Fi.

--reset does something else: it sets the plug at --address back to what it was
in the factory. It forgets Wi-Fi, name, schedules and statistics, and is out of
reach until it is onboarded again.`,
		examples: []string{
			"wattline plugs onboard --wifi office --wifi-passphrase-file wifi.key --place sp_f2.g3",
			"wattline plugs onboard --wifi office --alias spare --found-at 10.2.0.77",
			"wattline plugs onboard --reset AC:84:C6:59:D9:A1 --address 10.2.0.31",
		},
	}}
}

// onboarding are its settings.
type onboarding struct {
	address, wifi, file, alias, zone, place, foundAt, reset string
	wait                                                    time.Duration
	yes                                                     bool
	// way is how plugs are reached; tests change it.
	way hs110.Options
	// before is when the cloud's plug of that identity was seen last as the waiting
	// began, nil until then: what it knew of the plug's former life is no news.
	before *string
}

func plugsOnboard(f *flag.FlagSet) action {
	o := &onboarding{}
	c := &changing{}
	f.StringVar(&o.address, "address", "", "`address` of the plug now; "+onboard.AccessPoint+" without")
	f.StringVar(&o.wifi, "wifi", "", "`name` of the Wi-Fi to join, WPA2 at 2.4 GHz")
	f.StringVar(&o.file, "wifi-passphrase-file", "", "`file` with its passphrase; asked for without")
	f.StringVar(&o.place, "place", "", "`id` of the place where the plug will be")
	f.StringVar(&o.alias, "alias", "", "`name` of the plug in its maker's app; the place's id without")
	f.StringVar(&o.zone, "time-zone", "", "IANA `name`; the site's without")
	f.StringVar(&o.foundAt, "found-at", "", "`address` that the plug will have; without it a gateway must find it")
	f.DurationVar(&o.wait, "wait", onboard.DefaultWait, "how `long` to wait for it there")
	f.StringVar(&o.reset, "reset", "", "set the plug with this `MAC` at --address back to the factory's state: Wi-Fi, name, schedules and statistics are gone")
	f.BoolVar(&o.yes, "yes", false, "reset without asking")
	f.StringVar(&c.reason, "reason", "", "`why`, for the audit log")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if o.reset != "" {
			return o.setBack(ctx, s)
		}
		return o.run(ctx, s, c)
	}
}

// setBack resets a plug.
func (o *onboarding) setBack(ctx context.Context, s *session) error {
	if o.address == "" || o.wifi != "" || o.place != "" {
		return usage("--reset goes with --address and nothing else")
	}
	if err := s.confirm(o.yes, fmt.Sprintf("Let %s at %s forget its Wi-Fi, name, schedules and statistics?", o.reset, o.address)); err != nil {
		return err
	}
	info, err := onboard.Reset(ctx, o.address, o.reset, o.way)
	if err != nil {
		return err
	}
	s.say("%s is as it left the factory, and out of reach until it is onboarded.", info.MAC)
	return nil
}

func (o *onboarding) run(ctx context.Context, s *session, c *changing) error {
	if o.wifi == "" {
		return usage("--wifi is required")
	}
	if o.alias = cmp.Or(o.alias, o.place); o.alias == "" {
		return usage("want --place or --alias: what the plug is called")
	}
	if err := o.ready(ctx, s); err != nil {
		return err
	}
	passphrase, err := s.secret(ctx, o.file, "--wifi-passphrase-file", "passphrase of "+o.wifi)
	if err != nil {
		return err
	}
	r, err := onboard.Plug(ctx, onboard.Options{
		Address: o.address, Alias: o.alias, TimeZone: o.zone, SSID: o.wifi, Passphrase: passphrase, Wait: o.wait, Plug: o.way,
		Find: func(ctx context.Context, deviceID, mac string) (string, error) { return o.find(ctx, s, deviceID, mac) },
	}, func(line string) { s.say("%s", line) })
	if err != nil {
		return err
	}
	plug := cmp.Or(r.Info.MAC, r.Info.DeviceID)
	s.say("%s is at %s.", plug, r.Address)
	if o.place != "" {
		body := members{"plug": plug}
		if o.foundAt != "" {
			body["address"] = r.Address
		}
		quiet := *s
		quiet.json = false // the answer is printed below
		_, err := quiet.change(ctx, c, http.MethodPut, under("devices", o.place)+"/plug", body)
		if s.opened = quiet.opened; err != nil {
			return fmt.Errorf("%s is in the network, but not at %s: %w; `wattline plugs place %s %s` does what is left", plug, o.place, err, plug, o.place)
		}
		s.say("%s is at the place %s.", plug, o.place)
	}
	if s.json {
		text, err := json.Marshal(map[string]any{"plug": plug, "device_id": r.Info.DeviceID, "model": r.Info.Model, "firmware": r.Info.Firmware, "address": r.Address, "place": o.place})
		return errors.Join(err, s.raw(text))
	}
	return nil
}

// ready asks the cloud what will be needed, before the plug is touched.
func (o *onboarding) ready(ctx context.Context, s *session) error {
	if o.place != "" {
		if _, _, err := s.get(ctx, under("devices", o.place)); err != nil {
			return err
		}
	}
	if o.zone == "" {
		site, _, err := s.get(ctx, "/api/v1/site")
		if err != nil {
			return fmt.Errorf("%w\n--time-zone, --found-at and --alias do without the cloud", err)
		}
		o.zone = site.text("time_zone")
	}
	return nil
}

// find looks at the address that was told, or asks the cloud whether a gateway
// has found the plug since it was sent away.
func (o *onboarding) find(ctx context.Context, s *session, deviceID, mac string) (address string, err error) {
	if o.foundAt != "" {
		c, err := hs110.New(o.foundAt, o.way)
		if err != nil {
			return "", err
		}
		info, err := c.Info(ctx)
		if err != nil {
			return "", err
		}
		return o.foundAt, c.Identify("look for the plug", &info, deviceID, mac)
	}
	c, err := s.client()
	if err != nil {
		return "", err
	}
	var plug document
	err = c.List(ctx, "/api/v1/plugs", nil, func(item json.RawMessage) error {
		var d document
		if err := json.Unmarshal(item, &d); err != nil {
			return err
		}
		if mac != "" && d.text("mac") == mac || deviceID != "" && strings.EqualFold(d.text("device_id"), deviceID) {
			plug = d
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	seen := fmt.Sprint(plug.at("seen"), plug.at("last_seen"))
	if o.before == nil {
		o.before = &seen
	}
	if plug == nil || seen == *o.before || plug.text("problem") != "" {
		return "", nil
	}
	return plug.text("address"), nil
}
