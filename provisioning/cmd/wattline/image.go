package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	_ "time/tzdata" // zones are checked here, on machines that may have none

	"github.com/wattline/wattline/provisioning/client"
	"github.com/wattline/wattline/provisioning/flash"
	"github.com/wattline/wattline/shared/config"
)

// flashing are the settings of a command that makes images or seeds.
type flashing struct {
	gateway, base, out, seed, edge, arch string
	floor                                string
	all, overwrite, force                bool
	broker, enrolment, zone, host        string
	ntp, dns, address, router            string
	wifi, country, passphrase            string
	keys                                 []string
	days                                 *amount
}

func imageCommands() []command {
	image := command{
		name: "gateways image", args: "--floor N --base IMAGE --out FILE", short: "an SD-card image that becomes the gateway of a floor", bind: gatewaysImage,
		long: `The image is a copy of a Raspberry Pi OS (Debian 13 or later) or of a Debian
generic cloud image, .img, .img.xz or .img.gz, with the gateway's program, its
configuration and a fresh join token in it. It is read back and compared before
it gets its name. Write it to a card with any writer of images; at its first
start the box asks to be the gateway, and "wattline gateways approve" lets it.

--seed makes what cloud-init reads (data source NoCloud), as a directory or as an
.iso, for boxes that start a system of their own. The image and the seed hold
secrets: the join token, good for one box, and the key of the Wi-Fi.

Only the newest join token of a gateway is good: a second image makes the first
one useless, unless its box has been approved already.`,
		examples: []string{
			"wattline gateways image --floor 2 --base raspios.img.xz --out f2.img --ca ca.pem",
			"wattline gateways image --all-floors --base raspios.img.xz --out images/ --ca ca.pem",
			"wattline gateways image --gateway edge-f2 --seed f2-seed.iso --arch amd64 --ca ca.pem",
			"wattline gateways image --floor 2 --base raspios.img.xz --out f2.img --ca ca.pem --wifi office --wifi-country CZ --wifi-passphrase-file wifi.key",
		},
	}
	same := image
	same.name, same.short = "gateway image", "the same as gateways image"
	return []command{image, same}
}

func (o *flashing) bind(f *flag.FlagSet) {
	f.StringVar(&o.gateway, "gateway", "", "the `id` of the gateway that the box becomes")
	f.Func("floor", "or the `number` of its floor", func(v string) error {
		n, err := parseWhole(v)
		o.floor = strconv.Itoa(n)
		return err
	})
	f.BoolVar(&o.all, "all-floors", false, "one for each gateway that is not trusted yet; --out is a directory")
	f.StringVar(&o.base, "base", "", "the `image` to copy: .img, .img.xz, .img.gz")
	f.StringVar(&o.out, "out", "", "`file` for the image, or directory with --all-floors")
	f.StringVar(&o.seed, "seed", "", "a `directory` or file.iso for a seed instead of an image")
	f.StringVar(&o.edge, "edge", "", "the `program` wattline-edge for the box; found beside wattline without")
	f.StringVar(&o.arch, "arch", "", "`processor`: armv6, armv7, arm64, amd64, where the image does not show it")
	f.StringVar(&o.broker, "broker", "", "`address` of the cloud's broker for the box; tls:// of the server and port 8883 without")
	f.StringVar(&o.enrolment, "enrolment", "", "`address` of the cloud for the box; that of --server without")
	f.StringVar(&o.zone, "time-zone", "", "IANA `name`; the site's without")
	f.StringVar(&o.ntp, "ntp", "", "time servers, as a `list`; those of the system without")
	f.StringVar(&o.host, "hostname", "", "`name` of the machine; the gateway's id without")
	f.StringVar(&o.address, "address", "", "fixed `address` with prefix, 10.2.0.5/22; DHCP without")
	f.StringVar(&o.router, "router", "", "`address` of the router, with a fixed one")
	f.StringVar(&o.dns, "dns", "", "name servers, as a `list`")
	f.StringVar(&o.wifi, "wifi", "", "`name` of the Wi-Fi; cable without")
	f.StringVar(&o.country, "wifi-country", "", "two `letters`: what Wi-Fi may send there")
	f.StringVar(&o.passphrase, "wifi-passphrase-file", "", "`file` with the passphrase; asked for without")
	f.Func("ssh-key", "`file` with public keys that may log in as wattline-admin; nobody may without", func(name string) error {
		text, err := readSmall(name, maxCA)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				o.keys = append(o.keys, line)
			}
		}
		return err
	})
	o.days = amountVar(f, "days", maxDays, "how many `days` the join token may lie unused; 30 without")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace a file that is there")
	f.BoolVar(&o.force, "force", false, "take an image that does not look as if it had cloud-init")
}

