package registry_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func plugA(change func(*contract.FoundPlug)) contract.FoundPlug {
	p := contract.FoundPlug{
		DeviceID: idA, MAC: macA, Driver: "hs110", Model: "HS110(EU)", Hardware: "2.0", Firmware: "1.5.4", Address: "10.0.0.9:9999",
		Seen: device.MicrosOf(time.Now().Add(-time.Second)),
	}
	if change != nil {
		change(&p)
	}
	return p
}

func (o *office) find(gateway string, plugs ...contract.FoundPlug) (changed bool) {
	o.t.Helper()
	changed, err := o.Found(gateway, contract.Found{Gateway: gateway, Plugs: plugs})
	if err != nil {
		o.t.Fatal(err)
	}
	return changed
}

func TestAFoundPlugIsListedAndPlaced(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{}`)
	o.find("f1", plugA(nil))
	if free, _ := o.list("plugs", 10, map[string]string{"placed": "no", "gateway": "f1"}); len(free) != 1 || free[0]["address"] != "10.0.0.9" {
		t.Errorf("free %v", free)
	}
	p := o.do("places", "plug", "sp_f1.g0", `{"plug":"ac-84-c6-59-d9-a1"}`)
	if p["device_id"] != idA || p["mac"] != macA || p["address"] != "10.0.0.9" {
		t.Errorf("placed %v", p)
	}
	o.reopen()
	if plug := o.do("plugs", "get", idA, ""); plug["device"] != "sp_f1.g0" || plug["firmware"] != "1.5.4" {
		t.Errorf("plug %v", plug)
	}
	o.refused(contract.Conflict, "plugs", "delete", macA, "", "sp_f1.g0")
	o.do("places", "unplug", "sp_f1.g0", "")
	o.do("plugs", "delete", macA, "")
	if all, _ := o.list("plugs", 10, nil); len(all) != 0 {
		t.Errorf("forgotten, and yet %v", all)
	}
}

func TestAPlugIsFollowedByItsOwnGatewayOnly(t *testing.T) {
	var o *office
	address := func() string { return fmt.Sprint(o.do("places", "get", "sp_f1.g0", "")["address"]) }
	for name, c := range map[string]struct {
		gateway string
		plug    contract.FoundPlug
	}{
		"another gateway":   {"f2", plugA(nil)},
		"a vanished plug":   {"f1", plugA(func(p *contract.FoundPlug) { p.Problem = "vanished" })},
		"no address":        {"f1", plugA(func(p *contract.FoundPlug) { p.Address = "a b" })},
		"another identity":  {"f1", plugA(func(p *contract.FoundPlug) { p.DeviceID, p.MAC = idB, macB })},
		"an unknown box":    {"f9", plugA(nil)},
		"no identity":       {"f1", plugA(func(p *contract.FoundPlug) { p.DeviceID, p.MAC = "", "zz" })},
		"its own port said": {"f1", plugA(func(p *contract.FoundPlug) { p.DeviceID, p.Address = "", "10.0.0.1:9999" })},
	} {
		o = newOffice(t)
		o.do("places", "create", "sp_f1.g0", `{"address":"10.0.0.1","mac":"`+macA+`"}`)
		if o.find(c.gateway, c.plug); address() != "10.0.0.1" {
			t.Errorf("%s: followed to %s", name, address())
		}
	}
	if !o.find("f1", plugA(nil)) || address() != "10.0.0.9" {
		t.Errorf("not followed: %s", address())
	}
	if p := o.do("places", "get", "sp_f1.g0", ""); p["device_id"] != idA {
		t.Errorf("the rest of the identity is not known: %v", p)
	}
	if o.find("f1", plugA(nil)) {
		t.Error("the same again is a change")
	}
	if got := o.audited(map[string]string{"who": "gateway f1"}); len(got) == 0 || got[0] != "follow plug sp_f1.g0" {
		t.Errorf("audited %v", got)
	}
}

func TestAPlaceWhosePlugWasFoundNeedsNoAddress(t *testing.T) {
	o := newOffice(t)
	o.find("f1", plugA(nil))
	if a := o.imports(false, "csv", "device,mac\nsp_f1.g0,"+macA+"\n"); a.Problem != nil {
		t.Fatal(a.Problem)
	}
	if p := o.do("places", "get", "sp_f1.g0", ""); p["address"] != "10.0.0.9" {
		t.Errorf("placed %v", p)
	}
	o.do("places", "delete", "sp_f1.g0", "")
	o.do("places", "create", "sp_f1.g1", `{"address":"10.0.0.9"}`) // whichever plug that is
	if p := o.do("places", "create", "sp_f1.g0", `{"mac":"`+macA+`"}`); p["address"] != "" {
		t.Errorf("with the address of another place: %v", p)
	}
	if p := o.do("places", "create", "sp_f2.g0", `{"device_id":"`+idA+`"}`); p["address"] != "" {
		t.Errorf("with an address of another gateway: %v", p)
	}
}

func TestASilentGatewayIsOffline(t *testing.T) {
	o := newOffice(t)
	synctest.Test(t, func(t *testing.T) {
		online := func() any { return o.do("gateways", "get", "f1", "")["online"] }
		o.Hear("f9", contract.Status{Gateway: "f9", Online: true})
		o.Hear("f1", contract.Status{Gateway: "f1", Online: true, Epoch: 7, Version: "1.0"})
		o.Hear("f1", contract.Status{Gateway: "f1", Epoch: 6}) // the will of an earlier run
		if online() != true {
			t.Error("offline by an earlier run's will")
		}
		time.Sleep(31 * time.Second)
		if online() != false {
			t.Error("online after half a minute of silence")
		}
		o.Hear("f1", contract.Status{Gateway: "f1", Online: true, Epoch: 7, Version: "1.0"})
		o.Hear("f1", contract.Status{Gateway: "f1", Epoch: 7})
		if g := o.do("gateways", "get", "f1", ""); g["online"] != false || g["version"] != "1.0" {
			t.Errorf("after its will %v", g)
		}
	})
}

func TestNewFirmwareIsAudited(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{"address":"10.0.0.9","mac":"`+macA+`","device_id":"`+idA+`"}`)
	for _, firmware := range []string{"1.5.4", "1.5.4", "", "1.5.6\n\xff", "1.5.6"} {
		o.find("f1", plugA(func(p *contract.FoundPlug) { p.Firmware = firmware }))
	}
	all, _ := o.list("audit", 10, map[string]string{"what": "firmware changed"})
	if len(all) != 1 || all[0]["object"] != idA || all[0]["detail"] != "1.5.4 → 1.5.6, at sp_f1.g0" {
		t.Errorf("audited %v", all)
	}
}

