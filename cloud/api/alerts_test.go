package api_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// alerting puts an alerting on the bus that answers everything with answer.
func (s *site) alerting(answer func(registered) contract.RegistryAnswer) chan registered {
	s.t.Helper()
	heard := make(chan registered, 100)
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		s.component(family, "alerting", func(_ context.Context, r hook.Request, w *hook.Answer) error {
			one := registered{Family: string(family), Resource: r.Subpath}
			if err := json.Unmarshal(r.Data, &one.RegistryRequest); err != nil {
				return err
			}
			select {
			case heard <- one:
			default: // nobody looks
			}
			data, err := json.Marshal(answer(one))
			w.Send(data, nil)
			return err
		})
	}
	return heard
}

// alertOn is an alert as the alerting has it.
func alertOn(floor int) contract.Alert {
	a := contract.Alert{
		Rule: "plug-unreachable", Severity: contract.Warning, Subject: fmt.Sprintf("sp_f%d.g0", floor), Gateway: fmt.Sprintf("edge-f%d", floor),
		State: contract.Firing, Since: 1_700_000_000_500_000, Fired: 1_700_000_600_000_000, Summary: `The plug at "Desk", 1 is not reached.`,
	}
	a.ID = fmt.Sprintf("plug-unreachable/sp_f%d.g0/1700000000500000", floor)
	if floor != 0 {
		a.Floor = &floor
	}
	return a
}