func gatewaysImage(f *flag.FlagSet) action {
	o := &flashing{}
	o.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := errors.Join(none(args), o.check()); err != nil {
			return err
		}
		box, err := o.box(ctx, s)
		if err != nil {
			return err
		}
		gateways, err := o.gateways(ctx, s)
		if err != nil {
			return err
		}
		if o.all {
			if err := os.MkdirAll(o.out, 0o700); err != nil {
				return usage("--out: %v", err)
			}
		}
		noted, err := s.enrolments(ctx)
		if err != nil {
			return err
		}
		for _, id := range gateways {
			box.Gateway = id
			s.noteJoin(noted[id], id)
			if err := o.make(ctx, s, box); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
		return nil
	}
}

// check finds what does not go together.
func (o *flashing) check() error {
	chosen := 0
	for _, is := range []bool{o.gateway != "", o.floor != "", o.all} {
		if is {
			chosen++
		}
	}
	switch {
	case chosen != 1:
		return usage("want one of --gateway, --floor and --all-floors")
	case o.seed != "" && (o.base != "" || o.out != ""):
		return usage("--seed takes neither --base nor --out")
	case o.seed != "" && o.all:
		return usage("--seed is for one gateway")
	case o.seed == "" && (o.base == "" || o.out == ""):
		return usage("want --base and --out, or --seed")
	case o.all && o.host != "":
		return usage("--hostname is for one gateway: each gets its id")
	case o.all && o.address != "":
		return usage("--address is for one gateway")
	}
	return nil
}

// box is what all boxes of this run are given.
func (o *flashing) box(ctx context.Context, s *session) (b flash.Box, err error) {
	b = flash.Box{Hostname: o.host, Broker: o.broker, Enrolment: cmp.Or(o.enrolment, s.server), SSHKeys: o.keys, NTP: split(o.ntp), TimeZone: o.zone}
	if s.ca == "" {
		return b, usage("--ca: the ca.pem of the site goes into the box, and is required")
	}
	if b.CA, err = readSmall(s.ca, maxCA); err != nil {
		return b, usage("--ca: %v", err)
	}
	if b.Broker == "" {
		if u, err := url.Parse(b.Enrolment); err == nil && u.Hostname() != "" {
			b.Broker = "tls://" + net.JoinHostPort(u.Hostname(), "8883")
		}
	}
	if b.Network, err = o.network(ctx, s); err != nil {
		return b, err
	}
	if b.TimeZone == "" {
		site, _, err := s.get(ctx, "/api/v1/site")
		if err != nil {
			return b, err
		}
		b.TimeZone = site.text("time_zone")
	}
	return b, nil
}

func (o *flashing) network(ctx context.Context, s *session) (n flash.Network, err error) {
	n = flash.Network{SSID: o.wifi, Country: o.country}
	if o.address != "" {
		if n.Address, err = netip.ParsePrefix(o.address); err != nil {
			return n, usage("--address: %q is no address with the length of its prefix, as 10.2.0.5/22", o.address)
		}
	}
	if o.router != "" {
		if n.Router, err = netip.ParseAddr(o.router); err != nil {
			return n, usage("--router: %q is no address, as 10.2.0.1", o.router)
		}
	}
	for _, text := range split(o.dns) {
		one, err := netip.ParseAddr(text)
		if err != nil {
			return n, usage("--dns: %q is no address, as 10.2.0.1", text)
		}
		n.DNS = append(n.DNS, one)
	}
	if o.wifi != "" {
		n.Passphrase, err = s.secret(ctx, o.passphrase, "--wifi-passphrase-file", "passphrase of "+o.wifi)
	}
	return n, err
}