func TestWhatIsOnlySeenAgainIsNotWritten(t *testing.T) {
	o := newOffice(t)
	o.find("f1", plugA(nil))
	file := filepath.Join(o.dir, "registry", "registry.db")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := device.MicrosOf(time.Now())
	for range 100 {
		o.find("f1", plugA(func(p *contract.FoundPlug) { p.Seen = seen }))
		o.Hear("f1", contract.Status{Gateway: "f1", Online: true, Version: "1"})
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the file was written: %v", err)
	}
	got := o.do("plugs", "get", idA, "")["seen"]
	o.reopen() // saved at the end
	if want := o.do("plugs", "get", idA, "")["seen"]; got != want || got == nil {
		t.Errorf("last seen %v, before the restart %v", want, got)
	}
}

func TestAGatewayThatInventsPlugsIsBounded(t *testing.T) {
	o := newOffice(t)
	plugs := make([]contract.FoundPlug, contract.MaxFound+100)
	for round := range 3 {
		for n := range plugs {
			plugs[n] = plugA(func(p *contract.FoundPlug) {
				p.DeviceID, p.MAC = fmt.Sprintf("%040X", round*10_000+n), ""
				p.Model = string(make([]byte, 10_000))
			})
		}
		o.find("f1", plugs...)
	}
	all, _ := o.list("plugs", 1000, nil)
	if len(all) > contract.MaxFound+10 {
		t.Errorf("%d plugs are remembered", len(all))
	}
	if o.find("f2", plugA(nil)); o.ask("plugs", "get", idA, "").Problem != nil {
		t.Error("there is no room for what another gateway sees")
	}
}

// FuzzRequest gives the registry what anybody may send it.
func FuzzRequest(f *testing.F) {
	f.Add("places", `{"verb":"create","key":"sp_f1.g0","content":{"label":"x","max_power_w":1e309}}`)
	f.Add("places", `{"verb":"list","filter":{"floor":"1,x"},"cursor":"sp_g0","limit":-1}`)
	f.Add("gateways", `{"verb":"change","key":"f1","content":{"discovery":null}}`)
	f.Add("inventory", `{"verb":"import","content":{"format":"csv","text":"device\nsp_f1.g0"}}`)
	f.Add("plugs", `{"verb":"delete","key":"AC:84:C6:59:D9:A1"}`)
	f.Fuzz(func(t *testing.T, resource, request string) {
		var r contract.RegistryRequest
		if json.Unmarshal([]byte(request), &r) != nil {
			return
		}
		o := newOffice(t)
		a := o.Answer(t.Context(), resource, r)
		if a.Problem == nil && len(a.Content) > 0 && !json.Valid(a.Content) {
			t.Errorf("%s %s: %s", resource, request, a.Content)
		}
		before := o.export()
		if o.reopen(); o.export() != before {
			t.Errorf("%s %s: another registry after a restart", resource, request)
		}
	})
}
