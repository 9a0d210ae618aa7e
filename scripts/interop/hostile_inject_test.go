package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// injections are what strangers write where a name is expected.
var injections = []string{
	`' OR 1=1 --`, `sp_g1' OR 'a'='a`, `power"; DROP MEASUREMENT "power"; --`, `"; DROP DATABASE "sp"; --`, `power WHERE time > 0; DELETE FROM "power"`,
	`sp_g1"}; CREATE USER x WITH PASSWORD 'x' WITH ALL PRIVILEGES; --`, "x\npower,id=evil value=1", "x,id=evil\\ value=1 1", `\`, `\'`, `/.*/`, `$(reboot)`, "`reboot`", `{{7*7}}`, `<script>alert(1)</script>`,
	`../../../../etc/passwd`, `..%2f..%2fetc%2fpasswd`, "a\x00b", "a/b/#", `+`, `$SYS/broker`, `sp_g1/../sp_g2`, "\u202e\U0001F4A3", "a\r\nX-Evil: 1", `{"$gt": ""}`, `1e309`, `-0`, `NaN`, `9999999999999999999999`,
	strings.Repeat("A", 5000), strings.Repeat("0", 300), "%", "%zz", " ", "sp_g1,sp_g2;sp_g3", `%!s(MISSING)`, `now() - 1h`, `0 OR true`,
}

// places where a stranger's text goes: INJECT stands for it, escaped as its
// place wants it: in the URL, or in a JSON string.
var queryPlaces = []string{
	"/api/v1/devices?type=INJECT", "/api/v1/devices?floor=INJECT", "/api/v1/devices?row=INJECT&column=INJECT", "/api/v1/devices?gateway=INJECT", "/api/v1/devices?limit=INJECT", "/api/v1/devices?cursor=INJECT",
	"/api/v1/devices?INJECT=1", "/api/v1/devices/INJECT", "/api/v1/devices/INJECT/state", "/api/v1/gateways/INJECT", "/api/v1/gateways?cursor=INJECT", "/api/v1/gateways?limit=INJECT",
	"/api/v1/ledger?gateway=INJECT", "/api/v1/ledger?from=INJECT&to=INJECT", "/api/v1/quarantine?gateway=INJECT", "/api/v1/quarantine?limit=INJECT", "/api/v1/quarantine?from=INJECT",
	"/api/v1/readings?measurement=INJECT", "/api/v1/readings?measurement=power&database=INJECT", "/api/v1/readings?measurement=power&id=INJECT", "/api/v1/readings?measurement=power&type=INJECT",
	"/api/v1/readings?measurement=power&floor=INJECT", "/api/v1/readings?measurement=power&row=INJECT", "/api/v1/readings?measurement=power&column=INJECT",
	"/api/v1/readings?measurement=power&operation=INJECT", "/api/v1/readings?measurement=power&operation=percentile&n=INJECT", "/api/v1/readings?measurement=power&operation=integral&unit=INJECT",
	"/api/v1/readings?measurement=power&from=INJECT", "/api/v1/readings?measurement=power&to=INJECT", "/api/v1/readings?measurement=power&operation=mean&from=1&every=INJECT",
	"/api/v1/readings?measurement=power&operation=mean&from=1795000000&every=1d&fill=INJECT", "/api/v1/readings?measurement=power&operation=mean&from=1795000000&every=1d&tz=INJECT",
	"/api/v1/readings?measurement=power&group_by=INJECT", "/api/v1/readings?measurement=power&limit=INJECT", "/api/v1/readings?measurement=power&order=INJECT", "/api/v1/readings?measurement=power&INJECT=1",
	"/api/out/influx_query/INJECT/power", "/api/out/influx_query/sp/INJECT", "/api/out/influx_query/sp/power?id=INJECT", "/api/out/influx_query/sp/power?format=INJECT", "/api/out/influx_query/sp/power?INJECT=INJECT",
	"/api/out/ledger_query/INJECT", "/INJECT", "/api/v1/INJECT",
}

