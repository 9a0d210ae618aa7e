package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// begin is when the readings of the agent begin: POSIX seconds, in 2020.
const begin = 1593599018

// agentData is what sp_data of the original published, in all its forms, and
// what another agent of a new kind of device may.
var agentData = []struct{ topic, payload string }{
	{"data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_w.r7.c0/power","bu":"W","t":1593599018.0395682,"v":0}]}`},
	{"data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_w.r7.c0/power","bu":"W","t":1593599023,"v":10.4},{"bn":"sp_w.r7.c0/status","bu":"S","t":1593599023,"v":1}]}`},
	{"data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_w.r7.c1/power","bu":"W","t":1593599023.5,"v":120.1},{"bn":"sp_w.r7.c1/status","bu":"S","t":1593599023.5,"v":0}]}`},
	{"data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_","bt":1593599028,"bu":"W","n":"w.r7.c0/power","v":20},{"n":"g7/power","v":7},{"n":"m2/power","v":5}]}`},
	{"data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_g7/status","bu":"S","t":1593599028,"v":1}]}`},
	{"data/sp_data/influx_data", `{"data":[{"bn":"sp_p7/power","bu":"W","t":1593599028,"v":300}]}`},
	{"data/amazon_devices/influx_data/alexa", `{"data":[{"n":"alexa_x2/volume","u":"dB","t":1593599028,"v":44}]}`},
	{"data/amazon_devices/influx_data/alexa", `{"data":[{"n":"echo-dot_x.r1.c0/volume","u":"dB","t":1593599028,"v":45}]}`},
}

// record is one element of an answer, as the real client reads it.
type record struct {
	Base string   `json:"bn"`
	Name string   `json:"n"`
	Unit string   `json:"u"`
	Time float64  `json:"t"`
	V    *float64 `json:"v"`
}

// question is a row: what is asked, and the values of the answer behind the
// base record, as name, time since begin, value.
type question struct {
	path   string // below /api/out/influx_query/
	status int
	values string
	words  []string
}

var questions = map[string]question{
	"real client: one device between two times":         {path: "sp/power?id=sp_w.r7.c0&from=1593599018&to=1593599030", values: "+0.039568=0 +5=10.4 +10=20"},
	"an id without sp_":                                 {path: "sp/power?id=w.r7.c0&from=1593599018&to=1593599030", values: "+0.039568=0 +5=10.4 +10=20"},
	"limits are inclusive":                              {path: "sp/power?id=sp_w.r7.c0&from=1593599023&to=1593599028", values: "+5=10.4 +10=20"},
	"limits with fractions":                             {path: "sp/power?id=sp_w.r7.c0&from=1593599018.2041745&to=1593599023.2041745", values: "+5=10.4"},
	"limits in RFC 3339":                                {path: "sp/power?id=sp_w.r7.c0&from=2020-07-01T10:23:43Z&to=2020-07-01T10:23:43.5Z", values: "+5=10.4"},
	"a type; records of several devices have names":     {path: "sp/power?type=g&to=1593599100", values: "sp_g7/power+10=7"},
	"an older type, which the original's query refuses": {path: "sp/power?type=m&to=1593599100", values: "sp_m2/power+10=5"},
	"type, row and times": {
		path: "sp/power?type=w&row=7&from=1593599018&to=1593599030", values: "sp_w.r7.c0/power+0.039568=0 sp_w.r7.c0/power+5=10.4 sp_w.r7.c1/power+5.5=120.1 sp_w.r7.c0/power+10=20",
	},
	"a column":                   {path: "sp/power?row=7&column=1&to=1593599100", values: "sp_w.r7.c1/power+5.5=120.1"},
	"sum of a type since a time": {path: "sp/power?operation=sum&type=w&from=1593599018&to=1593599100", values: "+0=150.5"},
	"median of a type and row between two times": {path: "sp/power?operation=median&type=w&row=7&from=1593599018&to=1593599100", values: "+0=15.2"},
	"median of status":                           {path: "sp/status?operation=median&type=g&from=1593599018&to=1593599100", values: "+0=1"},
	"sum of status of one device":                {path: "sp/status?operation=sum&id=sp_w.r7.c1&from=1593599018&to=1593599100", values: "+0=0"},
	"status of one device":                       {path: "sp/status?id=sp_w.r7.c0&to=1593599100", values: "+5=1"},
	"operations in any case":                     {path: "sp/power?operation=MEAN&id=sp_w.r7.c0&from=1593599020&to=1593599100", values: "+2=15.2"},
	"a selector gives the point's own time":      {path: "sp/power?operation=max&id=sp_w.r7.c0&to=1593599100", values: "+10=20"},
	"percentile, here with n":                    {path: "sp/power?operation=percentile&n=50&id=sp_w.r7.c0&to=1593599100", values: "+5=10.4"},
	"top, here with n":                           {path: "sp/power?operation=top&n=2&id=sp_w.r7.c0&to=1593599100", values: "+5=10.4 +10=20"},
	"no match: the base record alone":            {path: "sp/power?id=sp_w.r99.c0", values: ""},
	"data without a database level goes to sp":   {path: "sp/power?id=sp_p7&to=1593599100", values: "+10=300"},
	"the database is the topic's fourth level":   {path: "alexa/volume?id=alexa_x2", values: "+10=44"},
	"a device type with a dash, here":            {path: "alexa/volume?id=echo-dot_x.r1.c0", values: "+10=45"},
	"a trailing slash":                           {path: "sp/power/?id=sp_g7&to=1593599100", values: "+10=7"},
	"errors are answered at once, all of them, here": {
		path: "sp/power?operation=sumo&type=W&id=a'b&row=x&column=y&from=yesterday&to=now&floor=one&nonsense=1", status: http.StatusBadRequest,
		words: []string{"operation", "type", "id", "row", "column", "from", "to", "floor", "nonsense", "sum"},
	},
	"a measurement that is none of InfluxDB's names": {path: "sp/po%20wer", status: http.StatusBadRequest, words: []string{"measurement"}},
	"percentile without n":                           {path: "sp/power?operation=percentile", status: http.StatusBadRequest, words: []string{"percentile", "n:"}},
	"the component without database and measurement": {path: "", status: http.StatusBadRequest, words: []string{"topic:"}},
}

func testAsking(t *testing.T, s *site) {
	s.storeAgentData(t)
	for name, q := range questions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.rest("/api/out/influx_query/" + q.path)
			want := q.status
			if want == 0 {
				want = http.StatusOK
			}
			if got.status != want {
				t.Fatalf("%v, want %d", got, want)
			}
			for _, w := range q.words {
				if !strings.Contains(got.body, w) {
					t.Errorf("%s is not in %v", w, got)
				}
			}
			if want == http.StatusOK {
				if values := valuesOf(t, got, 1); values != q.values {
					t.Errorf("values %q, want %q\n%v", values, q.values, got)
				}
			}
		})
	}
	t.Run("all seventeen operations", func(t *testing.T) {
		for op := range strings.FieldsSeq("count distinct integral mean median mode spread stddev sum bottom first last max min percentile sample top") {
			path := "/api/out/influx_query/sp/power?id=sp_w.r7.c0&to=1593599100&operation=" + op
			if strings.Contains("bottom percentile sample top", op) {
				path += "&n=50"
			}
			if got := s.rest(path); got.status != http.StatusOK || valuesOf(t, got, 1) == "" {
				t.Errorf("%s: %v", op, got)
			}
		}
	})
}

// storeAgentData publishes what agents send and waits until the last is stored.
func (s *site) storeAgentData(t *testing.T) {
	t.Helper()
	link := s.client("sp_data", nil)
	for _, d := range agentData {
		s.publish(link, d.topic, d.payload)
	}
	for _, path := range []string{"alexa/volume?id=echo-dot_x.r1.c0", "sp/power?id=sp_p7"} {
		eventually(t, 20*time.Second, "the agents' data is stored", func() bool {
			return strings.Contains(s.rest("/api/out/influx_query/"+path).body, `"v"`)
		})
	}
}

// valuesOf reads an answer as the real client does: it drops the first record.
// perSecond is the unit of its times.
func valuesOf(t *testing.T, a answer, perSecond float64) string {
	t.Helper()
	var records []record
	a.into(t, &records)
	if len(records) == 0 || records[0].V != nil {
		t.Fatalf("no base record first: %v", a)
	}
	var b strings.Builder
	for i, r := range records[1:] {
		if i > 0 {
			b.WriteByte(' ')
		}
		if r.V == nil {
			t.Fatalf("a record without v: %v", a)
		}
		at := strconv.FormatFloat(r.Time/perSecond-begin, 'f', 6, 64)
		fmt.Fprintf(&b, "%s+%s=%v", r.Name, strings.TrimSuffix(strings.TrimRight(at, "0"), "."), *r.V)
	}
	return b.String()
}

// testNanoseconds asks a second api of the site, which is told to be as the
// deployed version was: times in nanoseconds.
func testNanoseconds(t *testing.T, s *site) {
	s.startCloud("nanoseconds", "api", 8090, "iotoad: {nanoseconds: true}\n")
	var got answer
	eventually(t, 20*time.Second, "the second api answers", func() bool {
		got = fetch(http.MethodGet, "http://"+s.ip+":8090/api/out/influx_query/sp/power?id=sp_w.r7.c0&from=1593599018&to=1593599030", "")
		return got.status == http.StatusOK
	})
	if values, want := valuesOf(t, got, 1e9), "+0.039568=0 +5=10.4 +10=20"; values != want {
		t.Errorf("values %q, want %q: %v", values, want, got)
	}
	if !strings.Contains(got.body, `"t":1593599023000000000,`) {
		t.Errorf("no whole nanoseconds: %v", got)
	}
}

// testStoredForm looks at the points themselves, by InfluxQL: IoToad's
// dashboards read them without Wattline.
func testStoredForm(t *testing.T, s *site) {
	for name, c := range map[string]struct{ query, want string }{
		"a workplace": {`SELECT * FROM "power" WHERE "id" = 'sp_w.r7.c1'`, `["time","column","id","row","type","unit","value"],"values":[["2020-07-01T10:23:43.5Z","1","sp_w.r7.c1","7","w","W",120.1]]`},
		"a room":      {`SELECT * FROM "power" WHERE "id" = 'sp_g7'`, `["time","column","id","row","type","unit","value"],"values":[["2020-07-01T10:23:48Z",null,"sp_g7",null,"g","W",7]]`},
		"a status":    {`SELECT "value","unit" FROM "status" WHERE "id" = 'sp_w.r7.c0'`, `"values":[["2020-07-01T10:23:43Z",1,"S"]]`},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.influxQL(t, "sp", c.query)
			if !json.Valid([]byte(got.body)) || !strings.Contains(got.body, c.want) {
				t.Errorf("%s gives %v, want %s in it", c.query, got, c.want)
			}
		})
	}
}