// gateways are those to make, by the registry.
func (o *flashing) gateways(ctx context.Context, s *session) (ids []string, err error) {
	if o.gateway != "" {
		_, _, err := s.get(ctx, under("gateways", o.gateway))
		return []string{o.gateway}, err
	}
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	err = c.List(ctx, "/api/v1/gateways", nil, func(item json.RawMessage) error {
		var d document
		if err := json.Unmarshal(item, &d); err != nil {
			return err
		}
		id := d.first("id", "gateway")
		switch {
		case !o.all && d.text("floor") != o.floor:
		case o.all && d.text("trust") == "trusted":
			s.say("%s is trusted already and left out; --gateway %s makes one for a new box.", id, id)
		default:
			ids = append(ids, id)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(ids) == 0:
		return nil, &exit{exitNotDone, "there is no such gateway; `wattline gateways create` makes one"}
	case !o.all && len(ids) > 1:
		return nil, usage("floor %s has %s: choose with --gateway", o.floor, strings.Join(ids, ", "))
	}
	return ids, nil
}

// make makes one image or seed.
func (o *flashing) make(ctx context.Context, s *session, b flash.Box) error {
	join := func(ctx context.Context) (config.Secret, error) {
		body := members{"reason": "flashed"}
		if o.days.value > 0 {
			body["days"] = o.days.value
		}
		a, err := s.do(ctx, client.Request{Method: http.MethodPost, Path: under("gateways", b.Gateway) + "/join-token", JSON: body})
		if err != nil {
			return "", err
		}
		var answer document
		if err := a.Decode(&answer); err != nil {
			return "", err
		}
		return config.Secret(answer.text("join_token")), nil
	}
	out, r, err := o.write(ctx, s, b, join)
	if err != nil {
		return err
	}
	if s.json {
		text, err := json.Marshal(map[string]any{"gateway": b.Gateway, "out": out, "system": r.System, "arch": r.Arch, "bytes": r.Size})
		return errors.Join(err, s.raw(text))
	}
	s.say("%s: %s for %s, %s, compared with what it should be.\nAfter its first start: wattline gateways approve %s", out, r.System, b.Gateway, r.Arch, b.Gateway)
	return nil
}

// write makes the image, or the seed, and gives its name.
func (o *flashing) write(ctx context.Context, s *session, b flash.Box, join func(context.Context) (config.Secret, error)) (out string, r flash.Result, err error) {
	if o.seed == "" {
		if out = o.out; o.all {
			out = filepath.Join(o.out, b.Gateway+".img")
		}
		r, err = o.image(ctx, s, flash.Options{Base: o.base, Out: out, Edge: o.program, Box: b, Join: join, Overwrite: o.overwrite, Force: o.force})
		return out, r, err
	}
	edge, err := o.program(flash.Arch(o.arch))
	if err != nil {
		return "", r, err
	}
	r, err = flash.Seed(ctx, flash.SeedOptions{
		Out: o.seed, ISO: strings.HasSuffix(o.seed, ".iso"), Edge: edge, Arch: flash.Arch(o.arch), Box: b, Join: join, Overwrite: o.overwrite,
	})
	return o.seed, r, err
}

// image draws a bar for each step.
func (o *flashing) image(ctx context.Context, s *session, options flash.Options) (flash.Result, error) {
	var drawn *bar
	var current flash.Step
	r, err := flash.Image(ctx, options, func(step flash.Step, done, total int64) {
		if step != current {
			if drawn != nil {
				drawn.end()
			}
			current, drawn = step, s.progress(fmt.Sprintf("%s %-8s", options.Box.Gateway, step), total)
		}
		drawn.at(done)
	})
	if drawn != nil {
		drawn.end()
	}
	return r, err
}

// program finds wattline-edge for a processor: as told, or as make puts it beside
// this program.
func (o *flashing) program(shown flash.Arch) (string, error) {
	if o.edge != "" {
		return o.edge, nil
	}
	arch := cmp.Or(flash.Arch(o.arch), shown)
	if arch == "" {
		return "", usage("--arch: the image does not show its processor: armv6, armv7, arm64 or amd64")
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	name := "wattline-edge-" + string(arch)
	places := []string{filepath.Join(filepath.Dir(self), "edge", name), filepath.Join(filepath.Dir(self), name), filepath.Join("/usr/share/wattline/edge", name)}
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place, nil
		}
	}
	return "", usage("--edge: there is no %s at %s; `make edges` builds it", name, strings.Join(places, ", "))
}

// split gives the parts of a flag that takes several.
func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
