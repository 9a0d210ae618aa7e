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

func TestPollOfOddAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		class  error // nil: sysinfo is read
		reason string
		meter  error
	}{
		"no JSON":                {`hello`, hs110.ErrNotPlug, "garbage", nil},
		"cut JSON":               {`{"system":{"get_sysinfo":{"relay_state":1`, hs110.ErrNotPlug, "garbage", nil},
		"a list":                 {`[]`, hs110.ErrNotPlug, "unsupported", nil},
		"an empty object":        {`{}`, hs110.ErrNotPlug, "unsupported", nil},
		"an empty system":        {`{"system":{}}`, hs110.ErrNotPlug, "unsupported", nil},
		"a system of null":       {`{"system":null}`, hs110.ErrNotPlug, "unsupported", nil},
		"NaN":                    {`{` + goodInfo + `,"emeter":{"get_realtime":{"power":NaN}}}`, hs110.ErrNotPlug, "garbage", nil},
		"deep":                   {strings.Repeat(`{"system":`, 5000), hs110.ErrNotPlug, "garbage", nil},
		"system refused":         {`{"system":{"err_code":-1,"err_msg":"x"}}`, hs110.ErrRejected, "unsupported", nil},
		"sysinfo refused":        {`{"system":{"get_sysinfo":{"err_code":-7}}}`, hs110.ErrRejected, "unsupported", nil},
		"an odd err_code":        {`{"system":{"err_code":"no"}}`, hs110.ErrNotPlug, "garbage", nil},
		"meter module refused":   {`{` + goodInfo + `,"emeter":{"err_code":-1,"err_msg":"module not support"}}`, nil, "", hs110.ErrNoMeter},
		"meter member refused":   {`{` + goodInfo + `,"emeter":{"get_realtime":{"err_code":-2}}}`, nil, "", hs110.ErrNoMeter},
		"meter of a bulb":        {`{` + goodInfo + `,"emeter":{"err_code":-2001}}`, nil, "", hs110.ErrNoMeter},
		"meter in trouble":       {`{` + goodInfo + `,"emeter":{"get_realtime":{"err_code":-7}}}`, nil, "", hs110.ErrRejected},
		"no meter in the answer": {`{` + goodInfo + `}`, nil, "", hs110.ErrNotPlug},
		"unknown keys":           {`{"x":[1],` + goodInfo + `,"emeter":{"get_realtime":{"y":{}}}}`, nil, "", nil},
		"alias of a number":      {`{"system":{"get_sysinfo":{"alias":7,"relay_state":1}},` + goodMeter + `}`, nil, "", nil},
		"a broken alias":         {"{\"system\":{\"get_sysinfo\":{\"alias\":\"a\xff\",\"relay_state\":1}}," + goodMeter + "}", nil, "", nil},
		"space around":           {" \n{" + goodInfo + "," + goodMeter + "}\n", nil, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			sc := newScript(t, hs110.AppendFrame(nil, []byte(c.body)))
			s, err := sc.client(t).Poll(t.Context())
			if !errors.Is(err, c.class) || reason(err) != c.reason {
				t.Errorf("got %v (%s), want %v (%s)", err, reason(err), c.class, c.reason)
			}
			if err == nil && (s.On == nil || !*s.On) {
				t.Error("the relay was not read")
			}
			if !errors.Is(s.MeterErr, c.meter) {
				t.Errorf("meter: %v, want %v", s.MeterErr, c.meter)
			}
			if got := sc.asked.Load(); got != 1 {
				t.Errorf("asked %d times, want 1: an answer is an answer", got)
			}
		})
	}
}

