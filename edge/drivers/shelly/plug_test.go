package shelly_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
	"github.com/wattline/wattline/shared/device"
)

func mustPlug(t *testing.T, o shelly.Options) *shelly.Plug {
	t.Helper()
	id, err := device.Parse("sp_f1.w.r0.c0")
	if err != nil {
		t.Fatal(err)
	}
	if o.ReadBack == 0 {
		o.ReadBack = time.Millisecond
	}
	p, err := shelly.New(id, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustFault(t *testing.T, p *shellytest.Plug, f shellytest.Fault) {
	t.Helper()
	if err := p.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

func reason(err error) string {
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return r.Reason()
	}
	return ""
}

// asked notes the methods that a plug is asked for, by their last word.
type asked struct {
	mu   sync.Mutex // protects what follows
	list []string
}

func (a *asked) add(method string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, method[strings.LastIndexByte(method, '.')+1:])
}

func (a *asked) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.list, " ")
}

func TestPollReadsRelayAndMeter(t *testing.T) {
	var list asked
	sim := shellytest.New(t, shellytest.Options{Energy: 2690.73, OnRequest: list.add})
	p := mustPlug(t, shelly.Options{Address: sim.Address(), MAC: strings.ToLower(sim.MAC())})
	m, err := p.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if *m.Power != 42 || *m.Voltage != 230.5 || *m.Current < 0.18 || *m.Current > 0.19 || *m.Energy < 2690.73 || *m.Energy > 2691 || !*m.On || m.Suspects != nil {
		t.Errorf("read %+v", m)
	}
	if got, want := list.String(), "GetDeviceInfo GetStatus"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	if i := p.Info(); i.DeviceID != sim.ID() || i.MAC != sim.MAC() || i.Model == "" || i.Firmware != "1.4.4" {
		t.Errorf("knows %+v", i)
	}
}

func TestPollOfASwitchWithoutAMeterGivesTheRelay(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{NoMeter: true, Off: true})
	m, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Poll(t.Context())
	if diff := cmp.Diff(device.Measurement{On: new(false)}, m); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
}

// The counter of a plug may fall; the cloud's accumulator knows what that means,
// so the driver must neither hide nor doubt it.
func TestPollGivesTheCounterThatStartsAgain(t *testing.T) {
	sim := shellytest.New(t, shellytest.Options{Energy: 500})
	p := mustPlug(t, shelly.Options{Address: sim.Address(), DeviceID: sim.ID()})
	before, err := p.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Reboot(); err != nil {
		t.Fatal(err)
	}
	after, err := p.Poll(t.Context())
	if err != nil || *before.Energy < 500 || *after.Energy > 1 || after.Suspects != nil {
		t.Errorf("%v and then %v Wh, %v", *before.Energy, after.Energy, err)
	}
}

func TestPollSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		options shellytest.Options
		fault   shellytest.Fault
		reason  string
		says    string
	}{
		"refuses":              {fault: shellytest.Fault{Refuse: true}, reason: "refused"},
		"is busy":              {fault: shellytest.Fault{Status: 503}, reason: "refused"},
		"silent":               {fault: shellytest.Fault{Silent: true}, reason: "silent"},
		"too slow":             {fault: shellytest.Fault{Delay: time.Minute}, reason: "silent"},
		"breaks off":           {fault: shellytest.Fault{Close: true}, reason: "silent"},
		"stops inside a body":  {fault: shellytest.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"}, reason: "silent"},
		"has a password":       {options: shellytest.Options{Password: true}, reason: "locked"},
		"401 all the same":     {fault: shellytest.Fault{Status: 401}, reason: "locked"},
		"another web server":   {fault: shellytest.Fault{Status: 404}, reason: "garbage"},
		"sends elsewhere":      {fault: shellytest.Fault{Raw: "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"}, reason: "garbage"},
		"no HTTP":              {fault: shellytest.Fault{Raw: "SSH-2.0-OpenSSH_9.2\r\n"}, reason: "garbage"},
		"no JSON":              {fault: shellytest.Fault{Body: "<html>"}, reason: "garbage"},
		"nothing":              {fault: shellytest.Fault{Body: "{}"}, reason: "garbage"},
		"another answer":       {fault: shellytest.Fault{Body: `{"id":77,"result":{"gen":2}}`}, reason: "garbage"},
		"without end":          {fault: shellytest.Fault{Body: strings.Repeat("x", 1<<20)}, reason: "garbage", says: "more than"},
		"headers without end":  {fault: shellytest.Fault{Raw: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)}, reason: "garbage"},
		"nobody":               {fault: shellytest.Fault{Body: `{"id":1,"result":{"id":"","mac":"","gen":2}}`}, reason: "garbage"},
		"first generation":     {fault: shellytest.Fault{Body: `{"id":1,"result":{"id":"a","mac":"A8032ABE54DC","gen":1}}`}, reason: "garbage"},
		"has no switch":        {fault: shellytest.Fault{Error: "Bad id=0"}, reason: "unsupported"},
		"status of another":    {fault: shellytest.Fault{Result: `{"id":1,"output":true,"apower":1}`}, reason: "garbage"},
		"status with no field": {fault: shellytest.Fault{Result: `{"id":0}`}, reason: "garbage"},
		"status is a list":     {fault: shellytest.Fault{Result: `[]`}, reason: "garbage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := shellytest.New(t, c.options)
			mustFault(t, sim, c.fault)
			p := mustPlug(t, shelly.Options{Address: sim.Address(), Timeout: 200 * time.Millisecond})
			begun := time.Now()
			m, err := p.Poll(t.Context())
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("took %v, two attempts of 0.2 s are allowed", took)
			}
			if got := reason(err); got != c.reason || len(err.Error()) > 400 || !strings.Contains(err.Error(), c.says) {
				t.Errorf("poll: %v (%s), want %s", err, got, c.reason)
			}
			if diff := cmp.Diff(device.Measurement{}, m); diff != "" {
				t.Errorf("gave a reading all the same\n%s", diff)
			}
			if _, err := p.Switch(t.Context(), false); reason(err) != c.reason {
				t.Errorf("switch: %v (%s), want %s", err, reason(err), c.reason)
			}
		})
	}
	p := mustPlug(t, shelly.Options{Address: "127.0.0.1:1"})
	if _, err := p.Poll(t.Context()); reason(err) != "refused" {
		t.Errorf("nobody there: %v", err)
	}
}

