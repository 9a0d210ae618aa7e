package hs110_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	driver "github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func mustPlug(t *testing.T, o driver.Options) *driver.Plug {
	t.Helper()
	id, err := device.Parse("sp_f1.w.r0.c0")
	if err != nil {
		t.Fatal(err)
	}
	if o.ReadBack == 0 {
		o.ReadBack = time.Millisecond
	}
	if o.HTTPPort == 0 {
		o.HTTPPort = -1
	}
	if o.KLAPPort == 0 {
		o.KLAPPort = -1
	}
	p, err := driver.New(id, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustFault(t *testing.T, p *hs110test.Plug, f hs110test.Fault) {
	t.Helper()
	if err := p.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

type reasoned interface {
	error
	Reason() string
}

func reason(err error) string {
	if r, ok := errors.AsType[reasoned](err); ok {
		return r.Reason()
	}
	return ""
}

// requests notes what a plug is asked.
type requests struct {
	mu   sync.Mutex // protects what follows
	list []string
}

func (r *requests) add(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, string(b))
}

// kinds are the questions in one letter each: i(nfo), p(oll), s(et).
func (r *requests) kinds() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, q := range r.list {
		switch {
		case strings.Contains(q, "set_relay"):
			b.WriteByte('s')
		case strings.Contains(q, "get_realtime"):
			b.WriteByte('p')
		default:
			b.WriteByte('i')
		}
	}
	return b.String()
}

func TestPollAsksForTheMeterOnlyOnceItIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		options hs110test.Options
		asked   string
		power   bool
	}{
		"with a meter":    {hs110test.Options{}, "ippp", true},
		"without a meter": {hs110test.Options{NoMeter: true}, "iii", false},
	} {
		t.Run(name, func(t *testing.T) {
			var asked requests
			c.options.OnRequest = asked.add
			sim := hs110test.New(t, c.options)
			p := mustPlug(t, driver.Options{Address: sim.Address(), MAC: sim.MAC()})
			if !p.Info().Time.IsZero() {
				t.Error("knows the plug before it asked")
			}
			for range 3 {
				m, err := p.Poll(t.Context())
				if err != nil || m.On == nil || !*m.On || (m.Power != nil) != c.power {
					t.Errorf("%+v, %v", m, err)
				}
			}
			if got := asked.kinds(); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
			if i := p.Info(); i.DeviceID != sim.DeviceID() || i.RSSI >= 0 || i.Time.IsZero() || i.Address != sim.Address() {
				t.Errorf("knows %+v", i)
			}
		})
	}
}

func TestPollRefusesAnotherPlug(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{})
	other := hs110test.New(t, hs110test.Options{})
	for name, o := range map[string]driver.Options{
		"by deviceId": {DeviceID: sim.DeviceID()},
		"by mac":      {MAC: strings.ToLower(strings.ReplaceAll(sim.MAC(), ":", ""))},
	} {
		t.Run(name, func(t *testing.T) {
			o.Address = sim.Address()
			p := mustPlug(t, o)
			if _, err := p.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.Move(other.Address()); err != nil {
				t.Fatal(err)
			}
			m, err := p.Poll(t.Context())
			if !errors.Is(err, hs110.ErrIdentity) || reason(err) != "wrong plug" {
				t.Errorf("poll: %v (%s)", err, reason(err))
			}
			if diff := cmp.Diff(device.Measurement{}, m); diff != "" {
				t.Errorf("poll gave a reading all the same\n%s", diff)
			}
			if _, err := p.Switch(t.Context(), false); reason(err) != "wrong plug" || !other.On() {
				t.Errorf("switch: %v (%s), relay %v", err, reason(err), other.On())
			}
			if got := p.Info().DeviceID; got != sim.DeviceID() {
				t.Errorf("remembers the stranger %s", got)
			}
			if err := p.Move(sim.Address()); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Poll(t.Context()); err != nil {
				t.Errorf("back at its address: %v", err)
			}
		})
	}
}

// A plug may give its address to another between two polls; nobody moves it then.
func TestPollRefusesAPlugThatTookTheAddress(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{})
	p := mustPlug(t, driver.Options{Address: sim.Address(), DeviceID: sim.DeviceID()})
	if _, err := p.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = sim.Close()
	thief, err := hs110test.Start(sim.Address(), hs110test.Options{DeviceID: strings.Repeat("0", 40)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { thief.Close() })
	if m, err := p.Poll(t.Context()); reason(err) != "wrong plug" || m.Power != nil {
		t.Errorf("%+v, %v", m, err)
	}
}

