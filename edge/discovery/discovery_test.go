package discovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// nextPort gives each test ports of its own, so that none hears another's plugs.
var nextPort atomic.Int32

// stand is a fleet and a discovery that looks for it.
type stand struct {
	*discovery.Discovery

	t      *testing.T
	fleet  *hs110test.Fleet
	locked int
	stop   func()
	told   chan struct{}

	mu    sync.Mutex // protects what follows
	moved map[device.ID]string
	known []discovery.Known
}

func newStand(t *testing.T, o hs110test.FleetOptions, change func(*discovery.Options)) *stand {
	t.Helper()
	port := int(19800 + 2*nextPort.Add(1))
	o.Port = port
	s := &stand{t: t, locked: port + 1, moved: map[device.ID]string{}, told: make(chan struct{}, 100)}
	adjust := o.Adjust
	o.Adjust = func(id device.ID, p *hs110test.Options) {
		host, _, _ := strings.Cut(p.KLAPAddress, ":")
		p.KLAPAddress = fmt.Sprintf("%s:%d", host, s.locked)
		if adjust != nil {
			adjust(id, p)
		}
	}
	var err error
	if s.fleet, err = hs110test.StartFleet(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.fleet.Close() })
	options := discovery.Options{
		Gateway: "edge-f1", Port: port, LockedPort: s.locked, Every: 200 * time.Millisecond, Spread: 20 * time.Millisecond,
		Clock: func() (device.Micros, bool) { return device.MicrosOf(time.Now()), true },
		Networks: func() []discovery.Network {
			return []discovery.Network{{Local: netip.MustParseAddr("127.0.0.1"), Broadcast: netip.MustParseAddr("127.255.255.255")}}
		},
		Moved: func(id device.ID, address string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.moved[id] = address
		},
		Changed: func() {
			select {
			case s.told <- struct{}{}:
			default:
			}
		},
	}
	if change != nil {
		change(&options)
	}
	s.Discovery = discovery.New(options, slog.New(slog.DiscardHandler))
	return s
}

// run looks until the test ends.
func (s *stand) run() {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			s.t.Error(err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(s.stop)
}

// place makes the fleet's plugs known, as they are read well.
func (s *stand) place() {
	s.known = nil
	for _, p := range s.fleet.Plugs {
		s.known = append(s.known, discovery.Known{Device: p.ID, DeviceID: p.DeviceID(), MAC: p.MAC(), Address: p.Address(), Home: p.Address()})
	}
	s.Know(s.known)
}

// lose tells that a plug is not read.
func (s *stand) lose(n int, reason string, offline bool) {
	known := append([]discovery.Known(nil), s.known...)
	known[n].Reason, known[n].Offline = reason, offline
	s.known = known
	s.Know(known)
}

func (s *stand) movedTo(id device.ID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved[id]
}

// find is what is told of a plug.
func (s *stand) find(p *hs110test.Plug) (contract.FoundPlug, bool) {
	f, _ := s.Found()
	for _, found := range f.Plugs {
		if found.MAC == p.MAC() {
			return found, true
		}
	}
	return contract.FoundPlug{}, false
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) { // polling under a deadline
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func TestUnknownPlugsAreFoundByBroadcast(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 3, Unknown: 2}, nil)
	s.place()
	s.Configure(contract.Discovery{Broadcast: true})
	s.run()
	eventually(t, "two unknown plugs", func() bool { f, ok := s.Found(); return ok && len(f.Plugs) == 2 })
	for _, p := range s.fleet.Unknown {
		got, _ := s.find(p)
		want := contract.FoundPlug{
			DeviceID: p.DeviceID(), MAC: p.MAC(), Driver: "hs110", Model: "HS110(EU)", Hardware: "2.0", Firmware: "1.5.4 Build 180815 Rel.121440",
			Alias: got.Alias, Address: p.Address(), Seen: got.Seen,
		}
		if got != want || !strings.HasPrefix(got.Alias, "TP-LINK_Smart Plug_") || got.Seen == 0 {
			t.Errorf("found %+v\nwant  %+v", got, want)
		}
	}
	for _, p := range s.fleet.Plugs { // read well: left alone
		if n := p.Requests(); n != 0 {
			t.Errorf("%s was asked %d times by TCP", p.ID, n)
		}
	}
}