func content(t testing.TB, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRequestsBecomeOneMessageToTheAlerting(t *testing.T) {
	s := start(t, guarded, func(c *api.Config) { c.HTTP.AnswerTimeout = 3 * time.Second }).invents()
	s.house()
	heard := s.alerting(func(r registered) contract.RegistryAnswer {
		switch r.Verb {
		case "list":
			if r.Resource == "rules" {
				return contract.RegistryAnswer{Content: json.RawMessage(`{"rules":[]}`)}
			}
			return contract.RegistryAnswer{Content: json.RawMessage(`[]`)}
		case "export":
			return contract.RegistryAnswer{Content: json.RawMessage(`"rules: []\n"`)}
		}
		return contract.RegistryAnswer{Content: json.RawMessage(`{}`)}
	})
	name, value := s.token(contract.Token{Name: "ana", Role: contract.Admin})
	type request = contract.RegistryRequest
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	filter := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for ask, want := range map[string]registered{
		"GET /api/v1/alerts": {"query", "alerts", request{Verb: "list", Limit: 100}},
		"GET /api/v1/alerts?state=all&rule=a&severity=critical&late=no&floor=1,2&device=sp_f1.g0&gateway=edge-f1&limit=5": {"query", "alerts", request{
			Verb: "list", Limit: 5, Filter: filter("state", "all", "rule", "a", "severity", "critical", "late", "no", "floor", "1,2", "device", "sp_f1.g0", "gateway", "edge-f1"),
		}},
		"GET /api/v1/alerts?from=2023-11-14T22:13:20.5Z&to=2023-11-14T23:13:20%2B01:00": {"query", "alerts", request{
			Verb: "list", Limit: 100, Filter: filter("from", "1700000000.5", "to", "1700000000"),
		}},
		"GET /api/v1/alerts?from=1700000000.25&to=2023-11-14T23:13:20+01:00": {"query", "alerts", request{
			Verb: "list", Limit: 100, Filter: filter("from", "1700000000.25", "to", "1700000000"),
		}},
		"GET /api/v1/alerts/a/sp_f1.g0/17":                               {"query", "alerts", request{Verb: "get", Key: "a/sp_f1.g0/17"}},
		"GET /api/v1/alerts/a%2Fsp_f1.g0%2F17":                           {"query", "alerts", request{Verb: "get", Key: "a/sp_f1.g0/17"}},
		"GET /api/v1/alerts/rules%2Fsite%2F17":                           {"query", "alerts", request{Verb: "get", Key: "rules/site/17"}},
		"GET /api/v1/alerts/rules/site/17":                               {"query", "alerts", request{Verb: "get", Key: "rules/site/17"}},
		"GET /api/v1/alerts?id=a/sp_f1.g0/17":                            {"query", "alerts", request{Verb: "get", Key: "a/sp_f1.g0/17"}},
		`POST /api/v1/alerts/acknowledge {"id":"a/b/1","reason":"seen"}`: {"command", "alerts", request{Verb: "acknowledge", Key: "a/b/1", Reason: "seen", Content: raw(`{}`)}},
		`POST /api/v1/alerts/acknowledge?dry_run=true&reason=x {"filter":{"floor":[1,-2],"rule":"a","gateway":["g","h"]}}`: {"command", "alerts", request{
			Verb: "acknowledge", Reason: "x", DryRun: true, Content: raw(`{}`), Filter: filter("floor", "1,-2", "rule", "a", "gateway", "g,h"),
		}},
		`POST /api/v1/alerts/snooze {"id":"a/b/1","until":"2023-11-14T22:13:20Z"}`:    {"command", "alerts", request{Verb: "snooze", Key: "a/b/1", Content: raw(`{"until":1700000000}`)}},
		`POST /api/v1/alerts/snooze {"filter":{"floor":1},"until":1700000000.5}`:      {"command", "alerts", request{Verb: "snooze", Filter: filter("floor", "1"), Content: raw(`{"until":1700000000.5}`)}},
		`POST /api/v1/alerts/wake {"id":"a/b/1"}`:                                     {"command", "alerts", request{Verb: "wake", Key: "a/b/1", Content: raw(`{}`)}},
		"GET /api/v1/alerts/statistics?from=1700000000&rule=x":                        {"query", "statistics", request{Verb: "get", Filter: filter("from", "1700000000", "rule", "x")}},
		"GET /api/v1/alerts/rules":                                                    {"query", "rules", request{Verb: "list"}},
		"GET /api/v1/alerts/rules/left-on":                                            {"query", "rules", request{Verb: "get", Key: "left-on"}},
		`POST /api/v1/alerts/rules {"name":"x","when":{"above":1.50}}`:                {"command", "rules", request{Verb: "create", Content: raw(`{"name":"x","when":{"above":1.50}}`)}},
		`PUT /api/v1/alerts/rules/left-on?dry_run=true {"name":"left-on"}`:            {"command", "rules", request{Verb: "change", Key: "left-on", DryRun: true, Content: raw(`{"name":"left-on"}`)}},
		"DELETE /api/v1/alerts/rules/left-on?reason=noise":                            {"command", "rules", request{Verb: "delete", Key: "left-on", Reason: "noise"}},
		"GET /api/v1/alerts/rules.yaml":                                               {"query", "rules", request{Verb: "export"}},
		"PUT /api/v1/alerts/rules.yaml?dry_run=true rules: []":                        {"command", "rules", request{Verb: "import", DryRun: true, Content: raw(`{"text":"rules: []"}`)}},
		"GET /api/v1/alerts/maintenance":                                              {"query", "maintenance", request{Verb: "list", Limit: 100}},
		`POST /api/v1/alerts/maintenance {"select":{"floors":[2]},"from":1,"to":"2"}`: {"command", "maintenance", request{Verb: "create", Content: raw(`{"select":{"floors":[2]},"from":1,"to":2,"reason":""}`)}},
		"DELETE /api/v1/alerts/maintenance/m1":                                        {"command", "maintenance", request{Verb: "delete", Key: "m1"}},
		"GET /api/v1/alerts/audit?to=1700000000&limit=7":                              {"query", "audit", request{Verb: "list", Limit: 7, Filter: filter("to", "1700000000")}},
		"GET /api/v1/alerts/receivers":                                                {"query", "receivers", request{Verb: "list", Limit: 100}},
		"POST /api/v1/alerts/receivers/office/test":                                   {"command", "receivers", request{Verb: "test", Key: "office"}},
	} {
		t.Run(ask, func(t *testing.T) {
			method, rest, _ := strings.Cut(ask, " ")
			path, body, _ := strings.Cut(rest, " ")
			r := s.do(method, path, body, name, value)
			if r.status/100 != 2 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			want.From, want.Who = "127.0.0.1", "ana"
			if diff := cmp.Diff(want, <-heard); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnswersOfTheAlerting(t *testing.T) {
	s := start(t).invents()
	var answer contract.RegistryAnswer
	heard := s.alerting(func(registered) contract.RegistryAnswer { return answer })
	one := alertOn(1)
	one.Hushed = &contract.Hushed{Who: "ana", At: 1_700_000_700_000_000, Until: 1_700_001_000_000_000}

	answer = contract.RegistryAnswer{Content: content(t, []contract.Alert{one}), Next: "after this"}
	var page struct {
		Items []struct {
			ID           string
			Since, Fired time.Time
			Ended        *time.Time
			Hushed       struct{ At, Until time.Time }
		}
		Next string
	}
	s.get("/api/v1/alerts").json(&page)
	if len(page.Items) != 1 || page.Items[0].Since.UnixMicro() != int64(one.Since) || page.Items[0].Ended != nil || page.Items[0].Hushed.Until.Unix() != 1_700_001_000 {
		t.Errorf("%+v", page)
	}
	<-heard
	s.get("/api/v1/alerts?cursor="+page.Next).is(http.StatusOK, "")
	if got := <-heard; got.Cursor != "after this" {
		t.Errorf("cursor %q", got.Cursor)
	}
	r := s.get("/api/v1/alerts?state=all", "Accept", "text/csv")
	want := "id,rule,severity,state,device,gateway,floor,label,since,fired,ended,value,unit,flapping,late,hushed_by,hushed_until,summary,advice\r\n" +
		`plug-unreachable/sp_f1.g0/1700000000500000,plug-unreachable,warning,firing,,edge-f1,1,,2023-11-14T22:13:20.5Z,2023-11-14T22:23:20Z,,,,false,false,ana,2023-11-14T22:30:00Z,"The plug at ""Desk"", 1 is not reached.",` + "\r\n"
	if string(r.body) != want || !strings.Contains(r.header.Get("Link"), "/api/v1/alerts?cursor="+page.Next+"&state=all>") {
		t.Errorf("%s\n%q\nwant\n%q", r.header.Get("Link"), r.body, want)
	}

	answer = contract.RegistryAnswer{Content: content(t, one)}
	s.get("/api/v1/alerts/"+one.ID).is(http.StatusOK, "")
	for _, c := range []struct {
		content any
		want    string
	}{
		{one, `{"changed":1,"items":[`},
		{[]contract.Alert{one, one}, `{"changed":2,"items":[`},
		{nil, `{"changed":1}`},
	} {
		answer = contract.RegistryAnswer{Content: content(t, c.content)}
		if r := s.do(http.MethodPost, "/api/v1/alerts/wake", `{"id":"x"}`); !strings.HasPrefix(string(r.body), c.want) || strings.Contains(string(r.body), "1700000000") && c.content == nil {
			t.Errorf("%s, want %s", r.body, c.want)
		}
	}
	answer = contract.RegistryAnswer{}
	s.do(http.MethodPost, "/api/v1/alerts/wake", `{"filter":{"rule":"x"}}`).is(http.StatusOK, `{"changed":0}`)

	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"rules":[{"name":"x"}],"calendars":{"office":{}}}`), Revision: 9}
	r = s.get("/api/v1/alerts/rules")
	r.is(http.StatusOK, `{"items":[{"name":"x"}],"next":null,"calendars":{"office":{}}}`)
	if r.header.Get("ETag") != `"9"` {
		t.Errorf("%v", r.header)
	}
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"name":"x"}`), Revision: 10}
	r = s.do(http.MethodPost, "/api/v1/alerts/rules", `{"name":"x"}`)
	r.is(http.StatusCreated, `{"name":"x"}`)
	if r.header.Get("Location") != "/api/v1/alerts/rules/x" || r.header.Get("ETag") != `"10"` {
		t.Errorf("%v", r.header)
	}
	s.do(http.MethodPost, "/api/v1/alerts/rules?dry_run=true", `{"name":"x"}`).is(http.StatusOK, "")
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"id":"m1","from":1,"to":2}`)}
	r = s.do(http.MethodPost, "/api/v1/alerts/maintenance", `{"to":"2100-01-01T00:00:00Z"}`)
	r.is(http.StatusCreated, `{"id":"m1","from":"1970-01-01T00:00:01Z","to":"1970-01-01T00:00:02Z"}`)
	if r.header.Get("Location") != "/api/v1/alerts/maintenance/m1" {
		t.Errorf("%v", r.header)
	}
	answer = contract.RegistryAnswer{Content: json.RawMessage(`"rules: []\n"`), Revision: 4}
	r = s.get("/api/v1/alerts/rules.yaml")
	r.is(http.StatusOK, "rules: []")
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/yaml") || r.header.Get("ETag") != `"4"` {
		t.Errorf("%v", r.header)
	}
	answer = contract.RegistryAnswer{Content: json.RawMessage(`[{"rule":"x","count":3}]`)}
	s.get("/api/v1/alerts/statistics").is(http.StatusOK, `{"items":[{"rule":"x","count":3}],"next":null}`)
	answer = contract.RegistryAnswer{}
	s.do(http.MethodPost, "/api/v1/alerts/receivers/x/test", "").is(http.StatusNoContent, "")
	s.do(http.MethodDelete, "/api/v1/alerts/rules/x", "").is(http.StatusNoContent, "")
	for _, path := range []string{"", "/rules", "/rules.yaml", "/maintenance", "/receivers", "/audit"} {
		answer = contract.RegistryAnswer{Content: json.RawMessage(`{"odd":1}`)}
		s.get("/api/v1/alerts" + path).problem(http.StatusBadGateway)
	}
	answer = contract.RegistryAnswer{Problem: &contract.Problem{Kind: contract.Invalid, Detail: "no", Mistakes: []contract.Mistake{{Line: 3, Field: "rules[0].when", Detail: "bad"}}}}
	answer.Problem.Detail = "rules has 1 mistake:\n  rules[0].when (line 3): bad"
	if r := s.do(http.MethodPut, "/api/v1/alerts/rules.yaml", "rules: x"); !strings.Contains(string(r.body), `"detail":"rules has 1 mistake",`) || !strings.Contains(string(r.body), `"line":3,"field":"rules[0].when"`) {
		t.Errorf("%s", r.body)
	}
	answer = contract.RegistryAnswer{Problem: &contract.Problem{Kind: contract.Changed, Detail: "since you looked"}}
	s.do(http.MethodPut, "/api/v1/alerts/rules/x", `{}`, "If-Match", `"3"`).problem(http.StatusPreconditionFailed)
	for len(heard) > 1 {
		<-heard
	}
	if got := <-heard; got.Revision != 3 {
		t.Errorf("revision %d", got.Revision)
	}
}

func TestTextsInCSVAreNoFormulas(t *testing.T) {
	s := start(t)
	one := alertOn(-1)
	value := -4.5
	one.Value, one.Unit, one.Label, one.Summary, one.Advice = &value, "+W", `=HYPERLINK("http://x","y")`, "@SUM(A1)", "\t-1"
	one.Hushed = &contract.Hushed{Who: "-ana"}
	s.alerting(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: content(t, []contract.Alert{one})}
	})
	rows, err := csv.NewReader(bytes.NewReader(s.get("/api/v1/alerts", "Accept", "text/csv").body)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	for column, want := range map[string]string{
		"floor": "-1", "value": "-4.5", "unit": "'+W", "label": `'=HYPERLINK("http://x","y")`, "summary": "'@SUM(A1)", "advice": "'\t-1", "hushed_by": "'-ana", "rule": "plug-unreachable",
	} {
		if got := rows[1][slices.Index(rows[0], column)]; got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
}

func TestMistakesInRequestsToTheAlerting(t *testing.T) {
	s := start(t)
	heard := s.alerting(func(registered) contract.RegistryAnswer { return contract.RegistryAnswer{} })
	for request, word := range map[string]string{
		`GET /api/v1/alerts?colour=red`:                                               "no such parameter",
		`GET /api/v1/alerts?floor=two`:                                                "not a whole number",
		`GET /api/v1/alerts?from=yesterday`:                                           "POSIX seconds",
		`GET /api/v1/alerts?from=-5`:                                                  "POSIX seconds",
		`GET /api/v1/alerts?to=1&to=2`:                                                "more than once",
		`GET /api/v1/alerts?id=x&rule=y`:                                              "names one alert",
		`GET /api/v1/alerts?limit=0`:                                                  "limit",
		`GET /api/v1/alerts/%ff`:                                                      "not well escaped",
		`GET /api/v1/alerts/x?y=1`:                                                    "no such parameter",
		`GET /api/v1/alerts/receivers?name=x`:                                         "no such parameter",
		`GET /api/v1/alerts/statistics?cursor=x`:                                      "no such parameter",
		`GET /api/v1/alerts/rules?x=1`:                                                "no such parameter",
		`POST /api/v1/alerts/acknowledge`:                                             "not a JSON object",
		`POST /api/v1/alerts/acknowledge {}`:                                          "want either id",
		`POST /api/v1/alerts/acknowledge {"id":""}`:                                   "empty",
		`POST /api/v1/alerts/acknowledge {"id":"x","filter":{"rule":"x"}}`:            "want either id",
		`POST /api/v1/alerts/acknowledge {"id":"x","until":1}`:                        "/until",
		`POST /api/v1/alerts/acknowledge {"filter":{}}`:                               "names nothing",
		`POST /api/v1/alerts/acknowledge {"filter":[]}`:                               "not an object",
		`POST /api/v1/alerts/acknowledge {"filter":{"state":"all"}}`:                  "/filter/state",
		`POST /api/v1/alerts/acknowledge {"filter":{"floor":"ground"}}`:               "/filter/floor",
		`POST /api/v1/alerts/acknowledge {"filter":{"rule":{"a":1}}}`:                 "/filter/rule",
		`POST /api/v1/alerts/snooze {"id":"x"}`:                                       "/until",
		`POST /api/v1/alerts/snooze {"id":"x","until":"soon"}`:                        "soon",
		`POST /api/v1/alerts/snooze {"id":"x","until":1,"reason":"` + longText + `"}`: "longer than",
		`PUT /api/v1/alerts/rules.yaml`:                                               "empty",
		"PUT /api/v1/alerts/rules.yaml a:\n\xff":                                      `"line":2`,
		`PUT /api/v1/alerts/rules/x`:                                                  "not a JSON object",
		`PUT /api/v1/alerts/rules/x {"a":1,"a":2}`:                                    "given twice",
		`POST /api/v1/alerts/rules?dry_run=perhaps {}`:                                "dry_run",
		`POST /api/v1/alerts/maintenance {}`:                                          "/to",
		`POST /api/v1/alerts/maintenance {"from":5,"to":5}`:                           "not after from",
		`POST /api/v1/alerts/maintenance {"to":4102444800,"select":{"floor":2}}`:      "/select/floor",
		`POST /api/v1/alerts/maintenance {"to":4102444800,"select":{"floors":"2"}}`:   "/select/floors",
		`POST /api/v1/alerts/maintenance {"to":4102444800,"select":7}`:                "not an object",
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := s.do(method, path, body)
		if r.problem(http.StatusBadRequest, word); t.Failed() {
			t.Fatalf("%.100s: %s", request, r.body)
		}
	}
	if len(heard) > 0 {
		t.Errorf("the alerting heard %v", <-heard)
	}
}

func TestRolesOpenTheRoutesOfAlerts(t *testing.T) {
	s := start(t, guarded).invents()
	s.house()
	headers := map[contract.Role][2]string{}
	for _, role := range []contract.Role{contract.Viewer, contract.Operator, contract.Admin} {
		name, value := s.token(contract.Token{Name: string(role), Role: role})
		headers[role] = [2]string{name, value}
	}
	s.alerting(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: json.RawMessage(`[]`)}
	})
	viewer, operator, admin := contract.Viewer, contract.Operator, contract.Admin
	rank := []contract.Role{viewer, operator, admin}
	for route, needs := range map[string]contract.Role{
		"GET /api/v1/alerts": viewer, "GET /api/v1/alerts/x/y/1": viewer, "GET /api/v1/alerts/statistics": viewer, "GET /api/v1/alerts/rules": viewer,
		"GET /api/v1/alerts/rules/x": viewer, "GET /api/v1/alerts/rules.yaml": viewer, "GET /api/v1/alerts/maintenance": viewer, "GET /api/v1/alerts/receivers": viewer,
		"POST /api/v1/alerts/acknowledge": operator, "POST /api/v1/alerts/snooze": operator, "POST /api/v1/alerts/wake": operator,
		"POST /api/v1/alerts/maintenance": operator, "DELETE /api/v1/alerts/maintenance/x": operator,
		"POST /api/v1/alerts/rules": admin, "PUT /api/v1/alerts/rules/x": admin, "DELETE /api/v1/alerts/rules/x": admin, "PUT /api/v1/alerts/rules.yaml": admin,
		"POST /api/v1/alerts/receivers/x/test": admin, "GET /api/v1/alerts/audit": admin,
	} {
		method, path, _ := strings.Cut(route, " ")
		s.do(method, path, "").problem(http.StatusUnauthorized)
		for _, role := range rank {
			r := s.do(method, path, "", headers[role][0], headers[role][1])
			if slices.Index(rank, role) < slices.Index(rank, needs) {
				r.problem(http.StatusForbidden, "needs the role "+string(needs))
			} else if r.status == http.StatusUnauthorized || r.status == http.StatusForbidden {
				t.Errorf("%s as %s: %d %s", route, role, r.status, r.body)
			}
		}
	}
}