func TestPollAsksOnceMoreWhenAnAnswerIsLost(t *testing.T) {
	var sim *shellytest.Plug
	var once sync.Once
	sim = shellytest.New(t, shellytest.Options{OnRequest: func(method string) {
		f := shellytest.Fault{}
		if method == "Switch.GetStatus" {
			once.Do(func() { f.Close = true })
		}
		_ = sim.SetFault(f)
	}})
	if m, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Poll(t.Context()); err != nil || m.Power == nil {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestPollSetsApartWhatCannotBeTrue(t *testing.T) {
	for result, want := range map[string]struct {
		suspects []device.Suspect
		left     int // fields that are read
	}{
		`{"id":0,"output":true,"apower":99999,"voltage":230,"current":0.1,"aenergy":{"total":5}}`: {[]device.Suspect{{Field: "power", Raw: "apower=99999"}}, 4},
		`{"id":0,"output":true,"apower":2000,"voltage":90}`:                                       {[]device.Suspect{{Field: "power", Raw: "apower=2000"}}, 2}, // 20 A at 90 V
		`{"id":0,"output":true,"apower":-3,"voltage":0,"current":1e300}`: {[]device.Suspect{
			{Field: "voltage", Raw: "voltage=0"}, {Field: "current", Raw: "current=1e+300"}, {Field: "power", Raw: "apower=-3"},
		}, 1},
		`{"id":0,"output":true,"apower":"NaN","voltage":1e999,"current":{},"aenergy":7}`: {[]device.Suspect{
			{Field: "voltage", Raw: "voltage=1e999"}, {Field: "current", Raw: "current={}"}, {Field: "power", Raw: `apower="NaN"`}, {Field: "energy", Raw: "aenergy.total=7"},
		}, 1},
		`{"id":0,"output":"on","apower":1,"voltage":null,"aenergy":null}`: {[]device.Suspect{{Field: "status", Raw: `output="on"`}}, 1},
	} {
		sim := shellytest.New(t, shellytest.Options{})
		mustFault(t, sim, shellytest.Fault{Result: result})
		m, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Poll(t.Context())
		if diff := cmp.Diff(want.suspects, m.Suspects); err != nil || diff != "" {
			t.Errorf("%s: %v -want +got\n%s", result, err, diff)
		}
		left := 0
		for _, there := range []bool{m.Power != nil, m.Voltage != nil, m.Current != nil, m.Energy != nil, m.On != nil} {
			if there {
				left++
			}
		}
		if left != want.left {
			t.Errorf("%s: %d fields, want %d: %+v", result, left, want.left, m)
		}
	}
}

func TestNewNamesBadOptions(t *testing.T) {
	for name, o := range map[string]shelly.Options{
		"no address": {}, "bad port": {Address: "10.0.0.1:http"}, "port 0": {Address: "10.0.0.1:0"}, "a url": {Address: "http://10.0.0.1/"},
		"bad mac": {Address: "10.0.0.1", MAC: "50:C7"}, "mixed mac": {Address: "10.0.0.1", MAC: "A8:03-2A:BE:54:DC"}, "negative": {Address: "10.0.0.1", MaxPower: -1},
	} {
		if _, err := shelly.New(device.ID{}, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for address, want := range map[string]string{"10.0.0.1": "10.0.0.1:80", "::1": "[::1]:80", "[::1]:8080": "[::1]:8080", "plug.lan": "plug.lan:80"} {
		if p, err := shelly.New(device.ID{}, shelly.Options{Address: address}); err != nil || p.Address() != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestACancelledPollSaysNothingAboutThePlug(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sim := shellytest.New(t, shellytest.Options{OnRequest: func(string) { cancel() }})
	mustFault(t, sim, shellytest.Fault{Silent: true})
	begun := time.Now()
	_, err := mustPlug(t, shelly.Options{Address: sim.Address()}).Poll(ctx)
	if !errors.Is(err, context.Canceled) || reason(err) != "" || time.Since(begun) > 3*time.Second {
		t.Errorf("%v (%s) after %v", err, reason(err), time.Since(begun))
	}
}
