package registry

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	defaultPoll     = 10 * time.Second
	defaultStagger  = 250 * time.Millisecond
	defaultDatabase = "sp"
	defaultDriver   = "hs110"
	maxPoll         = 24 * time.Hour
	maxStagger      = time.Minute
	maxPower        = 100_000 // W
	maxText         = 200     // bytes of a label or a reason
)

var (
	gatewayForm  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`) // as gateways hold their own id to
	databaseForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	driverForm   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

// content is what an inventory says, in the words of the bus. Configurations
// have no version yet.
type content struct {
	site     contract.Site
	gateways []contract.GatewayInfo
	places   []contract.Place
	configs  map[string]*contract.GatewayConfig
}

// compiler turns an inventory into content and goes on after a mistake.
type compiler struct {
	*content
	mistakes []error
	byFloor  map[int][]string // gateways
	origin   map[device.ID]placed
	claims   map[string]string // what only one place can have -> the key that has it
}

// placed is a place and where the inventory says so; the plug's polling, which a
// contract.Place has not, is beside it.
type placed struct {
	key   string
	id    device.ID // as it is spelled
	place contract.Place
	poll  time.Duration
	bare  bool // from a series, to be added to
}

func (c *compiler) wrong(key, format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

// content compiles the inventory.
func (i *Inventory) content() (*content, error) {
	c := &compiler{
		content: &content{configs: make(map[string]*contract.GatewayConfig)}, byFloor: make(map[int][]string),
		origin: make(map[device.ID]placed), claims: make(map[string]string),
	}
	c.readSite(i.Site)
	for n := range i.Gateways {
		c.readGateway(fmt.Sprintf("gateways[%d]", n), &i.Gateways[n])
	}
	if len(i.Gateways) == 0 {
		c.wrong("gateways", "required, one for each floor")
	}
	for n := range i.Series {
		c.readSeries(fmt.Sprintf("series[%d]", n), &i.Series[n])
	}
	for n := range i.Places {
		c.readPlace(fmt.Sprintf("places[%d]", n), &i.Places[n])
	}
	c.finish()
	if len(c.mistakes) > 0 {
		return nil, errors.Join(c.mistakes...)
	}
	return c.content, nil
}

func (c *compiler) readSite(s Site) {
	if s.DefaultFloor == nil {
		c.wrong("site.default_floor", "required: the floor of ids that name none, such as sp_w.r1.c1")
	} else {
		c.site.DefaultFloor = *s.DefaultFloor
	}
	if s.TimeZone == "" {
		s.TimeZone = "UTC"
	}
	if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "Local" {
		c.wrong("site.time_zone", "%q is no time zone such as Europe/Madrid", s.TimeZone)
	}
	c.text("site.name", s.Name)
	c.site.Name, c.site.TimeZone = s.Name, s.TimeZone
}

func (c *compiler) text(key, s string) {
	if len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
		c.wrong(key, "at most %d bytes in one line", maxText)
	}
}

func (c *compiler) readGateway(key string, g *Gateway) {
	config := &contract.GatewayConfig{Gateway: g.ID, Database: cmp.Or(g.Database, defaultDatabase), Plugs: []contract.Plug{}}
	poll, stagger := cmp.Or(g.Poll, defaultPoll), defaultStagger
	if g.Stagger != nil {
		stagger = *g.Stagger
	}
	if poll < time.Second || poll > maxPoll {
		c.wrong(key+".poll", "%v is not 1s to %v", poll, maxPoll)
	}
	if stagger < 0 || stagger > maxStagger {
		c.wrong(key+".stagger", "%v is not 0s to %v", stagger, maxStagger)
	}
	if !databaseForm.MatchString(config.Database) || config.Database == "wattline" {
		c.wrong(key+".database", "%q is not lower-case letters, digits and _, or is wattline, which is taken", config.Database)
	}
	c.text(key+".label", g.Label)
	config.PollSeconds, config.StaggerMillis = poll.Seconds(), int(stagger.Milliseconds())
	info := contract.GatewayInfo{Gateway: g.ID, Label: g.Label, StaggerMillis: config.StaggerMillis}
	if g.Floor == nil {
		c.wrong(key+".floor", "required")
	} else {
		config.Floor, info.Floor = *g.Floor, *g.Floor
		c.byFloor[info.Floor] = append(c.byFloor[info.Floor], g.ID)
	}
	switch {
	case !gatewayForm.MatchString(g.ID):
		c.wrong(key+".id", "%.80q is not a lower-case letter and up to 62 lower-case letters, digits, _ or -, as in edge-f2", g.ID)
	case c.configs[g.ID] != nil:
		c.wrong(key+".id", "%s is there twice", g.ID)
	default:
		c.configs[g.ID] = config
		c.gateways = append(c.gateways, info)
	}
}

// finish puts everything in the order of people.
func (c *compiler) finish() {
	ids := make([]device.ID, 0, len(c.origin))
	for id := range c.origin {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, device.Compare)
	c.places = make([]contract.Place, 0, len(ids))
	for _, id := range ids {
		p := c.origin[id]
		c.places = append(c.places, p.place)
		config := c.configs[p.place.Gateway]
		if config == nil {
			continue // told already
		}
		config.Plugs = append(config.Plugs, contract.Plug{
			Device: p.place.Device, Driver: p.place.Driver, Address: p.place.Address, DeviceID: p.place.DeviceID, MAC: p.place.MAC,
			Protected: p.place.Protected, MaxPower: p.place.MaxPower, PollSeconds: p.poll.Seconds(),
		})
	}
	slices.SortFunc(c.gateways, func(a, b contract.GatewayInfo) int { return cmp.Compare(a.Gateway, b.Gateway) })
}
