package hs110_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// script is a plug that answers every question with the same bytes and closes.
type script struct {
	listener net.Listener
	wg       sync.WaitGroup
	asked    atomic.Int64
}

func newScript(t *testing.T, answer []byte) *script {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{listener: l}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := hs110.ReadFrame(c, nil); err == nil {
				s.asked.Add(1)
				_, _ = c.Write(answer)
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.wg.Wait() })
	return s
}

func (s *script) client(t *testing.T) *hs110.Client {
	t.Helper()
	return mustClient(t, s.listener.Addr().String(), hs110.Options{Timeout: time.Second})
}

func TestPollReadsEachModel(t *testing.T) {
	type status struct {
		Version, DeviceID, MAC, Alias string
		Meter                         bool
		On                            *bool
		OnTime                        time.Duration
		RSSI                          int
		hs110.Realtime
	}
	for file, want := range map[string]status{
		"HS110-EU_hw1.0_fw1.2.6": {
			"1.2.6", "8006A1B2C3D4E5F60718293A4B5C6D7E8F901234", "50:C7:BF:0A:1B:2C", "Kaffeeküche ☕",
			true, new(true), 86461 * time.Second, -58,
			hs110.Realtime{
				Power: new(device.Watts(58.017664)), Voltage: new(device.Volts(232.114957)),
				Current: new(device.Amperes(0.272311)), Energy: new(device.WattHours(12345)),
			},
		},
		"HS110-EU_hw2.0_fw1.5.7": {
			"1.5.7", "8006A1B2C3D4E5F60718293A4B5C6D7E8F901235", "B0:95:75:0A:1B:2D", "",
			true, new(false), 0, -71,
			hs110.Realtime{
				Power: new(device.Watts(0)), Voltage: new(device.Volts(231.877)),
				Current: new(device.Amperes(0)), Energy: new(device.WattHours(0)),
			},
		},
		"HS110-EU_hw4.1_fw1.0.4": {
			"1.0.4", "8006A1B2C3D4E5F60718293A4B5C6D7E8F901236", "68:FF:7B:0A:1B:2E", "会議室 2",
			true, new(true), -1, -44,
			hs110.Realtime{
				Power: new(device.Watts(287.441)), Voltage: new(device.Volts(229.65)),
				Current: new(device.Amperes(1.312)), Energy: new(device.WattHours(70911)),
			},
		},
		"HS100-EU_hw1.0_fw1.2.5": {
			"1.2.5", "8006A1B2C3D4E5F60718293A4B5C6D7E8F901237", "70:4F:57:0A:1B:2F", "Lamp",
			false, new(false), 0, -60,
			hs110.Realtime{},
		},
		"HS300-US_hw1.0_fw1.0.10": {
			"1.0.10", "8006A1B2C3D4E5F60718293A4B5C6D7E8F901238", "B0:95:75:0A:1B:30", "Strip",
			true, nil, -1, -50,
			hs110.Realtime{
				Power: new(device.Watts(9.341)), Voltage: new(device.Volts(120.733)), Energy: new(device.WattHours(401)),
				Suspects: []device.Suspect{{Field: "current", Raw: "current_ma=41124"}},
			},
		},
	} {
		t.Run(file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("testdata", file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := newScript(t, hs110.AppendFrame(nil, body)).client(t).Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := status{s.Version(), s.DeviceID, s.MAC, s.Alias, s.HasMeter(), s.On, s.OnTime, s.RSSI, s.Realtime}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if got := errors.Is(s.MeterErr, hs110.ErrNoMeter); got == want.Meter {
				t.Errorf("meter error %v", s.MeterErr)
			}
		})
	}
}

const (
	goodInfo  = `"system":{"get_sysinfo":{"feature":"TIM:ENE","relay_state":1,"err_code":0}}`
	goodMeter = `"emeter":{"get_realtime":{"voltage_mv":230000,"current_ma":100,"power_mw":20000,"total_wh":5,"err_code":0}}`
)

