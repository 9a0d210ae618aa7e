package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// tight are limits that agents gone wrong reach within a second, and gateways
// never.
const tight = "influx_data: {limits: {records_per_second: 50, burst_records: 5000, series: 300, databases: 3, sources: 20, quarantine_bytes_per_hour: 1048576}}\n"

// sourceSeen is a source as the api lists it.
type sourceSeen struct {
	Kind, Ledger, Error                                        string
	Messages, Records, Quarantined, Limited, Malformed, Series int
}

// TestFaultyAgents lets agents go wrong, each in its own way, while a gateway's
// readings flow; then it counts, and looks what each of them was held to.
func TestFaultyAgents(t *testing.T) {
	t.Setenv("GOMEMLIMIT", memoryLimit)
	b := &besieged{plugs: office{}}
	for i, id := range []string{"sp_g1", "sp_w.r0.c0"} {
		b.plugs[id] = hs110test.New(t, hs110test.Options{Hardware: [...]hs110test.Hardware{hs110test.HW1, hs110test.HW2}[i], Generate: hs110test.Numbered})
	}
	b.site = newSite(t, layout{places: b.plugs.places(), cloud: tight, limits: "password: " + secret})
	b.memory, b.edgeMemory, b.files = b.clouds[0].anonymous(), b.edge.anonymous(), b.clouds[0].descriptors()
	t.Run("two that behave", func(t *testing.T) { testHonestAgents(t, b) })
	t.Run("those that do not", func(t *testing.T) { testFaultyAgents(t, b) })
	t.Run("one that invents names", func(t *testing.T) { testInventedSources(t, b) })
	if seen := b.source(t, gatewayName); seen.Kind != "gateway" || seen.Ledger != "numbered" || seen.Limited != 0 || seen.Quarantined != 0 {
		t.Errorf("the gateway is listed as %+v", seen)
	}
	b.counts(t)
}

// source is what the api says of one, which it must know.
func (b *besieged) source(t *testing.T, name string) (seen sourceSeen) {
	t.Helper()
	a := b.rest("/api/v1/sources/" + name)
	if a.status != http.StatusOK {
		t.Fatalf("%s: %v", name, a)
	}
	a.into(t, &seen)
	return seen
}

// agent publishes in the name of a source and hears its receipts.
type agent struct {
	b        *besieged
	name     string
	link     *bus.Link
	mu       sync.Mutex // protects receipts
	receipts string
}

func (b *besieged) agent(name string) *agent {
	a := &agent{b: b, name: name}
	a.link = b.client(name, func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "responses/"+name+"/receipts", func(m bus.Message) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.receipts += string(m.Payload)
		})
	})
	return a
}

// send publishes to a database, and further levels.
func (a *agent) send(database, payload string) {
	a.b.t.Helper()
	a.b.publish(a.link, "data/"+a.name+"/influx_data/"+database, payload)
}

// ask is send with an id and a response topic.
func (a *agent) ask(database, id, records string) {
	a.b.t.Helper()
	a.send(database, `{"id":"`+id+`","response_topic":"responses/`+a.name+`/receipts","data":[`+records+`]}`)
}

// receipted waits for the receipt of an id.
func (a *agent) receipted(t *testing.T, id string) {
	t.Helper()
	eventually(t, 20*time.Second, "a receipt of "+id, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return strings.Contains(a.receipts, `"id":"`+id+`"`)
	})
}

// testHonestAgents: one gives ids of its own, the other numbers its batches.
func testHonestAgents(t *testing.T, b *besieged) {
	lab, counter := b.agent("lab"), b.agent("counter")
	lab.ask("sp", "my 17th", named0("lab", 1))
	lab.receipted(t, "my 17th")
	for _, n := range []int{1, 2, 3, 5} { // the fourth is lost
		id := fmt.Sprintf("9f3c0a5be1d27486-%d", n)
		counter.send("sp/"+id, `{"id":"`+id+`","response_topic":"responses/counter/receipts","batch":{"previous":null,"readings":1,"from":1593599018,"to":1593599018},"data":[`+named0("counter", n)+`]}`)
		counter.receipted(t, id)
	}
	eventually(t, 20*time.Second, "both are listed", func() bool {
		return b.rest("/api/v1/sources/lab").status == http.StatusOK && b.rest("/api/v1/sources/counter").status == http.StatusOK
	})
	if seen := b.source(t, "lab"); seen.Kind != "agent" || seen.Ledger != "receipted" || seen.Records != 1 {
		t.Errorf("lab is listed as %+v", seen)
	}
	if seen := b.source(t, "counter"); seen.Kind != "agent" || seen.Ledger != "numbered" {
		t.Errorf("counter is listed as %+v", seen)
	}
	if a := b.rest("/api/v1/ledger?gateway=lab"); !strings.Contains(a.body, `"unnumbered":1`) {
		t.Errorf("the ledger of lab: %v", a)
	}
	var proofs []struct {
		Waiting int
		Epochs  []struct {
			CompleteTo int `json:"complete_to"`
		}
	}
	a := b.rest("/api/v1/ledger?gateway=counter")
	if a.into(t, &proofs); len(proofs) != 1 || proofs[0].Waiting != 1 || len(proofs[0].Epochs) != 1 || proofs[0].Epochs[0].CompleteTo != 3 {
		t.Errorf("the ledger of counter: %v", a)
	}
	counter.send("sp/9f3c0a5be1d27486-4", `{"id":"9f3c0a5be1d27486-4","response_topic":"responses/counter/receipts","batch":{"previous":null,"readings":1,"from":1593599018,"to":1593599018},"data":[`+named0("counter", 4)+`]}`)
	eventually(t, 20*time.Second, "nothing of counter is missing or waits", func() bool {
		return strings.Contains(b.rest("/api/v1/ledger?gateway=counter").body, `"complete_to":5`)
	})
	text, err := exec.Command(program("wattline"), "--server", "http://"+b.ip+":8080", "sources").CombinedOutput()
	for _, word := range []string{"lab", "counter", gatewayName, "receipted", "numbered", "gateway"} {
		if err != nil || !bytes.Contains(text, []byte(word)) {
			t.Errorf("wattline sources does not show %s: %v\n%s", word, err, text)
		}
	}
	if a := b.rest("/api/v1/sources/nobody"); a.status != http.StatusNotFound {
		t.Errorf("%v", a)
	}
}

