package directory_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func hear(t *testing.T, d *directory.Directory, topic string, v any, retained bool) {
	t.Helper()
	var payload []byte
	if v != nil {
		var err error
		if payload, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Hear(bus.Message{Topic: topic, Payload: payload, Retained: retained}); err != nil {
		t.Fatal(err)
	}
}

func mustID(t *testing.T, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func place(t *testing.T, d *directory.Directory, id string) {
	t.Helper()
	hear(t, d, bus.PlacesPrefix+id, contract.Place{Device: mustID(t, id), Gateway: "edge-f1", Driver: "hs110"}, true)
}

func site(t *testing.T, d *directory.Directory) {
	t.Helper()
	hear(t, d, bus.SiteTopic, contract.Site{Name: "House", DefaultFloor: 1}, true)
}

// status is a beat whose gateway's clock says that it was sent behind ago.
func status(epoch contract.Epoch, behind time.Duration) contract.Status {
	return contract.Status{Gateway: "edge-f1", Online: true, Epoch: epoch, Time: device.MicrosOf(time.Now().Add(-behind)), Clock: contract.ClockStatus{Set: true}}
}

const statusTopic = "gateways/edge-f1/status"

func online(d *directory.Directory) bool {
	g, _ := d.Gateway("edge-f1")
	return g.Online
}

func TestAGatewayIsOfflineAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := directory.New()
		hear(t, d, statusTopic, status(1, 0), false)
		time.Sleep(30 * time.Second)
		if !online(d) {
			t.Error("offline after 30 s")
		}
		time.Sleep(time.Millisecond)
		if online(d) {
			t.Error("online after more than 30 s of silence")
		}
		hear(t, d, statusTopic, status(1, 0), false)
		if !online(d) {
			t.Error("offline after a beat")
		}
	})
}

func TestARetainedStatusIsBelievedAsFarAsItCanBeNew(t *testing.T) {
	for name, c := range map[string]struct {
		behind time.Duration
		unset  bool
		want   bool
	}{
		"just sent": {time.Second, false, true}, "long ago": {time.Minute, false, false}, "by a clock that was never set": {1000 * time.Hour, true, true},
	} {
		d := directory.New()
		s := status(1, c.behind)
		s.Clock.Set = !c.unset
		hear(t, d, statusTopic, s, true)
		if online(d) != c.want {
			t.Errorf("%s: online %v", name, !c.want)
		}
		if g, _ := d.Gateway("edge-f1"); !g.Heard.IsZero() || g.Skew != 0 {
			t.Errorf("%s: heard %v, skew %v", name, g.Heard, g.Skew)
		}
	}
}

func TestAWillCountsForItsEpochOnly(t *testing.T) {
	d := directory.New()
	hear(t, d, statusTopic, status(2, 0), false)
	hear(t, d, statusTopic, contract.Status{Epoch: 1}, false)
	if !online(d) {
		t.Error("offline by the will of an earlier run")
	}
	hear(t, d, statusTopic, contract.Status{Epoch: 2}, false)
	if online(d) {
		t.Error("online after its will")
	}
	hear(t, d, statusTopic, status(3, 0), false)
	if !online(d) {
		t.Error("offline in its next run")
	}
	hear(t, d, statusTopic, nil, false)
	if _, known := d.Gateway("edge-f1"); known {
		t.Error("known after its status was cleared")
	}
}

func TestAWillIsNoStatusAndAFarewellIs(t *testing.T) {
	d := directory.New()
	hear(t, d, statusTopic, contract.Status{Epoch: 2}, true)
	if g, known := d.Gateway("edge-f1"); !known || g.Online || g.Status != nil || !g.Heard.IsZero() {
		t.Errorf("after a will alone: %+v", g)
	}
	hear(t, d, statusTopic, status(3, 0), false)
	farewell := status(3, 0)
	farewell.Online, farewell.Outbox.Readings = false, 7
	hear(t, d, statusTopic, farewell, false)
	if g, _ := d.Gateway("edge-f1"); g.Online || g.Status == nil || g.Status.Outbox.Readings != 7 {
		t.Errorf("after a farewell: %+v", g)
	}
}

func TestWhatWasDeletedUnheardIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := directory.New()
		d.Connected()
		site(t, d)
		place(t, d, "sp_g1")
		place(t, d, "sp_g2")
		hear(t, d, "state/edge-f1/sp_g1", json.RawMessage(`[{"n":"sp_g1/power","t":1790000000,"v":1}]`), true)
		hear(t, d, bus.GatewaysInfoPrefix+"edge-f1", contract.GatewayInfo{Gateway: "edge-f1"}, true)
		hear(t, d, statusTopic, status(1, 0), true)
		time.Sleep(time.Hour)
		if n := len(d.Places()); n != 2 {
			t.Fatalf("%d places on the first connection", n)
		}

		d.Connected() // and the registry is not there
		time.Sleep(time.Hour)
		if n := len(d.Places()); n != 2 {
			t.Fatalf("%d places while the registry is silent", n)
		}

		d.Connected()
		site(t, d)
		place(t, d, "sp_g2")
		time.Sleep(29 * time.Second)
		if n := len(d.Places()); n != 2 {
			t.Errorf("%d places before the registry had its time", n)
		}
		time.Sleep(2 * time.Second)
		if p := d.Places(); len(p) != 1 || p[0].Device != mustID(t, "sp_g2") {
			t.Errorf("%v", p)
		}
		if _, known := d.State(mustID(t, "sp_g1")); known {
			t.Error("the state of a place that is gone")
		}
		if _, known := d.Gateway("edge-f1"); known {
			t.Error("a gateway that is gone")
		}
	})
}