func TestRealtimeJudgesEachFieldAlone(t *testing.T) {
	w, v, a, wh := new(device.Watts(20)), new(device.Volts(230)), new(device.Amperes(0.1)), new(device.WattHours(5))
	suspect := func(field, raw string) []device.Suspect { return []device.Suspect{{Field: field, Raw: raw}} }
	for name, c := range map[string]struct {
		fields string
		want   hs110.Realtime
	}{
		"nothing":                 {`"err_code":0`, hs110.Realtime{}},
		"power alone":             {`"power_mw":20000`, hs110.Realtime{Power: w}},
		"no err_code":             {`"power":20`, hs110.Realtime{Power: w}},
		"old and new keys":        {`"voltage":230,"current_ma":100,"power":20.0,"total_wh":5`, hs110.Realtime{w, v, a, wh, nil}},
		"new and old keys":        {`"voltage_mv":230000,"current":0.1,"power_mw":20000,"total":0.005`, hs110.Realtime{w, v, a, wh, nil}},
		"exponents":               {`"voltage":2.3e2,"power_mw":2E+4,"total":5e-3`, hs110.Realtime{w, v, nil, wh, nil}},
		"fractions of milli":      {`"power_mw":20000.0,"current_ma":1.0e2`, hs110.Realtime{Power: w, Current: a}},
		"null is absent":          {`"power_mw":null,"current_ma":100`, hs110.Realtime{Current: a}},
		"null before the old key": {`"power_mw":null,"power":20`, hs110.Realtime{Power: w}},
		"a counter of 1 GWh":      {`"total_wh":1000000001`, hs110.Realtime{Suspects: suspect("energy", "total_wh=1000000001")}},
		"a spike":                 {`"voltage_mv":230000,"power_mw":13842000000,"total_wh":5`, hs110.Realtime{Voltage: v, Energy: wh, Suspects: suspect("power", "power_mw=13842000000")}},
		"a spike at low voltage":  {`"voltage":100,"power":1921`, hs110.Realtime{Voltage: new(device.Volts(100)), Suspects: suspect("power", "power=1921")}},
		"full load":               {`"voltage_mv":230000,"power_mw":3680000`, hs110.Realtime{Voltage: v, Power: new(device.Watts(3680))}},
		"negative power":          {`"power":-0.5`, hs110.Realtime{Suspects: suspect("power", "power=-0.5")}},
		"negative zero":           {`"power":-0.0`, hs110.Realtime{Power: new(device.Watts(0))}},
		"negative energy":         {`"total":-1`, hs110.Realtime{Suspects: suspect("energy", "total=-1")}},
		"low voltage":             {`"voltage":0.9`, hs110.Realtime{Suspects: suspect("voltage", "voltage=0.9")}},
		"high voltage":            {`"voltage_mv":300001`, hs110.Realtime{Suspects: suspect("voltage", "voltage_mv=300001")}},
		"high current":            {`"current_ma":41124,"power_mw":20000`, hs110.Realtime{Power: w, Suspects: suspect("current", "current_ma=41124")}},
		"a text":                  {`"power_mw":"20000","total_wh":5`, hs110.Realtime{Energy: wh, Suspects: suspect("power", `power_mw="20000"`)}},
		"an object":               {`"power_mw":{"a":[1]},"total_wh":5`, hs110.Realtime{Energy: wh, Suspects: suspect("power", `power_mw={"a":[1]}`)}},
		"no float64":              {`"power_mw":1e999,"total_wh":5`, hs110.Realtime{Energy: wh, Suspects: suspect("power", "power_mw=1e999")}},
		"a long text":             {`"power_mw":"` + strings.Repeat("ä", 500) + `"`, hs110.Realtime{Suspects: suspect("power", `power_mw="`+strings.Repeat("ä", 31)+"\uFFFD")}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := hs110.ReadAnswer([]byte(`{` + goodInfo + `,"emeter":{"get_realtime":{` + c.fields + `}}}`))
			if err != nil || s.MeterErr != nil {
				t.Fatalf("%v, %v", err, s.MeterErr)
			}
			if diff := cmp.Diff(c.want, s.Realtime); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestInfoDatagram(t *testing.T) {
	body, err := hs110.DecodeDatagram(hs110.InfoDatagram())
	if err != nil || string(body) != `{"system":{"get_sysinfo":{}}}` {
		t.Errorf("%q, %v", body, err)
	}
	i, err := hs110.ParseInfoDatagram(hs110.AppendDatagram(nil, []byte(`{`+goodInfo+`}`)))
	if err != nil || !i.HasMeter() {
		t.Errorf("%+v, %v", i, err)
	}
	for _, bad := range []string{"", "x", "{}", `{"system":{"get_sysinfo":{"err_code":-1}}}`} {
		if _, err := hs110.ParseInfoDatagram(hs110.AppendDatagram(nil, []byte(bad))); !errors.Is(err, hs110.ErrNotPlug) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCanonicalMAC(t *testing.T) {
	for in, want := range map[string]string{
		"50:C7:BF:0A:1B:2C": "50:C7:BF:0A:1B:2C", "50c7bf0a1b2c": "50:C7:BF:0A:1B:2C", "50-c7-BF-0a-1b-2c": "50:C7:BF:0A:1B:2C",
		"": "", "50:C7:BF:0A:1B": "", "50:C7:BF:0A:1B:2C:3D": "", "50:C7:BF:0A:1B:2G": "", "::::::": "",
		"5:0C7:BF:0A:1B:2C": "", "50::C7BF0A1B2C": "", "50C7BF0A1B2C:": "", ":50C7BF0A1B2C": "",
	} {
		if got, ok := hs110.CanonicalMAC(in); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, ok, want)
		}
	}
}
