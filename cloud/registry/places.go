package registry

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const maxSeries = 10_000 // places of one series

var (
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	deviceIDForm = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

// readPlace takes one place in, or adds what it says to one of a series.
func (c *compiler) readPlace(key string, p *Place) {
	if p.Device.IsZero() {
		c.wrong(key+".device", "required, an id such as sp_f1.w.r0.c0")
		c.looks(key, p)
		return
	}
	if before, known := c.origin[p.Device.On(c.site.DefaultFloor)]; known && before.bare && p.Address == "" && before.id == p.Device {
		c.refine(key, p, before)
		return
	}
	c.put(placed{key: key, id: p.Device, poll: p.Poll, place: contract.Place{
		Device: p.Device, Gateway: p.Gateway, Driver: cmp.Or(p.Driver, defaultDriver), Address: p.Address,
	}})
	c.describe(key, p)
}

// refine adds to a place of a series.
func (c *compiler) refine(key string, p *Place, before placed) {
	if p.Gateway != "" && p.Gateway != before.place.Gateway {
		c.wrong(key+".gateway", "%s says that %s is at %s", before.key, p.Device, before.place.Gateway)
	}
	if p.Driver != "" {
		before.place.Driver = p.Driver
		c.driver(key+".driver", p.Driver)
	}
	before.key, before.bare, before.poll = key, false, p.Poll
	c.origin[p.Device.On(c.site.DefaultFloor)] = before
	c.describe(key, p)
}

// describe checks and adds what may be said of a place beside its plug's
// address.
func (c *compiler) describe(key string, p *Place) {
	id := p.Device.On(c.site.DefaultFloor)
	known, ok := c.origin[id]
	if !ok || known.key != key {
		return // told already
	}
	c.details(key, p)
	known.place.Label, known.place.Owner, known.place.Protected, known.place.MaxPower = p.Label, p.Owner, p.Protected, p.MaxPower
	if p.MAC != "" {
		mac, err := net.ParseMAC(p.MAC)
		if err != nil {
			mac = nil // told already
		}
		known.place.MAC = strings.ToUpper(mac.String())
		c.claim(key, "mac", known.place.MAC)
	}
	if p.DeviceID != "" {
		known.place.DeviceID = strings.ToUpper(p.DeviceID)
		c.claim(key, "device_id", known.place.DeviceID)
	}
	c.origin[id] = known
}

// details checks what may be said of a place, whichever it is.
func (c *compiler) details(key string, p *Place) {
	c.text(key+".label", p.Label)
	c.text(key+".owner", p.Owner)
	c.text(key+".protected", p.Protected)
	if p.MaxPower < 0 || p.MaxPower > maxPower {
		c.wrong(key+".max_power", "%v W is not 0 to %d", p.MaxPower, maxPower)
	}
	if p.Poll != 0 && (p.Poll < time.Second || p.Poll > maxPoll) {
		c.wrong(key+".poll", "%v is not 1s to %v", p.Poll, maxPoll)
	}
	if mac, err := net.ParseMAC(p.MAC); p.MAC != "" && (err != nil || len(mac) != 6) {
		c.wrong(key+".mac", "%.40q is not a MAC address such as AC:84:C6:59:D9:A1", p.MAC)
	}
	if p.DeviceID != "" && !deviceIDForm.MatchString(strings.ToUpper(p.DeviceID)) {
		c.wrong(key+".device_id", "%.60q is not 40 hex digits", p.DeviceID)
	}
}

// looks checks what can be said of a place whose id is not known.
func (c *compiler) looks(key string, p *Place) {
	c.details(key, p)
	c.driver(key+".driver", cmp.Or(p.Driver, defaultDriver))
	if p.Address != "" && !validAddress(p.Address) {
		c.wrong(key+".address", "%.80q is not host or host:port", p.Address)
	}
	if p.Gateway != "" && c.configs[p.Gateway] == nil {
		c.wrong(key+".gateway", "%.80q is not in gateways", p.Gateway)
	}
}

// put enters a place, told as key in the inventory.
func (c *compiler) put(p placed) {
	id := p.id.On(c.site.DefaultFloor)
	if before, known := c.origin[id]; known {
		if before.id == p.id {
			c.wrong(p.key, "%s is there twice, first at %s", p.id, before.key)
		} else {
			c.wrong(p.key, "%s is the same place as %s at %s: floor %d is the site's default floor", p.id, before.id, before.key, c.site.DefaultFloor)
		}
		return
	}
	floor, _ := id.Floor()
	p.place.Gateway = c.gatewayAt(p.key, p.place.Gateway, floor)
	c.driver(p.key+".driver", p.place.Driver)
	switch at := p.place.Address; {
	case at == "":
		c.wrong(p.key+".address", "required: host or host:port of the plug at %s", p.id)
	case !validAddress(at):
		c.wrong(p.key+".address", "%.80q is not host or host:port", at)
	default:
		c.claim(p.key, "address", p.place.Gateway+" "+at)
	}
	c.origin[id] = p
}

func (c *compiler) driver(key, name string) {
	if !driverForm.MatchString(name) {
		c.wrong(key, "%.40q is not the name of a driver such as hs110", name)
	}
}

// gatewayAt is the named gateway, or the only one on the floor.
func (c *compiler) gatewayAt(key, name string, floor int) string {
	here := c.byFloor[floor]
	switch config := c.configs[name]; {
	case name == "" && len(here) == 1:
		return here[0]
	case name == "" && len(here) == 0:
		c.wrong(key+".gateway", "there is no gateway on floor %d", floor)
	case name == "":
		c.wrong(key+".gateway", "required: floor %d has the gateways %s", floor, strings.Join(here, ", "))
	case config == nil:
		c.wrong(key+".gateway", "%.80q is not in gateways", name)
	case config.Floor != floor:
		c.wrong(key+".gateway", "%s is on floor %d, the place on floor %d", name, config.Floor, floor)
	}
	return name
}

// claim notes what only one place can have.
func (c *compiler) claim(key, what, value string) {
	full := key
	if strings.HasPrefix(key, "places[") {
		full = key + "." + what
	}
	claim := what + " " + value
	if before, taken := c.claims[claim]; taken {
		c.wrong(full, "%s is at %s already", value[strings.LastIndexByte(value, ' ')+1:], before)
		return
	}
	c.claims[claim] = full
}

// validAddress tells a host or host:port from something else.
func validAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return hostForm.MatchString(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || hostForm.MatchString(host)
}

// readSeries takes the places of a series in.
func (c *compiler) readSeries(key string, s *Series) {
	row, column, grid := s.First.Grid()
	n := s.Count
	switch {
	case s.First.IsZero():
		c.wrong(key+".first", "required: the first id, such as sp_f1.w.r0.c0")
		return
	case grid && (s.Rows < 1 || s.Columns < 1 || s.Count != 0):
		c.wrong(key, "%s has a row and a column: want rows and columns, at least 1, and no count", s.First)
		return
	case grid:
		n = s.Rows * s.Columns
	case s.Count < 1 || s.Rows != 0 || s.Columns != 0:
		c.wrong(key, "%s has a number: want a count of at least 1, and neither rows nor columns", s.First)
		return
	}
	if max(s.Rows, s.Columns) > maxSeries || n > maxSeries {
		c.wrong(key, "more than %d places", maxSeries)
		return
	}
	address, port, err := firstAddress(s.FirstAddress)
	if err != nil {
		c.wrong(key+".first_address", "%w", err)
		return
	}
	for i := range n {
		id, err := follow(s.First, i, row, column, s.Columns)
		if err != nil || !address.IsValid() {
			c.wrong(key, "runs out of ids or addresses after %d places", i)
			return
		}
		at := address.String()
		if port != "" {
			at = net.JoinHostPort(at, port)
		}
		c.put(placed{key: key, id: id, bare: true, place: contract.Place{
			Device: id, Gateway: s.Gateway, Driver: cmp.Or(s.Driver, defaultDriver), Address: at,
		}})
		address = address.Next()
	}
}

func firstAddress(s string) (netip.Addr, string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, ""
	}
	address, err := netip.ParseAddr(host)
	if err != nil || port != "" && !validAddress(s) {
		return netip.Addr{}, "", fmt.Errorf("%.80q is not an IP address, or one with a port", s)
	}
	return address, port, nil
}

// follow is the i-th id after first.
func follow(first device.ID, i, row, column, columns int) (device.ID, error) {
	text := first.String()
	if columns > 0 {
		at := strings.LastIndex(text, ".r")
		return device.Parse(fmt.Sprintf("%s.r%d.c%d", text[:at], row+i/columns, column+i%columns))
	}
	digits := len(text) - len(strings.TrimRight(text, "0123456789"))
	n, err := strconv.Atoi(text[len(text)-digits:])
	if err != nil {
		return device.ID{}, fmt.Errorf("count from %s: %w", text, err)
	}
	return device.Parse(text[:len(text)-digits] + strconv.Itoa(n+i))
}