func TestEitherSpellingFindsPlaceAndState(t *testing.T) {
	d := directory.New()
	site(t, d)
	place(t, d, "sp_g1")
	place(t, d, "sp_f1.g2")
	place(t, d, "sp_f2.g1")
	hear(t, d, "state/edge-f1/sp_f1.g2", json.RawMessage(`[{"n":"sp_f1.g2/power","t":1790000000,"v":1}]`), true)
	for asked, want := range map[string]string{"sp_g1": "sp_g1", "sp_f1.g1": "sp_g1", "sp_g2": "sp_f1.g2", "sp_f1.g2": "sp_f1.g2", "sp_f2.g1": "sp_f2.g1", "sp_f2.g2": ""} {
		p, _ := d.Place(mustID(t, asked))
		if p.Device.String() != want {
			t.Errorf("%s: %v, want %s", asked, p.Device, want)
		}
	}
	if _, ok := d.State(mustID(t, "sp_g2")); !ok {
		t.Error("no state by the other spelling")
	}
	if got := fmt.Sprint(d.Floors()); got != "[1 2]" {
		t.Errorf("floors %s", got)
	}
}

func TestTheStateIsTheNewestOfAllGateways(t *testing.T) {
	d := directory.New()
	for i := range 5 {
		hear(t, d, fmt.Sprintf("state/edge-f%d/sp_g1", i), json.RawMessage(fmt.Sprintf(`[{"n":"sp_g1/power","t":%d,"v":1}]`, 1790000000-(i-2)*(i-2))), true)
	}
	for range 100 { // the order of gateways is nobody's
		if s, ok := d.State(mustID(t, "sp_g1")); !ok || s.Gateway != "edge-f2" {
			t.Fatalf("%+v", s)
		}
	}
}

func TestMalformedMessagesChangeNothing(t *testing.T) {
	d := directory.New()
	site(t, d)
	place(t, d, "sp_g1")
	for topic, payload := range map[string]string{
		"registry/site": "x", "registry/places/sp_g1": `{"device":"sp_g2"}`, "registry/places/x": "{}", "registry/places/sp_g1/x": "{}",
		"registry/gateways/a": `{"gateway":"b"}`, "registry/gateways/": `{}`, "registry/gateways/a/b": `{"gateway":"a"}`,
		"gateways/a/status": `{"gateway":"b"}`, "gateways/status": `{}`, "gateways/b/status": "[]", "state/a": "[]", "state/a/x": "[]",
		"state/a/sp_g1": string(make([]byte, 9000)), "registry/others": string(make([]byte, 300<<10)),
		"registry/tokens/x": "x", "registry/tokens/y": `{"id":"x","hash":"` + strings.Repeat("0", 64) + `"}`, "registry/tokens/": `{"hash":"` + strings.Repeat("0", 64) + `"}`,
		"registry/tokens/a": `{"id":"a","hash":"00"}`, "registry/tokens/b": `{"id":"b","hash":"` + strings.Repeat("x", 64) + `"}`, "registry/tokens/c": `{"id":"c","hash":"` + strings.Repeat("0", 66) + `"}`,
	} {
		if err := d.Hear(bus.Message{Topic: topic, Payload: []byte(payload)}); !errors.Is(err, directory.ErrMalformed) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	if p := d.Places(); len(p) != 1 || p[0].Gateway != "edge-f1" || len(d.Gateways()) != 0 {
		t.Errorf("%v, %v", p, d.Gateways())
	}
	if err := d.Hear(bus.Message{Topic: "registry/others/x", Payload: []byte("x")}); err != nil {
		t.Errorf("a topic of others: %v", err)
	}
}

func TestTheDirectoryIsBounded(t *testing.T) {
	d := directory.New()
	full := 0
	for i := range 100_010 {
		if errors.Is(d.Hear(bus.Message{Topic: fmt.Sprintf("state/a/sp_g%d", i), Payload: []byte("[]")}), directory.ErrFull) {
			full++
		}
	}
	if full != 10 {
		t.Errorf("%d of 10 were refused", full)
	}
	if err := d.Hear(bus.Message{Topic: "state/a/sp_g1"}); err != nil {
		t.Error(err)
	}
	if err := d.Hear(bus.Message{Topic: "state/a/sp_g100005", Payload: []byte("[]")}); err != nil {
		t.Errorf("room was made and not used: %v", err)
	}
}

func FuzzHear(f *testing.F) {
	f.Add("registry/site", []byte(`{"name":"x","default_floor":1}`))
	f.Add("registry/places/sp_g1", []byte(`{"device":"sp_g1"}`))
	f.Add("gateways/a/status", []byte(`{"gateway":"a","online":true,"epoch":"0000000000000001"}`))
	f.Add("state/a/sp_g1", []byte(`[{"n":"sp_g1/power","t":1790000000,"v":1}]`))
	f.Fuzz(func(_ *testing.T, topic string, payload []byte) {
		d := directory.New()
		_ = d.Hear(bus.Message{Topic: topic, Payload: payload})
		for _, p := range d.Places() {
			d.State(p.Device)
		}
		d.Gateways()
	})
}
