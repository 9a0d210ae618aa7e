package hs110test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// FleetOptions describe a building. On each floor f, from 1, there are
// workplaces sp_f<f>.w.r<row>.c<column>, meeting rooms sp_f<f>.g<n> and printers
// sp_f<f>.p<n>, all counted from 0.
type FleetOptions struct {
	Floors                         int // default 1
	Rows, Columns, Rooms, Printers int // per floor
	// Unknown plugs per floor are there and no place's.
	Unknown int

	// Block is the second number of the addresses, 1 to 254; 0 takes the first
	// of the blocks 127.<n>.0.0/16 that no other fleet has.
	Block int
	Port  int // default 9999
	// NoBroadcast leaves questions to 127.255.255.255 unanswered.
	NoBroadcast bool

	// Adjust, where set, may change the options of each plug before it starts.
	// Identity, hardware, name and load are settled by the id by then. Unknown
	// plugs have the zero id.
	Adjust func(id device.ID, o *Options)
}

// FleetPlug is a plug and its place.
type FleetPlug struct {
	*Plug
	ID    device.ID
	Floor int
}

// Fleet is a building of plugs that run. They are the same at each start, by
// their ids: hardware, identity, load and name.
type Fleet struct {
	Plugs   []FleetPlug // floor by floor: workplaces, rooms, printers
	Unknown []*Plug     // floor by floor: those that no place has
	Block   int
	Port    int

	claim     net.Listener // shows to other fleets that the block is taken
	broadcast *Broadcast
}

// perFloor is the number of plugs on a floor.
func (o FleetOptions) perFloor() int { return o.Rows*o.Columns + o.Rooms + o.Printers + o.Unknown }

// host is the address of the i-th plug of the n-th floor, both from 0.
func (o FleetOptions) host(block, n, i int) string {
	nets := (o.perFloor() + perNet - 1) / perNet
	return fmt.Sprintf("127.%d.%d.%d", block, 1+n*nets+i/perNet, 1+i%perNet)
}

// perNet is how many plugs share the first three numbers of an address.
const perNet = 250

// StartFleet starts the plugs of a building, some hundreds or thousands. Close it.
func StartFleet(o FleetOptions) (*Fleet, error) {
	o.Floors = cmp.Or(o.Floors, 1)
	o.Port = cmp.Or(o.Port, hs110.Port)
	floor := o.perFloor()
	if nets := (floor + perNet - 1) / perNet; min(o.Floors, o.Rows, o.Columns, o.Rooms, o.Printers, o.Unknown) < 0 || o.Floors*nets > 250 {
		return nil, fmt.Errorf("start fleet: %d floors of %d plugs: want at most %d plugs, and no negative number", o.Floors, floor, 250*perNet)
	}
	if o.Block != 0 {
		return startBlock(o, o.Block)
	}
	const blocks = 254
	for n := 1; n <= blocks; n++ {
		f, err := startBlock(o, n)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return f, err
		}
	}
	return nil, fmt.Errorf("start fleet: port %d is taken on each block 127.<n>.0.0/16: does a program listen on it on all addresses?", o.Port)
}

func startBlock(o FleetOptions, block int) (f *Fleet, err error) {
	f = &Fleet{Block: block, Port: o.Port}
	defer func() {
		if err != nil {
			_ = f.Close()
			f = nil
		}
	}()
	var lc net.ListenConfig
	f.claim, err = lc.Listen(context.Background(), "tcp4", fmt.Sprintf("127.%d.255.254:%d", block, o.Port))
	if err != nil {
		return f, fmt.Errorf("start fleet in 127.%d.0.0/16: %w", block, err)
	}
	taken := map[string]bool{}
	for n := range o.Floors {
		for i, id := range floorIDs(o, n+1) {
			p, err := startMember(id, o.host(block, n, i), o, taken)
			if err != nil {
				return f, err
			}
			f.Plugs = append(f.Plugs, FleetPlug{Plug: p, ID: id, Floor: n + 1})
		}
		for i := range o.Unknown {
			p, err := startUnknown(o.host(block, n, o.perFloor()-o.Unknown+i), n+1, i, o, taken)
			if err != nil {
				return f, err
			}
			f.Unknown = append(f.Unknown, p)
		}
	}
	if !o.NoBroadcast {
		plugs := slices.Clone(f.Unknown)
		for i := range f.Plugs {
			plugs = append(plugs, f.Plugs[i].Plug)
		}
		if f.broadcast, err = ListenBroadcast(o.Port, plugs); err != nil {
			return f, err
		}
	}
	return f, nil
}

