package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// oldPoints are points as IoToad's storing hook wrote them, in two of its
// databases. Those of the second week have integers: its agents sent what the plug
// said, and 1 is no float in Python. Some of the oldest lack tags, or the sp_.
const oldPoints = `power,id=sp_w.r1.c1,type=w,row=1,column=1,unit=W value=120.1 1593599018039568000
power,id=sp_w.r1.c1,type=w,row=1,column=1,unit=W value=80.5 1593599023000000000
power,id=sp_w.r2.c1,type=w,row=2,column=1,unit=W value=40 1593599023000000000
power,id=sp_g3,type=g,unit=W value=7.25 1593599023000000000
power,id=sp_m2,type=m,unit=W value=5.5 1593599023000000000
power,id=sp_p1 value=300.5 1593599023000000000
power,id=w.r9.c9,type=w,row=9,column=9,unit=W value=1.5 1593599023000000000
status,id=sp_w.r1.c1,type=w,row=1,column=1,unit=S value=1 1593599023000000000
power,id=sp_w.r1.c1,type=w,row=1,column=1,unit=W value=60i 1594598400000000000
status,id=sp_w.r1.c1,type=w,row=1,column=1,unit=S value=0i 1594598400000000000
status,id=sp_w.r1.c1,type=w,row=1,column=1,unit=S value=1i 1594598405000000000`

// oldInflux is IoToad's InfluxDB.
type oldInflux struct {
	*influxtest.Server
	t *testing.T
}

func (o oldInflux) post(path string, values url.Values, body string) string {
	o.t.Helper()
	user, password, _ := strings.Cut(o.Token, ":")
	values.Set("u", user)
	values.Set("p", password)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, o.URL+path+"?"+values.Encode(), strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	response, err := browser.Do(request)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= http.StatusBadRequest || strings.Contains(string(text), `"error"`) {
		o.t.Fatalf("%s %v: %s %s %v", path, values["q"], response.Status, text, err)
	}
	return string(text)
}

func (o oldInflux) query(q string) string {
	o.t.Helper()
	return o.post("/query", url.Values{"q": {q}}, "")
}

func (o oldInflux) write(database, lines string) {
	o.t.Helper()
	o.query("CREATE DATABASE " + database)
	o.post("/write", url.Values{"db": {database}}, lines)
}

// TestIoToadsDataStays runs the cloud with the InfluxDB that IoToad has filled.
func TestIoToadsDataStays(t *testing.T) {
	t.Parallel()
	old := oldInflux{influxtest.StartEmbedded(t, nil), t}
	old.write("sp", oldPoints)
	old.write("other", "power,id=sp_g3,type=g,unit=W value=8.5 1593599023000000000")
	generate := func(uint64, time.Time) hs110test.Values {
		return hs110test.Values{Power: 100, Voltage: 230, Current: 1, Energy: 1}
	}
	// One place goes on as IoToad wrote it, the other has its floor from now on.
	plugs := office{"sp_w.r1.c1": hs110test.New(t, hs110test.Options{Generate: generate}), "sp_f1.w.r2.c1": hs110test.New(t, hs110test.Options{Generate: generate})}
	s := newSite(t, layout{influx: old.Server, places: plugs.places()})
	t.Run("what was there, by IoToad's route", func(t *testing.T) { testOldRoute(t, s) })
	t.Run("what was there, by /api/v1", func(t *testing.T) { testOldReadings(t, s) })
	t.Run("across the change", func(t *testing.T) { testAcross(t, s) })
	t.Run("the same reading again is the same point", func(t *testing.T) { testAgain(t, s) })
	t.Run("integers in the week of the change", func(t *testing.T) { testIntegers(t, s, old) })
}

const until = "&to=1600000000"

func testOldRoute(t *testing.T, s *site) {
	for _, id := range []string{"sp_w.r1.c1", "sp_f1.w.r1.c1", "w.r1.c1"} {
		s.valued(t, "sp/power?id="+id+until, "+0.039568=120.1 +5=80.5 +999382=60")
		s.valued(t, "sp/power?operation=sum&id="+id+"&from=1593599018"+until, "+0=260.6")
		s.valued(t, "sp/power?operation=mean&id="+id+"&from=1593599018&to=1593599100", "+0=100.3")
		s.valued(t, "sp/status?id="+id+until, "+5=1 +999382=0 +999387=1")
		s.valued(t, "sp/status?operation=median&id="+id+"&from=1593599018"+until, "+0=1")
	}
	s.valued(t, "sp/power?id=sp_g3"+until, "+5=7.25")
	s.valued(t, "other/power?id=sp_g3"+until, "+5=8.5")
	s.valued(t, "sp/power?type=m"+until, "sp_m2/power+5=5.5")
	s.valued(t, "sp/power?row=1&column=1&to=1593599020", "sp_w.r1.c1/power+0.039568=120.1")
	s.valued(t, "sp/power?id=sp_p1"+until, "+5=300.5") // without type and unit
	s.valued(t, "sp/power?type=p"+until, "")           // so nobody can tell that it is one
	s.valued(t, "sp/power?floor=1&type=g"+until, "sp_g3/power+5=7.25")
	s.valued(t, "sp/power?floor=2"+until, "")
	// Ids from before there was a device type are found by their place only.
	s.valued(t, "sp/power?id=w.r9.c9"+until, "")
	s.valued(t, "sp/power?row=9&column=9"+until, "w.r9.c9/power+5=1.5")
}

