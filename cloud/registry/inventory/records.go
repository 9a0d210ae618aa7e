package inventory

import (
	"cmp"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Records are a site: what an inventory is made of and what an import makes.
type Records struct {
	// Site is nil while nobody has set the site up.
	Site     *Site
	Gateways []Gateway // by id
	Places   []Place   // in the order of device.Compare
}

// Site is the building.
type Site struct {
	Name string
	// DefaultFloor is the floor of ids that name none. It is set once.
	DefaultFloor int
	TimeZone     string // IANA name
	// Rows and Columns are the most workplaces of a floor either way, 0 where
	// nobody has said.
	Rows, Columns int
}

// Gateway is the edge gateway of a floor.
type Gateway struct {
	ID    string // for ever
	Label string
	Floor int
	// Poll is the time between two polls of a plug, Stagger the pause between two
	// plugs that one command switches on.
	Poll, Stagger time.Duration
	Database      string // where its readings are stored
	// Discovery is where it looks for plugs, as [DiscoveryText] writes it; "" is
	// the usual, the networks that it is in itself.
	Discovery string
}

// Place is a socket and the plug in it.
type Place struct {
	Device  device.ID
	Gateway string
	// Driver, Address (host or host:port), DeviceID (40 hex digits) and MAC
	// (AA:BB:CC:DD:EE:FF) are the plug; all but the driver may be unknown.
	Driver, Address, DeviceID, MAC string
	Label, Owner                   string
	// Protected is the reason why the place is never switched, empty when it may.
	Protected string
	// MaxPower is the plausible maximum, 0 for the driver's; Poll overrides the
	// gateway's when not 0.
	MaxPower device.Watts
	Poll     time.Duration
	// Predecessor is the place that was here before, zero for none.
	Predecessor device.ID
}

// What a new record has where its file says nothing.
const (
	DefaultPoll     = 10 * time.Second
	DefaultStagger  = 250 * time.Millisecond
	DefaultDatabase = "sp"
	DefaultDriver   = "hs110"
	DefaultTimeZone = "UTC"
)

// sorted is r with copies of its lists in order.
func (r Records) sorted() Records {
	r.Gateways = slices.SortedFunc(slices.Values(r.Gateways), func(a, b Gateway) int { return cmp.Compare(a.ID, b.ID) })
	r.Places = slices.SortedFunc(slices.Values(r.Places), func(a, b Place) int { return device.Compare(a.Device, b.Device) })
	return r
}