func TestMaintenanceOfWhatIsNotThereIsRefused(t *testing.T) {
	s := start(t).invents()
	s.register()
	s.alerting(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: json.RawMessage(`{"id":"m1"}`)}
	})
	for sel, words := range map[string]string{
		`{"floors":[2,9]}`:                     "floor 9 has neither a place nor a gateway",
		`{"gateways":["edge-f9"]}`:             `there is no gateway \"edge-f9\"`,
		`{"devices":["sp_f2.g3","sp_f2.g77"]}`: "no place sp_f2.g77 is registered",
		`{"except":["sp_r1c2"]}`:               "malformed device id",
	} {
		r := s.do(http.MethodPost, "/api/v1/alerts/maintenance", `{"to":4102444800,"reason":"x","select":`+sel+`}`)
		if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), words) {
			t.Errorf("%s: %d %s", sel, r.status, r.body)
		}
	}
	r := s.do(http.MethodPost, "/api/v1/alerts/maintenance", `{"to":4102444800,"reason":"x","select":{"floors":[1,2],"gateways":["edge-f3"],"devices":["sp_g3","sp_f1.g3"],"types":["q"]}}`)
	if r.status/100 != 2 {
		t.Errorf("what is there: %d %s", r.status, r.body)
	}
}

func TestAlertsOfOtherFloorsAreInvisible(t *testing.T) {
	s := start(t, guarded, func(c *api.Config) { c.HTTP.AnswerTimeout = 3 * time.Second }).invents()
	s.house()
	// It does not look at the floors that are asked for, so that the api must.
	heard := s.alerting(func(r registered) contract.RegistryAnswer {
		switch {
		case r.Resource == "maintenance" && r.Verb == "list":
			return contract.RegistryAnswer{Content: json.RawMessage(`[{"id":"all","select":{}},{"id":"mine","select":{"floors":[2]}},{"id":"both","select":{"floors":[1,2]}},` +
				`{"id":"first","select":{"floors":[1]}},{"id":"gateway","select":{"gateways":["edge-f1"]}},{"id":"device","select":{"devices":["sp_f1.g0"]}},{"id":"own","select":{"devices":["sp_f2.g0"]}}]`)}
		case r.Verb == "list":
			return contract.RegistryAnswer{Content: content(t, []contract.Alert{alertOn(1), alertOn(2), alertOn(0)})}
		case r.Verb == "get" && r.Key == "none":
			return contract.RegistryAnswer{Problem: &contract.Problem{Kind: contract.NotFound, Detail: "no alert none"}}
		case r.Verb == "get":
			floor := 0
			_, _ = fmt.Sscan(r.Key, &floor)
			return contract.RegistryAnswer{Content: content(t, alertOn(floor))}
		}
		return contract.RegistryAnswer{Content: content(t, []contract.Alert{alertOn(1), alertOn(2)})}
	})
	name, value := s.token(contract.Token{Name: "south", Role: contract.Operator, Floors: []int{2, 3}})
	ask := func(method, path, body string) response {
		t.Helper()
		for len(heard) > 0 {
			<-heard
		}
		return s.do(method, path, body, name, value)
	}
	text := string(ask(http.MethodGet, "/api/v1/alerts", "").body)
	if got := <-heard; got.Filter["floor"] != "2,3" {
		t.Errorf("asked for %v", got.Filter)
	}
	if !strings.Contains(text, "sp_f2.g0") || strings.Contains(text, "sp_f1.g0") || strings.Contains(text, "sp_f0.g0") {
		t.Errorf("%s", text)
	}
	if table := s.get("/api/v1/alerts", name, value, "Accept", "text/csv"); strings.Contains(string(table.body), "sp_f1") || !strings.Contains(string(table.body), "sp_f2") {
		t.Errorf("%s", table.body)
	}
	ask(http.MethodGet, "/api/v1/alerts?floor=1", "").problem(http.StatusForbidden, "floors 2, 3")
	ask(http.MethodGet, "/api/v1/alerts?floor=2,1", "").problem(http.StatusForbidden)
	ask(http.MethodGet, "/api/v1/alerts?floor=3", "").is(http.StatusOK, "")
	ask(http.MethodGet, "/api/v1/alerts/2", "").is(http.StatusOK, "")
	none := ask(http.MethodGet, "/api/v1/alerts/none", "").problem(http.StatusNotFound)
	for _, id := range []string{"1", "0"} { // another floor's, the site's
		other := ask(http.MethodGet, "/api/v1/alerts/"+id, "").problem(http.StatusNotFound)
		if strings.Replace(other.Detail, "alert "+id, "alert none", 1) != none.Detail {
			t.Errorf("one can tell %q from %q", other.Detail, none.Detail)
		}
	}
	for _, verb := range []string{"acknowledge", "wake"} {
		for body, want := range map[string]int{
			`{"id":"1"}`: 404, `{"id":"none"}`: 404, `{"id":"2"}`: 200, `{"filter":{"floor":1}}`: 403, `{"filter":{"floor":[2,1]}}`: 403, `{"filter":{"rule":"x"}}`: 200,
		} {
			r := ask(http.MethodPost, "/api/v1/alerts/"+verb, body)
			if r.status != want || strings.Contains(string(r.body), "sp_f1") {
				t.Errorf("%s %s: %d %s", verb, body, r.status, r.body)
			}
			commanded := false
			for len(heard) > 0 {
				got := <-heard
				commanded = commanded || got.Family == "command"
				if got.Family == "command" && got.Key == "" && got.Filter["floor"] != "2,3" {
					t.Errorf("%s: asked for %v", body, got.Filter)
				}
			}
			if commanded != (want == 200) {
				t.Errorf("%s: commanded %t", body, commanded)
			}
		}
	}
	var windows struct{ Items []struct{ ID string } }
	ask(http.MethodGet, "/api/v1/alerts/maintenance", "").json(&windows)
	if got := fmt.Sprint(windows.Items); got != "[{all} {mine} {both} {own}]" {
		t.Errorf("windows %s", got)
	}
	for id, want := range map[string]int{"mine": 200, "both": 403, "all": 403, "own": 403, "first": 404, "nothing": 404} {
		if r := ask(http.MethodDelete, "/api/v1/alerts/maintenance/"+id, ""); r.status != want {
			t.Errorf("delete %s: %d %s", id, r.status, r.body)
		}
	}
	for sel, want := range map[string]int{`{}`: 403, `{"floors":[2]}`: 201, `{"floors":[2,1]}`: 403, `{"gateways":["edge-f2"]}`: 403, `{"floors":[3],"types":["w"]}`: 201} {
		if r := ask(http.MethodPost, "/api/v1/alerts/maintenance", `{"to":4102444800,"select":`+sel+`}`); r.status != want {
			t.Errorf("window %s: %d %s", sel, r.status, r.body)
		}
	}
	for _, path := range []string{"/statistics", "/rules", "/rules/x", "/rules.yaml", "/receivers"} {
		ask(http.MethodGet, "/api/v1/alerts"+path, "").problem(http.StatusForbidden, "whole site")
	}
}