func testOldReadings(t *testing.T, s *site) {
	for _, id := range []string{"sp_w.r1.c1", "sp_f1.w.r1.c1"} {
		a := s.rest("/api/v1/readings?measurement=power&id=" + id + "&from=1593599018" + until)
		for _, want := range []string{`120.1`, `80.5`, `60`} {
			if a.status != http.StatusOK || !strings.Contains(a.body, `"value":`+want) {
				t.Errorf("%s has no %s: %v", id, want, a)
			}
		}
		if a = s.rest("/api/v1/readings?measurement=power&operation=sum&id=" + id + "&from=1593599018" + until); !strings.Contains(a.body, `"value":260.6`) {
			t.Errorf("%s: %v", id, a)
		}
	}
}

// testAcross asks for sums over what IoToad has written and what Wattline does.
func testAcross(t *testing.T, s *site) {
	for id, old := range map[string]struct{ count, sum float64 }{"w.r1.c1": {3, 260.6}, "w.r2.c1": {1, 40}} {
		s.polled(t, "power", "sp_"+id, 100)
		s.polled(t, "power", "sp_f1."+id, 100)
		to := float64(time.Now().UnixMicro())/1e6 - 1.5 // everything up to then is stored
		eventually(t, 20*time.Second, "readings after the change", func() bool {
			to = max(to, float64(time.Now().UnixMicro())/1e6-10)
			return s.value(t, fmt.Sprintf("sp/power?operation=count&id=sp_%s&from=1700000000&to=%f", id, to+5)) >= 3
		})
		to -= 2
		now := s.value(t, fmt.Sprintf("sp/power?operation=count&id=sp_%s&from=1700000000&to=%f", id, to))
		for _, spelling := range []string{"sp_" + id, "sp_f1." + id} {
			period := fmt.Sprintf("&id=%s&from=1593599018&to=%f", spelling, to)
			if got := s.value(t, "sp/power?operation=count"+period); got != old.count+now {
				t.Errorf("%s: %v readings, want %v of IoToad's and %v of Wattline's", spelling, got, old.count, now)
			}
			if got, want := s.value(t, "sp/power?operation=sum"+period), old.sum+100*now; got < want-1e-6 || got > want+1e-6 {
				t.Errorf("%s: the sum is %v, want %v", spelling, got, want)
			}
		}
	}
	// The integers of the second week and the floats of now are one series.
	if got := s.value(t, "sp/status?operation=first&id=sp_f1.w.r1.c1"); got != 1 {
		t.Errorf("the first status is %v", got)
	}
}

// value is the one value of an answer, 0 where there is none.
func (s *site) value(t *testing.T, path string) float64 {
	t.Helper()
	a := s.rest("/api/out/influx_query/" + path)
	var records []record
	if a.status != http.StatusOK {
		t.Fatalf("%s gives %v", path, a)
	}
	if a.into(t, &records); len(records) < 2 || records[1].V == nil {
		return 0
	}
	return *records[1].V
}

// testAgain publishes what IoToad has stored: a message that both systems heard.
func testAgain(t *testing.T, s *site) {
	link := s.client("both", nil)
	s.publish(link, "data/sp_data/influx_data/sp", `{"data":[{"bn":"sp_w.r1.c1/power","bu":"W","t":1593599018.039568,"v":120.1},{"bn":"sp_g3/power","bu":"W","t":1593599099,"v":1}]}`)
	s.stored(t, "/api/out/influx_query/sp/power?id=sp_g3"+until, `"v":1}`)
	if n := s.value(t, "sp/power?operation=count&id=sp_w.r1.c1&from=1593599018"+until); n != 3 {
		t.Errorf("%v readings, want 3: one of them was doubled", n)
	}
}

// testIntegers: a week in which IoToad has written integers takes no floats of the
// same measurement. What comes is put into quarantine, whole; once the week holds
// floats, by the way that docs/migration.md shows, it is handed in again.
func testIntegers(t *testing.T, s *site, old oldInflux) {
	now := time.Now()
	old.write("week", fmt.Sprintf("status,id=sp_g3,type=g,unit=S value=1i %[1]d\npower,id=sp_g3,type=g,unit=W value=2.5 %[1]d", now.Add(-time.Second).UnixNano()))
	heard := make(chan bus.Message, 10)
	link := s.client("week", func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/week/#", func(m bus.Message) { heard <- m })
	})
	payload := fmt.Sprintf(`{"id":"first","response_topic":"responses/week/receipts","data":[{"bn":"sp_g3/","bt":%d,"n":"power","u":"W","v":3.5},{"n":"status","u":"/","v":0}]}`, now.Unix())
	s.publish(link, "data/week/influx_data/week", payload)
	m := await(t, heard, "a receipt", func(bus.Message) bool { return true })
	if !strings.Contains(string(m.Payload), `"quarantined":[{"id":"first"`) {
		t.Fatalf("%s: want it in quarantine", m.Payload)
	}
	for _, block := range blocks(t, "migration.md", "floats") {
		script(t, s.dir, map[string]string{"INFLUX": old.URL, "DATABASE": "week", "CURL": "curl -fsS -G -u " + old.Token}, block.text)
	}
	if a := old.query(`SHOW FIELD KEYS ON "week"`); strings.Contains(a, "integer") {
		t.Errorf("integers are left: %s", a)
	}
	replay := fmt.Sprintf("/api/v1/quarantine/%v/replay", contract.DigestOf([]byte(payload)))
	if a := s.do(http.MethodPost, replay, ""); a.status != http.StatusOK {
		t.Errorf("%v", a)
	}
	s.stored(t, "/api/out/influx_query/week/power?operation=count&id=sp_g3", `"v":2`)
	s.stored(t, "/api/out/influx_query/week/status?operation=count&id=sp_g3", `"v":2`)
	var records []json.RawMessage
	if s.rest("/api/out/influx_query/week/status?id=sp_g3").into(t, &records); len(records) != 3 {
		t.Errorf("%s", records)
	}
}
