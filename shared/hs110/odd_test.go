package hs110_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

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