var writePlaces = []struct{ method, path, body string }{
	{http.MethodPut, "/api/v1/devices/INJECT/relay", `{"on": true}`},
	{http.MethodPut, "/api/v1/devices/sp_g1/relay", `{"on": "INJECT"}`},
	{http.MethodPut, "/api/v1/devices/sp_g1/relay", `{"on": true, "deadline_s": "INJECT"}`},
	{http.MethodPut, "/api/v1/devices/sp_g1/relay", `{"on": true, "INJECT": 1}`},
	{http.MethodPost, "/api/v1/commands", `{"select": {"ids": ["INJECT"]}, "on": true}`},
	{http.MethodPost, "/api/v1/commands", `{"select": {"type": "INJECT"}, "on": true}`},
	{http.MethodPost, "/api/v1/commands", `{"select": {"floor": "INJECT"}, "on": true}`},
	{http.MethodPost, "/api/v1/commands", `{"select": "INJECT", "on": true}`},
	{http.MethodPost, "/api/v1/quarantine/INJECT/replay", ``},
	{http.MethodPut, "/api/in/sp_command/INJECT", `{"payload": {"status": 1}}`},
	{http.MethodPut, "/api/in/sp_command", `{"payload": {"status": 1}, "subtopics": ["INJECT"]}`},
	{http.MethodPut, "/api/in/sp_command/sp_g1", `{"payload": "INJECT"}`},
	{http.MethodPut, "/api/in/sp_command/sp_g1", `{"payload": {"status": "INJECT"}}`},
	{http.MethodPut, "/api/in/sp_command/sp_g1", `INJECT`},
	{http.MethodPut, "/api/in/ledger_query/replay", `{"payload": {"id": "INJECT"}}`},
}

// testInjection tries each text at each place. What must come of it is an
// answer about the request, 2xx where the text means something harmless there
// or 4xx, and nothing anywhere else.
func testInjection(t *testing.T, b *besieged) {
	before, mistaken := b.shape(t), b.metric("wattline_query_mistaken_total")
	refused := b.metric("wattline_api_requests_total", `status="400"`)
	type attempt struct{ method, path, body string }
	attempts := make(chan attempt)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for a := range attempts {
				got := b.do(a.method, a.path, a.body)
				switch {
				case got.status >= 200 && got.status < 300 && json.Valid([]byte(got.body)):
				case got.status >= 400 && got.status < 500:
					if err := clearError(got); err != nil {
						t.Errorf("%s %.200s %.200s: %v", a.method, a.path, a.body, err)
					}
				default:
					t.Errorf("%s %.200s %.200s gives %v", a.method, a.path, a.body, got)
				}
				if got.header.Get("X-Evil") != "" {
					t.Errorf("%s gave a header of the client's making", a.path)
				}
			}
		})
	}
	n := 0
	for _, text := range injections {
		escaped := url.PathEscape(text)
		inURL := url.QueryEscape(text)
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		inJSON := strings.Trim(string(quoted), `"`)
		put := func(path string) string {
			head, query, found := strings.Cut(path, "?")
			head = strings.ReplaceAll(head, "INJECT", escaped)
			if !found {
				return head
			}
			return head + "?" + strings.ReplaceAll(query, "INJECT", inURL)
		}
		for _, path := range queryPlaces {
			attempts <- attempt{http.MethodGet, put(path), ""}
			n++
		}
		for _, w := range writePlaces {
			attempts <- attempt{w.method, put(w.path), strings.ReplaceAll(w.body, "INJECT", inJSON)}
			n++
		}
	}
	close(attempts)
	workers.Wait()
	t.Logf("%d attempts", n)
	if after := b.shape(t); after != before {
		t.Errorf("InfluxDB has changed:\n%s\nbefore:\n%s", after, before)
	}
	if b.metric("wattline_query_mistaken_total") <= mistaken || b.metric("wattline_api_requests_total", `status="400"`) <= refused {
		t.Error("no counter tells of it")
	}
	testAudit(t, b)
}

// testAudit writes texts of strangers where they belong, the reason of a switch,
// and reads them back as they were.
func testAudit(t *testing.T, b *besieged) {
	for i, text := range injections {
		if len(text) > 200 || i > 5 && !long() { // 0.35 s each
			continue
		}
		reason, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		got := b.do(http.MethodPost, "/api/v1/commands", fmt.Sprintf(`{"select": {"ids": ["sp_g1"]}, "on": true, "reason": %s}`, reason))
		if got.status != http.StatusOK && got.status != http.StatusBadRequest {
			t.Errorf("reason %q: %v", text, got)
		}
	}
	if got := b.influxQL(t, "wattline", `SHOW TAG VALUES FROM "audit" WITH KEY = "id"`); strings.Contains(got.body, "evil") {
		t.Errorf("the audit has ids of strangers' making: %v", got)
	}
	if got := b.influxQL(t, "wattline", `SELECT "reason" FROM "audit" WHERE "phase" = 'result'`); !strings.Contains(got.body, `DROP MEASUREMENT \"power\"; --`) {
		t.Errorf("the audit does not have the reasons as they were: %v", got)
	}
}
