package interop_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// differences hold the rows of the page about IoToad, by their first column.
var differences = map[string]func(t *testing.T, f *former){
	"order of data topics": func(t *testing.T, f *former) {
		f.publish(f.agent, "data/influx_data/sp_data/order", `{"data":[{"n":"sp_g7/power","u":"W","t":1593599018,"v":1}]}`)
		f.publish(f.agent, "data/sp_data/influx_data/order", `{"data":[{"n":"sp_g7/power","u":"W","t":1593599019,"v":2}]}`)
		f.stored(t, "/api/out/influx_query/order/power?id=sp_g7", `"v":2`)
		f.valued(t, "order/power?id=sp_g7", "+1=2")
	},
	"where to answer": showsResponses,
	"body of /api/out": func(t *testing.T, f *former) {
		_, name := f.component("query", "body", func(heard) string { return `{"response_topic":"x","data":[1],"more":2}` })
		sameJSON(t, f.rest("/api/out/"+name).body, `[1]`)
		_, name = f.component("query", "body", func(h heard) string {
			return `{"id":` + string(h.envelope["id"]) + `,"response_topic":"x","data":{"a":[1]},"error":"half of it"}`
		})
		sameJSON(t, f.rest("/api/out/"+name).body, `{"data":{"a":[1]},"error":"half of it"}`)
	},
	"kinds of errors": func(t *testing.T, f *former) {
		e := f.asked(t, "query/influx_query/sp/power", `{"data":{"row":"x"},"response_topic":"RESPOND"}`)
		if !strings.HasPrefix(string(e["error"]), `"row: `) {
			t.Errorf("of a query: %s", e["error"])
		}
		e = f.asked(t, "command/sp_command/sp_g77", `{"data":{"status":0},"response_topic":"RESPOND"}`)
		sameJSON(t, string(e["error"]), `{"sp_g77":"no such place"}`)
	},
	"no error": func(t *testing.T, f *former) {
		f.switches(t, "/sp_g3", objectOff, false, `{"sp_command/sp_g3":{"data":{"successful":["sp_g3"]}}}`, "sp_g3")
	},
	"who publishes readings": showsCompression,
	"response topics": func(t *testing.T, f *former) {
		component, name := f.component("query", "topics", func(heard) string { return `{"data":1}` })
		f.rest("/api/out/" + name)
		h := <-component.heard
		if levels := strings.Split(h.respond, "/"); len(levels) < 4 || len(strings.Join(levels[2:], "")) < 32 {
			t.Errorf("%q can be guessed", h.respond)
		}
	},
	"payload of a command": func(t *testing.T, f *former) {
		for _, payload := range []string{`"{\"status\": 1}"`, `{"status": 1}`, `{"status": "on"}`, `"{\"status\": \"On\"}"`} {
			f.switches(t, "/sp_g3", `{"payload": `+payload+`}`, true, one("sp_command/sp_g3", "sp_g3"), "sp_g3")
		}
		f.plugs.press(true)
		for _, payload := range []string{`{}`, `"{}"`, `{"status": 2}`, `{"status": null}`, `{"status": ""}`, `{"Status": 0}`, `{"status": false}`, `null`, `0`, `"off"`} {
			a := f.do(http.MethodPut, "/api/in/sp_command/sp_g3", `{"payload": `+payload+`}`)
			if !strings.Contains(a.body, `"error":`) || !f.plugs["sp_g3"].On() {
				t.Errorf("%s gives %v, and the plug is on: %v", payload, a, f.plugs["sp_g3"].On())
			}
		}
	},
	"targets in a reply": func(t *testing.T, f *former) {
		f.plugs.press(true)
		a := f.do(http.MethodPut, "/api/in/sp_command", `{"subtopics": ["sp_g3", "sp_g77"], "payload": {"status": 0}}`)
		sameJSON(t, a.body, `{"sp_command/sp_g3":{"data":{"successful":["sp_g3"]}},"sp_command/sp_g77":{"data":{"successful":[]},"error":{"sp_g77":"no such place"}}}`)
	},
	"subtopics": func(t *testing.T, f *former) {
		for _, path := range []string{"/row", "/row/"} {
			f.switches(t, path, `{"subtopics": ["1"], "payload": {"status": 0}}`, false, one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1"), "sp_w.r1.c0", "sp_w.r1.c1")
		}
		if a := f.do(http.MethodPut, "/api/in/sp_command/sp_g3", `{"subtopics": [], "payload": {"status": 1}}`); a.status != http.StatusBadRequest {
			t.Errorf("an empty list: %v", a)
		}
	},
	"status codes": func(t *testing.T, f *former) {
		for request, want := range map[string]int{
			"PUT /api/in/sp_command/sp_g3 " + objectOff: 200, "PUT /api/in/sp_command/sp_g3 {}": 400, "GET /api/out/influx_query/sp/power?row=x ": 400,
			"GET /api/elsewhere ": 404, "POST /api/in/sp_command/sp_g3 " + objectOff: 405, "DELETE /api/out/influx_query/sp/power ": 405,
		} {
			parts := strings.SplitN(request, " ", 3)
			if a := f.do(parts[0], parts[1], parts[2]); a.status != want {
				t.Errorf("%s gives %v, want %d", request, a, want)
			}
		}
		showsTimeouts(t, f)
	},
	"mistakes in a query": func(t *testing.T, f *former) {
		begin := time.Now()
		a := f.rest("/api/out/influx_query/sp/power?row=x&operation=none")
		if took := time.Since(begin); took > 2*time.Second || a.status != http.StatusBadRequest || !strings.Contains(a.body, "row") || !strings.Contains(a.body, "operation") {
			t.Errorf("after %v: %v", took, a)
		}
	},
	"percentile, sample, top, bottom": func(t *testing.T, f *former) {
		for operation, want := range map[string]string{"percentile&n=95": "+10=20", "top&n=1": "+10=20", "bottom&n=1": "+0.039568=0", "sample&n=9": "+0.039568=0 +5=10.4 +10=20"} {
			f.valued(t, "sp/power?id=sp_w.r7.c0&to=1593599100&operation="+operation, want)
			bare, _, _ := strings.Cut(operation, "&")
			if a := f.rest("/api/out/influx_query/sp/power?operation=" + bare); a.status != http.StatusBadRequest || !strings.Contains(a.body, "n:") && !strings.Contains(a.body, `"n"`) {
				t.Errorf("%s without n: %v", bare, a)
			}
		}
	},
	"integral of several devices": func(t *testing.T, f *former) {
		f.valued(t, "sp/power?type=w&row=7&operation=integral&from=1593599018&to=1593599100", "+0=101.7942464")
	},
	"times of results": func(t *testing.T, f *former) {
		f.valued(t, "sp/power?id=sp_w.r7.c0&from=1593599018&to=1593599030", "+0.039568=0 +5=10.4 +10=20")
		testNanoseconds(t, f.site)
	},
	"names in results": showsResults,
	"types of places":  showsIDs,
	"bare ids": func(t *testing.T, f *former) {
		f.valued(t, "sp/power?id=g7&to=1593599100", "+10=7")
		f.switches(t, "/g3", stringOff, false, one("sp_command/g3", "sp_g3"), "sp_g3")
	},
	"other old ids": func(t *testing.T, f *former) {
		for _, id := range []string{"sp_r1c2", "sp_r1.c2"} {
			if a := f.rest("/api/out/influx_query/sp/power?id=" + id); a.status != http.StatusBadRequest || !strings.Contains(a.body, id) {
				t.Errorf("asked for %s: %v", id, a)
			}
			if a := f.do(http.MethodPut, "/api/in/sp_command/"+id, stringOff); !strings.Contains(a.body, `"error":`) || !strings.Contains(a.body, id) {
				t.Errorf("switched %s: %v", id, a)
			}
		}
	},
	"ETCD": func(t *testing.T, f *former) {
		if said := f.wattline(t, "import", f.file("etcd.json"), "--dry-run"); !strings.Contains(said, "nothing") {
			t.Errorf("a second import would do more than nothing: %s", said)
		}
	},
	"SenML packs": showsSources,
	"unit of status": func(t *testing.T, f *former) {
		f.polled(t, "status", "sp_p0", map[bool]float64{true: 1, false: 0}[f.plugs["sp_p0"].On()])
		for id, unit := range map[string]string{"sp_p0": "/", "sp_w.r7.c0": "S"} {
			if a := f.influxQL(t, "sp", `SELECT last("value"), "unit" FROM "status" WHERE "id" = '`+id+`'`); !strings.Contains(a.body, `"`+unit+`"]`) {
				t.Errorf("%s: %v, want unit %s", id, a, unit)
			}
		}
	},
	"values": func(t *testing.T, f *former) {
		if a := f.influxQL(t, "sp", `SHOW FIELD KEYS`); strings.Contains(a.body, "integer") || !strings.Contains(a.body, `["value","float"]`) {
			t.Errorf("%v", a)
		}
	},
	"measurements": func(t *testing.T, f *former) { f.valued(t, "alexa/volume?id=alexa_x2", "+10=44") },
	"unknown parameters": func(t *testing.T, f *former) {
		if a := f.rest("/api/out/influx_query/sp/power?colum=1"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "colum") {
			t.Errorf("%v", a)
		}
	},
	"databases": func(t *testing.T, f *former) {
		f.publish(f.agent, "data/new/influx_data/made_by_itself", `{"data":[{"n":"sp_g7/power","u":"W","t":1593599018,"v":1}]}`)
		f.stored(t, "/api/out/influx_query/made_by_itself/power?id=sp_g7", `"v":1`)
		for _, name := range []string{"Sp", "sp-data", "wattline", "1sp"} {
			f.publish(f.agent, "data/new/influx_data/"+name, `{"data":[{"n":"sp_g9/power","u":"W","t":1593599018,"v":1}]}`)
			if a := f.rest("/api/out/influx_query/" + name + "/power"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "database") {
				t.Errorf("%s: %v", name, a)
			}
		}
		f.publish(f.agent, "data/new/influx_data/made_by_itself", `{"data":[{"n":"sp_g7/power","u":"W","t":1593599019,"v":2}]}`)
		f.stored(t, "/api/out/influx_query/made_by_itself/power?id=sp_g7", `"v":2`)
		if a := f.influxQL(t, "", "SHOW DATABASES"); strings.Contains(a.body, `"Sp"`) || strings.Contains(a.body, `"sp-data"`) || strings.Contains(a.body, `"1sp"`) {
			t.Errorf("%v", a)
		}
	},
}

// showsDifferences compares the table of the page with what is held, both ways.
func showsDifferences(t *testing.T, f *former) {
	_, table, _ := strings.Cut(page(t, "iotoad.md"), "<!-- begin differences -->")
	table, _, found := strings.Cut(table, "<!-- end differences -->")
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(table, -1)
	if !found || len(rows) < 2 {
		t.Fatal("docs/iotoad.md has no table of differences")
	}
	named := map[string]bool{}
	for _, row := range rows[2:] { // behind the heading and its line
		name := strings.TrimSpace(row[1])
		named[name] = true
		t.Run(name, func(t *testing.T) {
			if differences[name] == nil {
				t.Fatal("nothing holds this row of docs/iotoad.md")
			}
			differences[name](t, f)
		})
	}
	for name := range differences {
		if !named[name] {
			t.Errorf("docs/iotoad.md has no row %q", name)
		}
	}
}

// showsCompression lets the gateway run as it does without a setting, and then as
// old hooks need it again.
func showsCompression(t *testing.T, f *former) {
	restart := func(more string) {
		f.edge.stop()
		f.write("edge.yaml", fmt.Sprintf("gateway: edge-f1\ndata: %s\nbroker: {url: %q}\nstatus: {listen: \"%s:8081\"}\n%s", f.file("edge"), f.mqtt(), f.ip, more))
		f.edge = run(f.t, "wattline-edge", filepath.Join(f.logs, "edge.log"), program("wattline-edge"), "-config", f.file("edge.yaml"))
	}
	heard := f.collected(t, "compressed", "data/+/influx_data/#")
	of := func(prefix string) func(bus.Message) bool {
		return func(m bus.Message) bool {
			return strings.HasPrefix(m.Topic, "data/"+gatewayName+"/influx_data/sp/") && strings.HasPrefix(string(m.Payload), prefix)
		}
	}
	await(t, heard, "plain JSON", of("{"))
	restart("")
	await(t, heard, "zstd", of("\x28\xb5\x2f\xfd"))
	restart(f.layout.edge)
	for len(heard) > 0 {
		<-heard
	}
	await(t, heard, "plain JSON again", of("{"))
}