// Where nobody says which plug belongs to a place, the first that answers does:
// its address may pass to another, which is at another place.
func TestThePlugThatAnsweredFirstIsTheOneWhereNobodySaysWhich(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{})
	p := mustPlug(t, driver.Options{Address: sim.Address()})
	if _, err := p.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := sim.Address()
	_ = sim.Close()
	thief, err := hs110test.Start(address, hs110test.Options{DeviceID: strings.Repeat("0", 40)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { thief.Close() })
	if m, err := p.Poll(t.Context()); reason(err) != "wrong plug" || m.Power != nil {
		t.Errorf("poll: %+v, %v", m, err)
	}
	if _, err := p.Switch(t.Context(), false); reason(err) != "wrong plug" || !thief.On() {
		t.Errorf("switch: %v, the other is on: %v", err, thief.On())
	}
	if err := p.Move(hs110test.New(t, hs110test.Options{DeviceID: sim.DeviceID(), MAC: sim.MAC()}).Address()); err != nil {
		t.Fatal(err)
	}
	if m, err := p.Poll(t.Context()); err != nil || m.Power == nil {
		t.Errorf("after it moved: %+v, %v", m, err)
	}
}

func TestAnAnswerFromBeforeTheMoveTellsNothingOfTheNewAddress(t *testing.T) {
	other := hs110test.New(t, hs110test.Options{})
	var p *driver.Plug
	sim := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) {
		if err := p.Move(other.Address()); err != nil {
			t.Error(err)
		}
	}})
	p = mustPlug(t, driver.Options{Address: sim.Address()})
	if m, err := p.Poll(t.Context()); err != nil || m.On == nil {
		t.Errorf("poll: %+v, %v", m, err)
	}
	if i := p.Info(); i.Address != "" {
		t.Errorf("knows %+v", i)
	}
	if m, err := p.Poll(t.Context()); err != nil || m.Power == nil || p.Info().DeviceID != other.DeviceID() {
		t.Errorf("poll after the move: %+v, %v", m, err)
	}
}

func TestPollOfWhatIsOfNoUse(t *testing.T) {
	var asked requests
	for answer, want := range map[string]string{
		`{"system":{"get_sysinfo":{"model":"LB130"}}}`: "unsupported",
		`{"system":{}}`: "unsupported",
		`{"system":{"get_sysinfo":{"feature":"TIM","relay_state":7}}}`: "",
	} {
		p := mustPlug(t, driver.Options{Address: newScript(t, answer, &asked)})
		m, err := p.Poll(t.Context())
		if reason(err) != want || (err == nil) != (len(m.Suspects) == 1) {
			t.Errorf("%s: %+v, %v (%s)", answer, m, err, reason(err))
		}
	}
}

func TestPollNotesAMeterInTrouble(t *testing.T) {
	var asked requests
	p := mustPlug(t, driver.Options{Address: newScript(t, `{"system":{"get_sysinfo":{"feature":"TIM:ENE","relay_state":1}},"emeter":{"get_realtime":{"err_code":-7,"err_msg":"unknown error"}}}`, &asked)})
	m, err := p.Poll(t.Context())
	want := []device.Suspect{{Field: "power", Raw: `emeter.get_realtime err_code -7 ("unknown error")`}}
	if diff := cmp.Diff(want, m.Suspects); err != nil || diff != "" || m.On == nil || m.Power != nil {
		t.Errorf("%+v, %v -want +got\n%s", m, err, diff)
	}
}

func TestPollReportsALockedPlug(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{})
	host, _, _ := strings.Cut(sim.Address(), ":")
	locked := hs110test.New(t, hs110test.Options{KLAPAddress: host + ":0"})
	mustFault(t, locked, hs110test.Fault{Locked: true})
	_, klap := locked.LockedAddresses()
	mustFault(t, sim, hs110test.Fault{Refuse: true})
	p := mustPlug(t, driver.Options{Address: sim.Address(), KLAPPort: port(t, klap)})
	if _, err := p.Poll(t.Context()); !errors.Is(err, hs110.ErrLocked) || reason(err) != "locked" {
		t.Errorf("%v (%s)", err, reason(err))
	}
}

func TestPollSetsSpikesApart(t *testing.T) {
	sim := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW4})
	mustFault(t, sim, hs110test.Fault{Spike: 2000})
	p := mustPlug(t, driver.Options{Address: sim.Address(), MaxPower: 1500})
	m, err := p.Poll(t.Context())
	want := []device.Suspect{{Field: "power", Raw: "power_mw=2000000"}}
	if diff := cmp.Diff(want, m.Suspects); err != nil || diff != "" || m.Power != nil || m.Energy == nil {
		t.Errorf("%+v, %v -want +got\n%s", m, err, diff)
	}
}

func TestNewNamesBadOptions(t *testing.T) {
	for name, o := range map[string]driver.Options{
		"no address": {}, "bad port": {Address: "10.0.0.1:http"}, "bad mac": {Address: "10.0.0.1", MAC: "50:C7"},
	} {
		if _, err := driver.New(device.ID{}, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
