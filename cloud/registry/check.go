package registry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// chain bounds how far back a place's predecessors are followed.
const chain = 100

// check looks at everything that the draft changes: what belongs together must
// fit, and what only one can have, only one has. Both are named.
func (d *draft) check() *contract.Problem {
	c := &checker{draft: d}
	c.site()
	for id, g := range d.gateways {
		c.gateway(id, g)
	}
	for full, p := range d.places {
		if p != nil {
			c.place(full, p)
		}
	}
	return c.problem()
}

// checker gathers what is wrong.
type checker struct {
	*draft

	mistakes  []contract.Mistake
	conflicts int
}

func (c *checker) wrong(field, format string, args ...any) {
	c.mistakes = append(c.mistakes, contract.Mistake{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (c *checker) conflict(field, format string, args ...any) {
	c.conflicts++
	c.wrong(field, format, args...)
}

func (c *checker) problem() *contract.Problem {
	return problemOf(c.mistakes, c.conflicts == len(c.mistakes))
}

// problemOf makes a problem of mistakes; nil when there are none.
func problemOf(mistakes []contract.Mistake, conflict bool) *contract.Problem {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortFunc(mistakes, func(a, b contract.Mistake) int {
		return strings.Compare(a.Field+"\x00"+a.Detail, b.Field+"\x00"+b.Detail)
	})
	const most = 100
	p := &contract.Problem{Kind: contract.Invalid, Detail: mistakes[0].Detail, Mistakes: mistakes[:min(most, len(mistakes))]}
	if conflict {
		p.Kind = contract.Conflict
	}
	if f := mistakes[0].Field; f != "" && !conflict {
		p.Detail = f + ": " + p.Detail
	}
	if n := len(mistakes); n > 1 {
		p.Detail += fmt.Sprintf(" (and %d more)", n-1)
	}
	return p
}

func (c *checker) site() {
	before := c.state.site
	if c.newSite == nil || before == nil || before.DefaultFloor == c.newSite.DefaultFloor {
		return
	}
	if len(c.state.places)+len(c.state.gone) > 0 {
		c.conflict("default_floor", "the default floor is %d and cannot be changed once there was a place: another one would give every id without a floor another meaning", before.DefaultFloor)
	}
}

func (c *checker) gateway(id string, g *gateway) {
	before := c.state.gateways[id]
	var here []string
	if before != nil && (g == nil || g.Floor != before.Floor) {
		here = c.placesOf(id, g)
	}
	switch was := c.state.gone["gateway "+id]; {
	case g == nil && len(here) > 0:
		c.conflict("gateway", "%s still has places: %s; delete them or give them another gateway first", id, few(here))
	case g != nil && len(here) > 0:
		c.conflict("floor", "%s has places on floor %d: %s", id, before.Floor, few(here))
	case g != nil && before == nil && was.ID != "" && was.Floor != g.Floor:
		c.conflict("gateway", "%s was the gateway of floor %d, and an id is never given to another one: choose a new id", id, was.Floor)
	}
}

// placesOf lists the places that a gateway would have on a floor that is not its
// own, or without there being a gateway.
func (c *checker) placesOf(id string, g *gateway) (here []string) {
	for _, full := range c.state.sorted {
		p := c.draft.place(full)
		if p == nil || p.Gateway != id {
			continue
		}
		if floor, _ := full.Floor(); g == nil || floor != g.Floor {
			here = append(here, p.Device.String())
		}
	}
	return here
}

func few(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

func (c *checker) place(full device.ID, p *contract.Place) {
	before := c.state.places[full]
	if was := c.state.gone["place "+full.String()]; before == nil && was.ID != "" && was.ID != p.Device.String() {
		c.conflict("device", "%s was registered as %s, and its readings are there: create it under that id", p.Device, was.ID)
	}
	floor, _ := full.Floor()
	switch g := c.draft.gateway(p.Gateway); {
	case g == nil:
		c.wrong("gateway", "there is no gateway %.80q, which %s names", p.Gateway, p.Device)
	case g.Floor != floor:
		c.wrong("gateway", "%s is on floor %d, the place %s on floor %d", g.Gateway, g.Floor, p.Device, floor)
	}
	c.plug(full, p)
	c.ancestry(full, p)
}

// plug finds another place that has the plug, and an identity that is two plugs'.
func (c *checker) plug(full device.ID, p *contract.Place) {
	if other := c.rival(full, c.byMAC[p.MAC], func(o *contract.Place) bool { return p.MAC != "" && o.MAC == p.MAC }); other != nil {
		c.conflict("mac", "the plug %s is at %s already and cannot be at %s too", p.MAC, other.Device, p.Device)
	}
	if other := c.rival(full, c.byDeviceID[p.DeviceID], func(o *contract.Place) bool { return p.DeviceID != "" && o.DeviceID == p.DeviceID }); other != nil {
		c.conflict("device_id", "the plug %s is at %s already and cannot be at %s too", p.DeviceID, other.Device, p.Device)
	}
	if a := c.state.plugs[p.DeviceID]; a != nil && p.DeviceID != "" && p.MAC != "" && a.MAC != "" && a.MAC != p.MAC {
		c.conflict("mac", "%s would have two plugs: %s has the MAC %s, not %s", p.Device, p.DeviceID, a.MAC, p.MAC)
	}
	if p.Address == "" {
		return
	}
	for _, at := range c.byAddress[addressOf(p)] {
		other := c.rival(full, at, func(o *contract.Place) bool { return addressOf(o) == addressOf(p) })
		if other != nil && (!identified(p) || !identified(other)) {
			c.conflict("address", "%s has %s too, and nothing tells the two plugs apart: give %s its mac or device_id", other.Device, p.Address, p.Device)
		}
	}
}

func identified(p *contract.Place) bool { return p.MAC != "" || p.DeviceID != "" }

// rival is another place that has, and would keep, what a place claims. Two
// places of one draft are looked for among the draft's.
func (c *checker) rival(full, other device.ID, claims func(*contract.Place) bool) *contract.Place {
	if !other.IsZero() && other != full {
		if o := c.draft.place(other); o != nil && claims(o) {
			return o
		}
	}
	if len(c.places) > 10 {
		return nil // an import, which has looked already
	}
	for id, o := range c.places {
		if id != full && o != nil && claims(o) {
			return o
		}
	}
	return nil
}

// ancestry refuses a place that would be its own predecessor.
func (c *checker) ancestry(full device.ID, p *contract.Place) {
	at := p
	for range chain {
		if at == nil || at.Predecessor.IsZero() {
			return
		}
		before := c.full(at.Predecessor)
		if before == full {
			c.wrong("predecessor", "%s cannot follow itself, by way of %s", p.Device, at.Device)
			return
		}
		at = c.draft.place(before)
	}
	c.wrong("predecessor", "%s has more than %d predecessors", p.Device, chain)
}