func TestUnknownPlugsAreFoundByScan(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 3, Unknown: 3, NoBroadcast: true}, nil)
	if err := s.fleet.Unknown[1].SetFault(hs110test.Fault{Locked: true}); err != nil {
		t.Fatal(err)
	}
	silent := hs110test.Options{NoUDP: true, NoMeter: true, MAC: "50:C7:BF:00:00:01"}
	mute, err := hs110test.Start(fmt.Sprintf("127.%d.1.77:%d", s.fleet.Block, s.fleet.Port), silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	s.Configure(contract.Discovery{Ranges: []string{fmt.Sprintf("127.%d.1.0/25", s.fleet.Block)}})
	s.run()
	eventually(t, "seven plugs", func() bool { f, ok := s.Found(); return ok && len(f.Plugs) == 7 })
	if p, _ := s.find(s.fleet.Unknown[1]); p.Problem != "locked" || p.Model != "HS110(UK)" || p.Device != "" {
		t.Errorf("the locked one: %+v", p)
	}
	if p, _ := s.find(mute); p.Problem != "unsupported" || p.Model != "HS100(EU)" {
		t.Errorf("the one without a meter, which is silent by UDP: %+v", p)
	}
}

func TestALostPlugIsFollowedToItsNewAddress(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]contract.Discovery{"by broadcast": {Broadcast: true}, "by scan": {}} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, hs110test.FleetOptions{Rooms: 3}, func(o *discovery.Options) { o.ScanEvery = time.Second })
			if !where.Broadcast {
				where.Ranges = []string{fmt.Sprintf("127.%d.1.0/25", s.fleet.Block)}
			}
			s.place()
			s.Configure(where)
			s.run()
			eventually(t, "the first look", func() bool { _, ok := s.Found(); return ok })
			p := s.fleet.Plugs[1]
			if err := p.Move(fmt.Sprintf("127.%d.1.99", s.fleet.Block)); err != nil {
				t.Fatal(err)
			}
			if where.Broadcast {
				time.Sleep(300 * time.Millisecond) // rounds, in which the poller has noticed nothing yet
				if got := s.movedTo(p.ID); got != "" {
					t.Fatalf("moved to %s while it was read well", got)
				}
			}
			s.lose(1, "offline", true)
			eventually(t, "the move", func() bool { return s.movedTo(p.ID) == p.Address() })
			if len(s.moved) != 1 {
				t.Errorf("moved: %v", s.moved)
			}
		})
	}
}

func TestPlugsThatSwapTheirAddressesAreBothFollowed(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 2}, nil)
	s.place()
	s.Configure(contract.Discovery{Broadcast: true})
	s.run()
	if err := hs110test.Swap(s.fleet.Plugs[0].Plug, s.fleet.Plugs[1].Plug); err != nil {
		t.Fatal(err)
	}
	s.lose(0, hs110.ReasonWrongPlug, false)
	s.lose(1, hs110.ReasonWrongPlug, false)
	for _, p := range s.fleet.Plugs {
		eventually(t, "a move", func() bool { return s.movedTo(p.ID) == p.Address() })
	}
}