// named0 is a record of an agent's own device.
func named0(device string, n int) string {
	return fmt.Sprintf(`{"n":"%s_x%d/level","u":"m","t":1593599018,"v":%d}`, device, n, n)
}

// testFaultyAgents lets all go wrong at once.
func testFaultyAgents(t *testing.T, b *besieged) {
	const many = 7000
	faults := map[string]func(a *agent){
		"flood": func(a *agent) { // tiny messages, as many as go
			for i := range many {
				a.send("sp", `{"data":[{"n":"flood_x1/level","t":`+fmt.Sprint(1593599018+i)+`,"v":1}]}`)
			}
		},
		"inventor": func(a *agent) { // a new name each time
			for i := range 50 {
				var records []string
				for k := range 20 {
					records = append(records, fmt.Sprintf(`{"n":"inventor_x%d/flooded","t":1593599018,"v":1}`, i*20+k))
				}
				a.ask("sp", fmt.Sprint("i", i), strings.Join(records, ","))
			}
		},
		"scatterer": func(a *agent) { // a new database each time
			for i := range 10 {
				a.ask(fmt.Sprint("scattered", i), fmt.Sprint("s", i), named0("scatterer", 1))
			}
		},
		"mumbler": func(a *agent) { // large, and always refused
			for i := range 45 {
				a.ask("sp", fmt.Sprint("m", i), `{"n":"nonsense","t":1593599018,"vs":"`+strings.Repeat("x", 40_000)+`"}`)
			}
		},
		"bomber": func(a *agent) {
			bomb := zstdOf(bytes.Repeat([]byte(" "), 48<<20))
			for range 100 {
				a.send("sp", bomb)
			}
		},
		"stammerer": func(a *agent) {
			for range 100 {
				a.send("sp", "\xff\xfe{\"data\":[")
			}
		},
	}
	var all sync.WaitGroup
	for name, fault := range faults {
		a := b.agent(name)
		all.Go(func() { fault(a) })
	}
	all.Wait()
	wrong := map[string]func(sourceSeen) bool{
		"flood": func(s sourceSeen) bool {
			return s.Limited > 0 && s.Records < many && s.Records+s.Limited == many && strings.Contains(s.Error, "records_per_second")
		},
		"inventor": func(s sourceSeen) bool {
			return s.Series == 300 && s.Records == 300 && s.Quarantined == 35 && strings.Contains(s.Error, "influx_data.limits.series")
		},
		"scatterer": func(s sourceSeen) bool {
			return s.Records == 3 && s.Quarantined == 7 && strings.Contains(s.Error, "influx_data.limits.databases")
		},
		"mumbler":   func(s sourceSeen) bool { return s.Quarantined == 27 && s.Limited == 18 },
		"bomber":    func(s sourceSeen) bool { return s.Malformed >= 50 && s.Malformed+s.Limited == 100 && s.Limited > 0 },
		"stammerer": func(s sourceSeen) bool { return s.Malformed >= 50 && s.Malformed+s.Limited == 100 },
	}
	eventually(t, 60*time.Second, "each is held to its limit, and listed so", func() bool {
		for name, ok := range wrong {
			var seen sourceSeen
			a := b.rest("/api/v1/sources/" + name)
			if a.status != http.StatusOK {
				return false
			}
			if a.into(t, &seen); !ok(seen) {
				if long() {
					t.Logf("%s: %+v", name, seen)
				}
				return false
			}
		}
		return true
	})
	if a := b.influxQL(t, "sp", `SHOW TAG VALUES FROM "flooded" WITH KEY = "id"`); strings.Count(a.body, "inventor_x") != 300 {
		t.Errorf("%d series of the inventor in InfluxDB, want 300", strings.Count(a.body, "inventor_x"))
	}
	if a := b.influxQL(t, "sp", `SHOW DATABASES`); strings.Count(a.body, "scattered") != 3 {
		t.Errorf("databases: %v", a)
	}
	for _, limit := range []string{"rate", "quarantine"} {
		if b.metric("wattline_influx_data_limited_total", `limit="`+limit+`"`) == 0 {
			t.Errorf("no counter tells of the limit %s", limit)
		}
	}
	if a := b.rest("/api/v1/quarantine?source=inventor&limit=5"); !strings.Contains(a.body, "raise influx_data.limits.series; then hand this in again") {
		t.Errorf("the quarantine does not say what to do: %v", a)
	}
}

// testInventedSources: there is no room for all, and that does not concern who
// is known.
func testInventedSources(t *testing.T, b *besieged) {
	link := b.client("namer", nil)
	before := b.metric("wattline_influx_data_limited_total", `limit="sources"`)
	for i := range 50 {
		b.publish(link, fmt.Sprintf("data/invented%d/influx_data/sp", i), `{"data":[`+named0("invented", i)+`]}`)
	}
	eventually(t, 20*time.Second, "some had no room", func() bool {
		return b.metric("wattline_influx_data_limited_total", `limit="sources"`) >= before+30
	})
	lab := b.agent("lab")
	lab.ask("sp", "my 18th", named0("lab", 2))
	lab.receipted(t, "my 18th")
}
