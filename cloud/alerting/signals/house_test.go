package signals_test

import (
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

func TestWhatWasDeletedWhileAwayIsGone(t *testing.T) {
	st := newStage(t)
	st.pass(40)
	if !st.s.Changed() {
		t.Error("the house that was heard first is no change")
	}
	st.s.Disconnected()
	st.s.Connected(st.now)
	st.pass(300)
	if _, ok := st.s.House().Gateway("edge-f2"); !ok {
		t.Fatal("forgotten although the registry says nothing at all")
	}
	st.hear(bus.SiteTopic, contract.Site{Name: "Head office", DefaultFloor: 1, TimeZone: "Europe/Vienna"}, true)
	st.hear(bus.GatewaysInfoPrefix+"edge-f1", contract.GatewayInfo{Gateway: "edge-f1", Label: "edge-f1", Floor: 1, ConfigVersion: 9}, true)
	st.place("sp_f1.g0", contract.Place{Gateway: "edge-f1", Address: "10.0.0.1"})
	st.pass(29)
	if st.s.Changed() {
		t.Error("a change before the registry has had time to repeat all, or for what was only repeated")
	}
	st.pass(2)
	house := st.s.House()
	if _, ok := house.Gateway("edge-f2"); ok {
		t.Error("a gateway that was deleted is still there")
	}
	if got := house.Devices(""); len(got) != 1 || got[0] != id(t, "sp_f1.g0") {
		t.Errorf("places are %v, want sp_f1.g0 alone", got)
	}
	if !st.s.Changed() || st.s.Changed() {
		t.Error("want one change")
	}
	want(t, st.pass(30), "gateway.online", "edge-f2", nil)
}

func TestAHouseIsWholeWhenOneConnectionHadTimeToTellIt(t *testing.T) {
	st := newStage(t)
	st.pass(20)
	st.s.Disconnected()
	st.pass(40)
	if st.s.House().Whole() {
		t.Error("whole although the connection was lost before all can have come")
	}
	st.s.Connected(st.now)
	st.pass(40)
	if st.s.House().Whole() {
		t.Error("whole although nothing was heard on this connection")
	}
	st.hear(bus.SiteTopic, contract.Site{Name: "Head office", DefaultFloor: 1, TimeZone: "Europe/Vienna"}, true)
	st.pass(31)
	if !st.s.House().Whole() {
		t.Error("not whole although all was heard")
	}
}

func TestHouse(t *testing.T) {
	st := newStage(t)
	house := st.s.House()
	if !st.s.Changed() || st.s.Changed() || house.Whole() {
		t.Error("want one change, and a house that is not whole yet")
	}
	st.pass(31)
	if !st.s.Changed() || st.s.Changed() || !house.Whole() {
		t.Error("want one change more, since the whole house must have been heard")
	}
	if p, ok := house.Place(id(t, "sp_w.r0.c1")); !ok || p.Gateway != "edge-f1" {
		t.Errorf("place %+v, %v", p, ok)
	}
	if p, ok := house.Place(id(t, "sp_f1.w.r0.c1")); !ok || p.Device != id(t, "sp_w.r0.c1") {
		t.Errorf("by its other spelling: place %+v, %v", p, ok)
	}
	st.place("sp_f1.g0", contract.Place{Gateway: "edge-f1", Address: "10.0.0.99"})
	if st.s.Changed() {
		t.Error("a plug's address matters to no alert")
	}
	st.place("sp_f1.g0", contract.Place{Gateway: "edge-f2", Address: "10.0.0.99"})
	if !st.s.Changed() {
		t.Error("a place that moved is no change")
	}
	if got := house.Devices("edge-f2"); len(got) != 2 || got[0] != id(t, "sp_f1.g0") || got[1] != id(t, "sp_f2.p0") {
		t.Errorf("places of edge-f2 are %v", got)
	}
	st.hear(bus.PlacesPrefix+"sp_f1.g0", []byte{}, false)
	if _, ok := house.Place(id(t, "sp_f1.g0")); ok || !st.s.Changed() {
		t.Error("a place that was deleted is still there, or no change")
	}
	st.hear(bus.GatewaysInfoPrefix+"edge-f2", []byte{}, false)
	if _, ok := house.Gateway("edge-f2"); ok || !st.s.Changed() {
		t.Error("a gateway that was deleted is still there, or no change")
	}
}