// Who only claims by UDP to be a plug is not believed: the address that it names
// is asked who it is.
func TestWhatAnswersByUDPMustTellWhoItIsByTCP(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 1}, nil)
	s.place()
	liar, err := hs110test.Start(fmt.Sprintf("127.%d.1.88:%d", s.fleet.Block, s.fleet.Port), hs110test.Options{
		DeviceID: s.fleet.Plugs[0].DeviceID(), MAC: s.fleet.Plugs[0].MAC(), OnRequest: func([]byte) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { liar.Close() })
	if err := liar.SetFault(hs110test.Fault{Garbage: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}); err != nil {
		t.Fatal(err)
	}
	s.Configure(contract.Discovery{Ranges: []string{fmt.Sprintf("127.%d.1.80/28", s.fleet.Block)}})
	s.run()
	s.lose(0, "offline", true)
	s.Look()
	eventually(t, "the liar is asked", func() bool { return liar.Requests() > 0 })
	eventually(t, "the look ends", func() bool { _, ok := s.Found(); return ok })
	if got := s.movedTo(s.fleet.Plugs[0].ID); got != "" {
		t.Errorf("moved to %s", got)
	}
}

func TestAPlugOfNoPlaceVanishesAfterThreeRoundsAndComesBack(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 1, Unknown: 1}, nil)
	s.place()
	s.Configure(contract.Discovery{Broadcast: true})
	s.run()
	p := s.fleet.Unknown[0]
	eventually(t, "the plug", func() bool { _, ok := s.find(p); return ok })
	if err := p.SetFault(hs110test.Fault{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it vanished", func() bool { f, _ := s.find(p); return f.Problem == "vanished" })
	if err := p.SetFault(hs110test.Fault{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it is back", func() bool { f, ok := s.find(p); return ok && f.Problem == "" })
}

func TestChangesOfFirmwareAreTold(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 1, Unknown: 1}, nil)
	s.place()
	s.Configure(contract.Discovery{Broadcast: true})
	s.run()
	p := s.fleet.Unknown[0]
	eventually(t, "the plug", func() bool { _, ok := s.find(p); return ok })
	before, _ := s.find(p)
	p.Update("1.9.9 Build 300101 Rel.1")
	eventually(t, "the new firmware", func() bool {
		f, _ := s.find(p)
		return f.Firmware == "1.9.9 Build 300101 Rel.1" && f.FirmwareBefore == before.Firmware
	})
}

// Found goes out when something is different, not when somebody was seen again.
func TestNothingIsToldWhenNothingChanges(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 1, Unknown: 1}, nil)
	s.place()
	s.Configure(contract.Discovery{Broadcast: true})
	s.run()
	eventually(t, "the plug", func() bool { _, ok := s.find(s.fleet.Unknown[0]); return ok })
	for len(s.told) > 0 {
		<-s.told
	}
	first, _ := s.find(s.fleet.Unknown[0])
	eventually(t, "it is seen again", func() bool { f, _ := s.find(s.fleet.Unknown[0]); return f.Seen > first.Seen })
	if n := len(s.told); n > 0 {
		t.Errorf("told %d times", n)
	}
}

func TestWhatThePollerKnowsIsListed(t *testing.T) {
	t.Parallel()
	s := newStand(t, hs110test.FleetOptions{Rooms: 3, NoBroadcast: true}, nil)
	s.place()
	for i := range s.known {
		s.known[i].Seen = time.Now()
		s.known[i].Told = &hs110.Info{DeviceID: s.known[i].DeviceID, MAC: s.known[i].MAC, Model: "HS110(EU)", Feature: "TIM:ENE", Firmware: "1"}
	}
	s.known[1].Reason, s.known[1].Offline = "offline", true
	s.known[2].Reason, s.known[2].Offline = "locked", true
	s.Know(s.known)
	s.run()
	eventually(t, "the list", func() bool { _, ok := s.Found(); return ok })
	for i, want := range []string{"", "vanished", "locked"} {
		if p, _ := s.find(s.fleet.Plugs[i].Plug); p.Problem != want || p.Device != s.fleet.Plugs[i].ID.String() || p.Firmware != "1" {
			t.Errorf("%d: %+v", i, p)
		}
	}
}
