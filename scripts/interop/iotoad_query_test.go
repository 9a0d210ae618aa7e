package interop_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func showsQueries(t *testing.T, f *former) {
	f.valued(t, "sp/power?id=sp_w.r7.c0&from=1593599018&to=1593599030", "+0.039568=0 +5=10.4 +10=20")
	f.valued(t, "alexa/volume?id=alexa_x2", "+10=44")
}

func showsOperations(t *testing.T, f *former) {
	for operation, want := range map[string]string{ // of 0, 10.4 and 20, at +0.039568, +5 and +10
		"count": "+0=3", "integral": "+0=101.7942464", "mean": "+0=10.133333333333333", "median": "+0=10.4", "mode": "+0=0", "spread": "+0=20", "sum": "+0=30.4",
		"first": "+0.039568=0", "last": "+10=20", "max": "+10=20", "min": "+0.039568=0",
		"percentile&n=50": "+5=10.4", "bottom&n=1": "+0.039568=0", "top&n=2": "+5=10.4 +10=20", "sample&n=3": "+0.039568=0 +5=10.4 +10=20",
		"stddev": "+0=10.00266", "distinct": "+0=0 +0=10.4 +0=20",
	} {
		a := f.rest("/api/out/influx_query/sp/power?id=sp_w.r7.c0&from=1593599018&to=1593599100&operation=" + operation)
		if a.status != http.StatusOK {
			t.Errorf("%s: %v", operation, a)
			continue
		}
		got := valuesOf(t, a, 1)
		if operation == "stddev" { // a root: as many digits as are certain
			got = got[:min(len(got), len(want))]
		}
		if got != want {
			t.Errorf("%s gives %q, want %q", operation, got, want)
		}
	}
}

func showsFilters(t *testing.T, f *former) {
	const until = "&to=1593599100"
	f.valued(t, "sp/power?id=sp_g7"+until, "+10=7")
	f.valued(t, "sp/power?type=g"+until, "sp_g7/power+10=7")
	f.valued(t, "sp/power?row=7&column=1"+until, "sp_w.r7.c1/power+5.5=120.1")
	f.valued(t, "sp/power?type=w&row=7&operation=sum&from=1593599018"+until, "+0=150.5")
	f.valued(t, "sp/power?type=g&row=7"+until, "")
	f.valued(t, "sp/power?id=sp_w.r99.c0", "")
}

func showsTimes(t *testing.T, f *former) {
	f.valued(t, "sp/power?id=sp_w.r7.c0&from=1593599023&to=1593599028", "+5=10.4 +10=20") // both ends are in
	f.valued(t, "sp/power?id=sp_w.r7.c0&from=1593599018.2041745&to=1593599027.9", "+5=10.4")
	f.valued(t, "sp/power?id=sp_w.r7.c0&from=2020-07-01T10:23:43Z&to=2020-07-01T10:23:43.5Z", "+5=10.4")
}

func showsMistakes(t *testing.T, f *former) {
	all := f.rest("/api/out/influx_query/sp/power?operation=sumo&type=W&id=a'b&row=x&column=y&from=yesterday&to=now")
	if all.status != http.StatusBadRequest {
		t.Errorf("%v", all)
	}
	for _, name := range []string{"operation", "type", "id", "row", "column", "from", "to"} {
		if !strings.Contains(all.body, name) {
			t.Errorf("%s is not told: %v", name, all)
		}
	}
	if a := f.rest("/api/out/influx_query/sp/power?id=sp_g7&row=1&column=2"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "row") || !strings.Contains(a.body, "column") {
		t.Errorf("an id with row and column, which the original refused too: %v", a)
	}
	for _, evil := range []string{
		`sp_g7' OR '1'='1`, `sp_g7"; DROP DATABASE sp; --`, `w' OR "type" = 'g`, `1; DROP SERIES FROM power`, `mean("value") FROM "power"; DROP MEASUREMENT "power" --`, "x\n; DROP DATABASE sp",
	} {
		for _, key := range []string{"operation", "id", "type", "row", "column", "from", "to"} {
			if a := f.rest("/api/out/influx_query/sp/power?" + url.Values{key: {evil}}.Encode()); a.status != http.StatusBadRequest || !strings.Contains(a.body, key) {
				t.Errorf("%s=%s gives %v", key, evil, a)
			}
		}
		if a := f.rest("/api/out/influx_query/sp/" + url.PathEscape(evil)); a.status != http.StatusBadRequest {
			t.Errorf("measurement %s gives %v", evil, a)
		}
	}
	f.valued(t, "sp/power?id=sp_g7&to=1593599100", "+10=7") // nothing was dropped
	e := f.asked(t, "query/influx_query/sp/power", `{"data":{"operation":"x","row":"y"},"response-id":"RESPOND"}`)
	if text := string(e["error"]); !strings.Contains(text, "operation") || !strings.Contains(text, "row") {
		t.Errorf("over MQTT: %s", text)
	}
}

func showsStatusQueries(t *testing.T, f *former) {
	f.valued(t, "sp/status?id=sp_w.r7.c0&to=1593599100", "+5=1")
	f.valued(t, "sp/status?operation=median&type=g&from=1593599018&to=1593599100", "+0=1")
	f.valued(t, "sp/status?operation=sum&id=sp_w.r7.c1&from=1593599018&to=1593599100", "+0=0")
}

func showsResults(t *testing.T, f *former) {
	for path, want := range map[string]string{
		"sp/power?id=sp_w.r7.c0&from=1593599020&to=1593599100":               `[{"bn":"sp_w.r7.c0/power","bu":"W"},{"u":"W","t":1593599023,"v":10.4},{"u":"W","t":1593599028,"v":20}]`,
		"sp/power?type=g&to=1593599100":                                      `[{"bn":"","bu":"W"},{"n":"sp_g7/power","u":"W","t":1593599028,"v":7}]`,
		"sp/power?operation=sum&id=sp_w.r7.c0&from=1593599020&to=1593599100": `[{"bn":"sp_w.r7.c0/power","bu":"W"},{"t":1593599020,"v":30.4}]`,
		"sp/power?id=sp_w.r99.c0":                                            `[{"bn":"sp_w.r99.c0/power","bu":"W"}]`,
	} {
		a := f.rest("/api/out/influx_query/" + path)
		sameJSON(t, a.body, want)
		if kind := a.header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s is of type %s", path, kind)
		}
	}
}

func showsErrors(t *testing.T, f *former) {
	_, name := f.component("query", "broken", func(heard) string { return `{"error":"Error getting the ranking: no such id"}` })
	a := f.rest("/api/out/" + name + "/today/sp_g3")
	sameJSON(t, a.body, `{"error":"Error getting the ranking: no such id"}`)
	if a.status < http.StatusBadRequest {
		t.Errorf("%v", a)
	}
	_, name = f.component("command", "halting", func(heard) string { return `{"error":"The SmartPlug is unreachable"}` })
	a = f.do(http.MethodPut, "/api/in/"+name+"/x", `{"payload":1}`)
	sameJSON(t, a.body, `{"`+name+`/x":{"error":"The SmartPlug is unreachable"}}`)
	if a.status != http.StatusOK { // an error in a reply never changed it
		t.Errorf("%v", a)
	}
	e := f.asked(t, "command/sp_command/sp_g77", `{"data":{"status":0},"response-id":"RESPOND"}`)
	sameJSON(t, string(e["error"]), `{"sp_g77":"no such place"}`)
}