func TestRelayThatIsNeitherOnNorOff(t *testing.T) {
	for raw, want := range map[string]string{"2": "relay_state=2", `"1"`: `relay_state="1"`, "0.5": "relay_state=0.5"} {
		body := `{"system":{"get_sysinfo":{"relay_state":` + raw + `}},` + goodMeter + `}`
		s, err := newScript(t, hs110.AppendFrame(nil, []byte(body))).client(t).Poll(t.Context())
		if err != nil || s.On != nil {
			t.Fatalf("%v, %v", s.On, err)
		}
		if diff := cmp.Diff([]device.Suspect{{Field: "status", Raw: want}}, s.Suspects); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}

func TestStatisticsWithOddEntries(t *testing.T) {
	body := `{"emeter":{"get_daystat":{"day_list":[
		{"year":2026,"month":2,"day":1,"energy_wh":321},{"year":2026,"month":2,"day":2,"energy":0.404},
		{"year":2026,"month":2,"day":3,"energy_wh":13842000},{"year":2026,"month":2,"day":4,"energy":-1},
		{"year":2026,"month":13,"day":5,"energy_wh":1},{"year":2026,"month":2,"day":32,"energy_wh":1},
		{"year":"2026","month":2,"day":6,"energy_wh":1},{"year":2026,"month":2,"day":7},{}],"err_code":0}}}`
	s, err := newScript(t, hs110.AppendFrame(nil, []byte(body))).client(t).DayStat(t.Context(), 2026, time.February)
	want := hs110.Stat{
		Entries: []hs110.DayEnergy{{2026, 2, 1, 321}, {2026, 2, 2, 404}},
		Suspects: []device.Suspect{
			{Field: "energy", Raw: "energy_wh=13842000"}, {Field: "energy", Raw: "energy=-1"},
		},
	}
	if diff := cmp.Diff(want, s); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
}

func TestClockThatMakesNoSense(t *testing.T) {
	for _, fields := range []string{
		``, `"year":2026,"month":13,"mday":1,"hour":0,"min":0,"sec":0`, `"year":"2026","month":1,"mday":1,"hour":0,"min":0,"sec":0`,
	} {
		body := `{"time":{"get_time":{` + fields + `}}}`
		if got, err := newScript(t, hs110.AppendFrame(nil, []byte(body))).client(t).Time(t.Context(), time.UTC); !errors.Is(err, hs110.ErrNotPlug) {
			t.Errorf("%s: %v, %v", fields, got, err)
		}
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

// What a robust client does with replies that were made to break it; the
// collection of them is not part of the project.
func TestRepliesOfACollection(t *testing.T) {
	var frames []struct {
		Name string
		TCP  string `json:"tcp_hex"`
	}
	mustCollection(t, "bad-frames.json", &frames)
	want := map[string]struct {
		reason string
		asked  int64
	}{
		"closed-without-reply": {"silent", 2}, "short-header": {"silent", 2}, "truncated-body": {"silent", 2},
		"length-zero": {"garbage", 1}, "length-huge": {"garbage", 1}, "length-negative": {"garbage", 1}, "http-instead": {"garbage", 1},
		"trailing-garbage": {"", 1}, "not-json": {"garbage", 1}, "broken-json": {"garbage", 1},
		"empty-object": {"unsupported", 1}, "empty-system": {"unsupported", 1},
		"module-not-support": {"unsupported", 1}, "member-not-support": {"unsupported", 1}, "one-module-fails": {"unsupported", 1},
		"power-spike": {"", 1}, "counter-reset": {"", 1}, "float-in-int-field": {"", 1}, "mixed-units": {"", 1}, "missing-voltage": {"", 1},
		"negative-on-time": {"unsupported", 1}, "bad-utf8-alias": {"unsupported", 1}, // these hold no meter
	}
	for _, f := range frames {
		t.Run(f.Name, func(t *testing.T) {
			w, ok := want[f.Name]
			if !ok {
				t.Skip("no expectation")
			}
			sc := newScript(t, mustHex(t, f.TCP))
			rt, err := sc.client(t).Realtime(t.Context())
			if reason(err) != w.reason || sc.asked.Load() != w.asked {
				t.Errorf("got %+v, %v (%s) after %d questions, want %q after %d", rt, err, reason(err), sc.asked.Load(), w.reason, w.asked)
			}
			if f.Name == "power-spike" && (rt.Power != nil || len(rt.Suspects) != 1) {
				t.Errorf("the spike came through: %+v", rt)
			}
			if f.Name == "missing-voltage" && (rt.Voltage != nil || rt.Current != nil || rt.Power == nil) {
				t.Errorf("got %+v", rt)
			}
		})
	}
}

// Dumps of real devices; the collection of them is not part of the project.
func TestDumpsOfRealDevices(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/data/hs110/python-kasa__*.json")
	if len(files) == 0 {
		t.Skip("the collection of dumps is not beside the repository")
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			body, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := hs110.ReadAnswer(body)
			if err != nil {
				t.Fatal(err)
			}
			if s.MAC == "" || len(s.DeviceID) != 40 || s.RSSI >= 0 || s.Model == "" || s.Hardware == "" {
				t.Errorf("%+v", s.Info)
			}
			if s.HasMeter() && (s.Power == nil || s.Voltage == nil || s.Current == nil || s.Energy == nil || s.Suspects != nil) {
				t.Errorf("%+v, %v", s.Realtime, s.MeterErr)
			}
		})
	}
}
