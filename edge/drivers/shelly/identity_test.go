package shelly_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
	"github.com/wattline/wattline/shared/device"
)

// strange checks that nothing is read from another plug, and that it is not
// switched.
func strange(t *testing.T, p *shelly.Plug, other *shellytest.Plug) {
	t.Helper()
	m, err := p.Poll(t.Context())
	if diff := cmp.Diff(device.Measurement{}, m); reason(err) != "wrong plug" || diff != "" {
		t.Errorf("poll: %v (%s)\n%s", err, reason(err), diff)
	}
	if _, err := p.Switch(t.Context(), false); reason(err) != "wrong plug" || !other.On() {
		t.Errorf("switch: %v (%s), the other is on: %v", err, reason(err), other.On())
	}
}

func TestAnotherPlugIsNeitherReadNorSwitched(t *testing.T) {
	other := shellytest.New(t, shellytest.Options{})
	for name, o := range map[string]shelly.Options{
		"by id":   {DeviceID: "shellyplusplugs-000000000000"},
		"by mac":  {MAC: "00:00:00:00:00:00"},
		"by both": {DeviceID: other.ID(), MAC: "000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			o.Address = other.Address()
			strange(t, mustPlug(t, o), other)
		})
	}
}

// Where nobody says which plug belongs to a place, the first that answers does:
// its address may pass to another.
func TestThePlugThatAnsweredFirstIsTheOneWhereNobodySaysWhich(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{})
	p := mustPlug(t, shelly.Options{Address: sim.Address()})
	if id, mac := p.Identity(); id != "" || mac != "" {
		t.Errorf("knows %s %s before it asked", id, mac)
	}
	if _, err := p.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	sim.Close()
	thief, err := shellytest.Start(sim.Address(), shellytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(thief.Close)
	strange(t, p, thief)
	if id, mac := p.Identity(); id != sim.ID() || mac != sim.MAC() {
		t.Errorf("holds on to %s %s", id, mac)
	}
}

func TestThePlugOfAnotherPlaceIsNotTheFirst(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{})
	p := mustPlug(t, shelly.Options{Address: sim.Address(), Elsewhere: func(deviceID, mac string) bool {
		return deviceID == sim.ID() && mac == sim.MAC()
	}})
	strange(t, p, sim)
}

// A plug that says who it is and then lets another answer, as behind a router that
// maps addresses.
func TestAnAnswerOfAnotherSenderIsNotRead(t *testing.T) {
	for _, spoiled := range []string{"Switch.GetStatus", "Switch.Set"} {
		var sim *shellytest.Plug
		sim = shellytest.New(t, shellytest.Options{OnRequest: func(method string) {
			f := shellytest.Fault{}
			if method == spoiled {
				f.Another = "A8032A000001"
			}
			_ = sim.SetFault(f)
		}})
		p := mustPlug(t, shelly.Options{Address: sim.Address()})
		if _, err := p.Switch(t.Context(), true); reason(err) != "wrong plug" {
			t.Errorf("%s: %v (%s)", spoiled, err, reason(err))
		}
	}
}

// The connection ends after the plug said who it is, without a word: what follows
// must not go to whoever has the address by then.
func TestAConnectionThatBreaksIsNotReplaced(t *testing.T) {
	var list asked
	sim := shellytest.New(t, shellytest.Options{OnRequest: list.add})
	mustFault(t, sim, shellytest.Fault{Vanish: true})
	p := mustPlug(t, shelly.Options{Address: sim.Address()})
	if _, err := p.Switch(t.Context(), false); reason(err) != "silent" || !sim.On() {
		t.Errorf("%v (%s), relay %v", err, reason(err), sim.On())
	}
	if got, want := list.String(), "GetDeviceInfo GetDeviceInfo"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestAPlugThatClosesAfterEachAnswerMustNameItself(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{})
	p := mustPlug(t, shelly.Options{Address: sim.Address()})
	mustFault(t, sim, shellytest.Fault{Farewell: true})
	if m, err := p.Poll(t.Context()); err != nil || m.Power == nil {
		t.Errorf("poll: %+v, %v", m, err)
	}
	if on, err := p.Switch(t.Context(), false); err != nil || on || sim.On() {
		t.Errorf("switch: %v, %v", on, err)
	}
	mustFault(t, sim, shellytest.Fault{Farewell: true, Nameless: true})
	if _, err := p.Poll(t.Context()); reason(err) != "wrong plug" {
		t.Errorf("without a name: %v (%s)", err, reason(err))
	}
	mustFault(t, sim, shellytest.Fault{Nameless: true})
	if _, err := p.Poll(t.Context()); err != nil {
		t.Errorf("without a name, on one connection: %v", err)
	}
}

// Each attempt of a turn begins with the question who is there.
func TestASwitchThatIsAskedAgainBeginsWithWho(t *testing.T) {
	var list asked
	var sim *shellytest.Plug
	sim = shellytest.New(t, shellytest.Options{OnRequest: func(method string) {
		list.add(method)
		_ = sim.SetFault(shellytest.Fault{Close: method == "Switch.Set"})
	}})
	p := mustPlug(t, shelly.Options{Address: sim.Address()})
	if on, err := p.Switch(t.Context(), false); err != nil || on {
		t.Errorf("%v, %v", on, err)
	}
	want := "GetDeviceInfo GetStatus Set GetDeviceInfo GetStatus Set GetDeviceInfo GetStatus"
	if got := list.String(); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}
