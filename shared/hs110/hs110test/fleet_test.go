package hs110test_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestFleetIsTheSameEachTime(t *testing.T) {
	o := hs110test.FleetOptions{Floors: 2, Rows: 3, Columns: 2, Rooms: 1, Printers: 1, Port: 19999}
	first, err := hs110test.StartFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := hs110test.StartFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Block == second.Block {
		t.Fatalf("both have block %d", first.Block)
	}
	var ids []string
	macs := map[string]bool{}
	hardware := map[string]bool{}
	for i, p := range first.Plugs {
		q := second.Plugs[i]
		if p.ID != q.ID || p.DeviceID() != q.DeviceID() || p.MAC() != q.MAC() || p.Address() == q.Address() {
			t.Errorf("%s and %s differ", p.ID, q.ID)
		}
		ids = append(ids, p.ID.String())
		macs[p.MAC()] = true
		answer := mustAsk(t, p.Plug, `{"system":{"get_sysinfo":{}}}`)
		_, rest, _ := strings.Cut(answer, `"hw_ver":"`)
		hardware[rest[:1]] = true
	}
	want := "sp_f1.w.r0.c0 sp_f1.w.r0.c1 sp_f1.w.r1.c0 sp_f1.w.r1.c1 sp_f1.w.r2.c0 sp_f1.w.r2.c1 sp_f1.g0 sp_f1.p0 " +
		"sp_f2.w.r0.c0 sp_f2.w.r0.c1 sp_f2.w.r1.c0 sp_f2.w.r1.c1 sp_f2.w.r2.c0 sp_f2.w.r2.c1 sp_f2.g0 sp_f2.p0"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("got %s", got)
	}
	if len(macs) != len(ids) || len(hardware) != 3 {
		t.Errorf("%d MACs of %d plugs, hardware %v", len(macs), len(ids), hardware)
	}
	if p := first.Find(first.Plugs[3].ID); p != &first.Plugs[3] {
		t.Errorf("found %v", p)
	}
	third, err := hs110test.StartFleet(hs110test.FleetOptions{Rows: 1, Columns: 1, Port: 19999, Block: first.Block})
	if !errors.Is(err, syscall.EADDRINUSE) || third != nil {
		t.Errorf("a block that is taken: %v", err)
	}
}

func TestFleetAnswersBroadcasts(t *testing.T) {
	const port = 19998
	f, err := hs110test.StartFleet(hs110test.FleetOptions{Rows: 10, Columns: 4, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Plugs[5].SetFault(hs110test.Fault{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(to string) map[string]bool {
		addr, err := net.ResolveUDPAddr("udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteTo(hs110.InfoDatagram(), addr); err != nil {
			t.Fatal(err)
		}
		heard := map[string]bool{}
		buf := make([]byte, 4096)
		for {
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return heard
			}
			if _, err := hs110.ParseInfoDatagram(buf[:n]); err != nil {
				t.Errorf("%v: %v", from, err)
			}
			heard[from.String()] = true
		}
	}
	heard := ask("127.255.255.255:19998")
	for i, p := range f.Plugs {
		if got, want := heard[p.Address()], i != 5; got != want {
			t.Errorf("%s heard: %v, want %v", p.Address(), got, want)
		}
	}
	if heard := ask(f.Plugs[3].Address()); len(heard) != 1 || !heard[f.Plugs[3].Address()] {
		t.Errorf("asked one, heard %v", heard)
	}
	if heard := ask("127.0.0.9:19998"); len(heard) != 0 {
		t.Errorf("asked nobody, heard %v", heard)
	}
}

func TestPlugsMoveAndSwap(t *testing.T) {
	f, err := hs110test.StartFleet(hs110test.FleetOptions{Rooms: 2, Unknown: 2, Port: 19994, NoBroadcast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Unknown) != 2 || f.Unknown[0].Address() == f.Unknown[1].Address() {
		t.Fatalf("unknown plugs %v", f.Unknown)
	}
	who := func(address string) string {
		c, err := hs110.New(address, hs110.Options{HTTPPort: -1, KLAPPort: -1})
		if err != nil {
			t.Fatal(err)
		}
		i, _ := c.Info(t.Context())
		return i.DeviceID
	}
	a, b := f.Plugs[0], f.Plugs[1]
	addressA, addressB := a.Address(), b.Address()
	if err := hs110test.Swap(a.Plug, b.Plug); err != nil {
		t.Fatal(err)
	}
	if who(addressA) != b.DeviceID() || who(addressB) != a.DeviceID() {
		t.Error("not swapped")
	}
	host, _, _ := strings.Cut(addressA, ":")
	if err := a.Move(host[:strings.LastIndex(host, ".")] + ".200"); err != nil {
		t.Fatal(err)
	}
	if who(a.Address()) != a.DeviceID() || who(addressB) != "" {
		t.Errorf("not moved to %s", a.Address())
	}
	if err := b.Move(a.Address()); err == nil {
		t.Error("moved to an address that another has")
	}
	if err := b.Move(addressB); err != nil || who(addressB) != b.DeviceID() {
		t.Errorf("moved at last: %v", err)
	}
}
