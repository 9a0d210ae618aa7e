package shelly_test

import (
	"math"
	"testing"
	"unicode/utf8"

	"github.com/wattline/wattline/edge/drivers/shelly"
)

// Whatever a plug answers, what is read of it can be true.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"id":0,"source":"SHC","output":false,"apower":0.0,"voltage":238.3,"freq":50.0,"current":0.000,"aenergy":{"total":2690.730,"by_minute":[0.0,0.0,0.0],"minute_ts":1788945300},"temperature":{"tC":56.1,"tF":132.9}}`))
	f.Add([]byte(`{"id":0,"output":"on","apower":"NaN","voltage":1e999,"current":-1,"aenergy":[]}`))
	f.Add([]byte(`{"id":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, result []byte) {
		m, err := shelly.ParseStatus(result, shelly.MaxPower)
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		within := func(what string, x *float64, lowest, highest float64) {
			if x != nil && !(*x >= lowest && *x <= highest) || x != nil && math.Signbit(*x) {
				t.Errorf("%s %v", what, *x)
			}
		}
		within("power", (*float64)(m.Power), 0, float64(shelly.MaxPower))
		within("voltage", (*float64)(m.Voltage), 80, 300)
		within("current", (*float64)(m.Current), 0, 20)
		within("energy", (*float64)(m.Energy), 0, 1e9)
		for _, s := range m.Suspects {
			if len(s.Raw) > 300 || !utf8.ValidString(s.Raw) {
				t.Errorf("suspect %q", s.Raw)
			}
		}
	})
}

// Whoever is accepted can be told from every other plug.
func FuzzInfo(f *testing.F) {
	f.Add([]byte(`{"name":null,"id":"shellyplusplugs-a8032abe54dc","mac":"A8032ABE54DC","model":"SNPL-00112EU","gen":2,"ver":"1.4.4","auth_en":false}`))
	f.Add([]byte(`{"id":7,"mac":[],"gen":"2"}`))
	f.Fuzz(func(t *testing.T, result []byte) {
		i, err := shelly.ParseInfo(result)
		if err == nil && (len(i.MAC) != 17 || i.DeviceID == "" || len(i.DeviceID) > 64 || len(i.Model) > 200 || !utf8.ValidString(i.Model+i.Firmware)) {
			t.Errorf("%+v", i)
		}
	})
}