func TestWhatAnAlertCoversOnOtherFloorsIsInvisible(t *testing.T) {
	s := start(t, guarded, func(c *api.Config) { c.HTTP.AnswerTimeout = 3 * time.Second })
	s.house() // its default floor is 1
	one := alertOn(2)
	one.Covers, one.CoversMore = []string{"sp_f1.g0", "sp_f2.g1", "sp_g7", "nobody", "sp_f3.g1"}, 4
	none := alertOn(2)
	none.Covers = []string{"sp_f1.g0"}
	s.alerting(func(r registered) contract.RegistryAnswer {
		if r.Verb == "get" {
			return contract.RegistryAnswer{Content: content(t, one)}
		}
		return contract.RegistryAnswer{Content: content(t, []contract.Alert{one, none})}
	})
	name, value := s.token(contract.Token{Name: "south", Role: contract.Operator, Floors: []int{2, 3}})
	for request, body := range map[string]string{
		"GET /api/v1/alerts": "", "GET /api/v1/alerts/2": "", "POST /api/v1/alerts/wake": `{"filter":{"rule":"x"}}`, "POST /api/v1/alerts/acknowledge": `{"id":"2"}`,
	} {
		method, path, _ := strings.Cut(request, " ")
		text := string(s.do(method, path, body, name, value).body)
		if !strings.Contains(text, `"covers":["sp_f2.g1","sp_f3.g1"]`) || strings.Contains(text, "sp_f1") || strings.Contains(text, "sp_g7") || strings.Contains(text, "nobody") {
			t.Errorf("%s: %s", request, text)
		}
	}
	name, value = s.token(contract.Token{Name: "all", Role: contract.Operator})
	if text := string(s.do(http.MethodGet, "/api/v1/alerts/2", "", name, value).body); !strings.Contains(text, "sp_f1.g0") {
		t.Errorf("who sees all: %s", text)
	}
}

func TestTheRelayDoesNotLeadToTheAlerting(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = time.Second })
	heard := s.alerting(func(registered) contract.RegistryAnswer { return contract.RegistryAnswer{} })
	for _, path := range []string{"/api/in/alerting/alerts", "/api/in/alerting", "/api/in/%61lerting/rules", "/api/in/alerting%2Frules"} {
		s.put(path, `{"payload":{"verb":"acknowledge"}}`).problem(http.StatusForbidden, "/api/v1")
	}
	for _, path := range []string{"/api/out/alerting/alerts", "/api/out/alerting", "/api/out/alerting/"} {
		s.get(path).problem(http.StatusForbidden)
	}
	if len(heard) > 0 {
		t.Errorf("the relay led to %v", <-heard)
	}
}