// floorIDs are the places of a floor in order.
func floorIDs(o FleetOptions, floor int) []device.ID {
	var ids []device.ID
	add := func(place string, number int) {
		id, err := device.Parse("sp_f" + strconv.Itoa(floor) + "." + place + strconv.Itoa(number))
		if err != nil {
			panic(err) // a bug here: the form is fixed
		}
		ids = append(ids, id)
	}
	for r := range o.Rows {
		for c := range o.Columns {
			add("w.r"+strconv.Itoa(r)+".c", c)
		}
	}
	for n := range o.Rooms {
		add("g", n)
	}
	for n := range o.Printers {
		add("p", n)
	}
	return ids
}

// startMember starts the plug that belongs to id.
func startMember(id device.ID, host string, o FleetOptions, taken map[string]bool) (*Plug, error) {
	name := id.String()
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	seed := h.Sum64()
	po := Options{
		Hardware:    [...]Hardware{HW1, HW2, HW4}[seed%3],
		KLAPAddress: host + ":20002",
	}
	po.DeviceID, po.MAC = freeIdentity(name, taken)
	_, place, _ := strings.Cut(name, ".")
	switch id.PlaceType() {
	case "g":
		po.Load, po.Alias = MeetingRoom(seed), "Besprechungsraum "+place+" – groß"
	case "p":
		po.Load, po.Alias = Printer(seed), "プリンター "+place
	default:
		po.Load, po.Alias = Workplace(seed), "Desk "+place
	}
	if o.Adjust != nil {
		o.Adjust(id, &po)
	}
	return Start(net.JoinHostPort(host, strconv.Itoa(o.Port)), po)
}

// startUnknown starts the i-th plug of a floor that no place has.
func startUnknown(host string, floor, i int, o FleetOptions, taken map[string]bool) (*Plug, error) {
	name := fmt.Sprintf("unknown %d on floor %d", i, floor)
	po := Options{Hardware: HW2, KLAPAddress: host + ":20002", Alias: "TP-LINK_Smart Plug_" + fmt.Sprintf("%02X%02X", floor, i)}
	po.DeviceID, po.MAC = freeIdentity(name, taken)
	if o.Adjust != nil {
		o.Adjust(device.ID{}, &po)
	}
	return Start(net.JoinHostPort(host, strconv.Itoa(o.Port)), po)
}

// freeIdentity is an identity by a name whose MAC is not taken yet, and takes it:
// a MAC has 26 free bits here, too few to be sure.
func freeIdentity(name string, taken map[string]bool) (deviceID, mac string) {
	for {
		if deviceID, mac = Identity(name); !taken[mac] {
			taken[mac] = true
			return deviceID, mac
		}
		name += "+"
	}
}

// Find is the plug at a place, nil if there is none.
func (f *Fleet) Find(id device.ID) *FleetPlug {
	for i := range f.Plugs {
		if f.Plugs[i].ID == id {
			return &f.Plugs[i]
		}
	}
	return nil
}

// Close ends all plugs and waits for them. It is safe twice.
func (f *Fleet) Close() error {
	if f.broadcast != nil {
		_ = f.broadcast.Close()
	}
	var wg sync.WaitGroup
	for _, p := range f.Plugs {
		wg.Go(func() { _ = p.Close() })
	}
	for _, p := range f.Unknown {
		wg.Go(func() { _ = p.Close() })
	}
	wg.Wait()
	if f.claim != nil {
		_ = f.claim.Close()
	}
	return nil
}
