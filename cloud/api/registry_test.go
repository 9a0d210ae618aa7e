package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// registered is what the fake registry heard.
type registered struct {
	Family, Resource string
	contract.RegistryRequest
}

// registry puts a registry on the bus that answers everything with answer.
func (s *site) registry(answer func(registered) contract.RegistryAnswer) chan registered {
	s.t.Helper()
	heard := make(chan registered, 100)
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		s.component(family, "registry", func(_ context.Context, r hook.Request, w *hook.Answer) error {
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

func TestRequestsBecomeOneMessageToTheRegistry(t *testing.T) {
	s := start(t, guarded).invents()
	s.housed()
	heard := s.registry(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: json.RawMessage(`[]`)}
	})
	name, value := s.token(contract.Token{Name: "ana", Role: contract.Admin})
	for request, want := range map[string]registered{
		"GET /api/v1/site":                                  {"query", "site", contract.RegistryRequest{Verb: "get"}},
		`PATCH /api/v1/site {"time_zone":"UTC"}`:            {"command", "site", contract.RegistryRequest{Verb: "change", Content: json.RawMessage(`{"time_zone":"UTC"}`)}},
		`POST /api/v1/devices?dry_run=true {"a":null}`:      {"command", "places", contract.RegistryRequest{Verb: "create", DryRun: true, Content: json.RawMessage(`{"a":null}`)}},
		`PATCH /api/v1/devices/sp_g1 {"b":1.50}`:            {"command", "places", contract.RegistryRequest{Verb: "change", Key: "sp_g1", Content: json.RawMessage(`{"b":1.50}`)}},
		"DELETE /api/v1/devices/sp_f-1.g1?reason=moved+out": {"command", "places", contract.RegistryRequest{Verb: "delete", Key: "sp_f-1.g1", Reason: "moved out"}},
		`PUT /api/v1/devices/sp_g1/plug {"plug":"x"}`:       {"command", "places", contract.RegistryRequest{Verb: "plug", Key: "sp_g1", Content: json.RawMessage(`{"plug":"x"}`)}},
		"DELETE /api/v1/devices/sp_g1/plug":                 {"command", "places", contract.RegistryRequest{Verb: "unplug", Key: "sp_g1"}},
		"GET /api/v1/plugs?placed=no&limit=5":               {"query", "plugs", contract.RegistryRequest{Verb: "list", Limit: 5, Filter: map[string]string{"placed": "no"}}},
		"GET /api/v1/plugs/AA:BB":                           {"query", "plugs", contract.RegistryRequest{Verb: "get", Key: "AA:BB"}},
		"DELETE /api/v1/plugs/AA%3ABB":                      {"command", "plugs", contract.RegistryRequest{Verb: "delete", Key: "AA:BB"}},
		`POST /api/v1/gateways {"gateway":"g"}`:             {"command", "gateways", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"gateway":"g"}`)}},
		`PATCH /api/v1/gateways/g {"label":null}`:           {"command", "gateways", contract.RegistryRequest{Verb: "change", Key: "g", Content: json.RawMessage(`{"label":null}`)}},
		"DELETE /api/v1/gateways/g":                         {"command", "gateways", contract.RegistryRequest{Verb: "delete", Key: "g"}},
		"POST /api/v1/gateways/g/join-token":                {"command", "enrolment", contract.RegistryRequest{Verb: "join", Key: "g"}},
		`POST /api/v1/gateways/g/approve {"key":"00"}`:      {"command", "enrolment", contract.RegistryRequest{Verb: "approve", Key: "g", Content: json.RawMessage(`{"key":"00"}`)}},
		"POST /api/v1/gateways/g/refuse":                    {"command", "enrolment", contract.RegistryRequest{Verb: "refuse", Key: "g"}},
		"POST /api/v1/gateways/g/revoke?reason=stolen":      {"command", "enrolment", contract.RegistryRequest{Verb: "revoke", Key: "g", Reason: "stolen"}},
		"GET /api/v1/enrolments":                            {"query", "enrolment", contract.RegistryRequest{Verb: "list", Limit: 100}},
		"GET /api/v1/tokens?role=admin":                     {"query", "tokens", contract.RegistryRequest{Verb: "list", Limit: 100, Filter: map[string]string{"role": "admin"}}},
		`POST /api/v1/tokens {"name":"x","role":"viewer"}`:  {"command", "tokens", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name":"x","role":"viewer"}`)}},
		"DELETE /api/v1/tokens/0011":                        {"command", "tokens", contract.RegistryRequest{Verb: "delete", Key: "0011"}},
		`POST /api/v1/enrolments {"csr":"x","gateway":"g"}`: {"command", "enrolment", contract.RegistryRequest{Verb: "request", Who: "address 127.0.0.1", Content: json.RawMessage(`{"csr":"x","gateway":"g"}`)}},
		`POST /api/v1/enrolments/renew {"gateway":"g"}`:     {"command", "enrolment", contract.RegistryRequest{Verb: "renew", Who: "address 127.0.0.1", Content: json.RawMessage(`{"gateway":"g"}`)}},
	} {
		t.Run(request, func(t *testing.T) {
			method, rest, _ := strings.Cut(request, " ")
			path, body, _ := strings.Cut(rest, " ")
			r := s.do(method, path, body, name, value)
			if r.status/100 != 2 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if want.From = "127.0.0.1"; want.Who == "" {
				want.Who = "ana"
			}
			if diff := cmp.Diff(want, <-heard); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnswersOfTheRegistry(t *testing.T) {
	s := start(t).invents()
	var answer contract.RegistryAnswer
	heard := s.registry(func(registered) contract.RegistryAnswer { return answer })
	ask := func(method, path, body string, header ...string) response {
		t.Helper()
		r := s.do(method, path, body, header...)
		for len(heard) > 0 {
			<-heard
		}
		return r
	}

	ask(http.MethodPost, "/api/v1/devices", `{"device":"sp_f1.g0"}`).problem(http.StatusServiceUnavailable, "registry has not been heard")
	s.housed()
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"id":"sp_f1.g0","created":1700000000.5,"label":"\"at\":12,"}`), Revision: 17}
	r := ask(http.MethodPost, "/api/v1/gateways", `{}`)
	r.is(http.StatusCreated, `{"id":"sp_f1.g0","created":"2023-11-14T22:13:20.5Z","label":"\"at\":12,"}`)
	if r.header.Get("Location") != "/api/v1/gateways/sp_f1.g0" || r.header.Get("ETag") != `"17"` || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", r.header)
	}
	ask(http.MethodPost, "/api/v1/devices?dry_run=true", `{}`).is(http.StatusOK, "")
	if r := ask(http.MethodGet, "/api/v1/site", ""); r.status != http.StatusOK || r.header.Get("ETag") != `"17"` {
		t.Errorf("%d %v", r.status, r.header)
	}
	answer = contract.RegistryAnswer{}
	ask(http.MethodDelete, "/api/v1/devices/sp_f1.g0", "").is(http.StatusNoContent, "")
	answer = contract.RegistryAnswer{Content: json.RawMessage(`[{"seen":1}]`), Next: "after this"}
	var page struct {
		Items []struct{ Seen time.Time }
		Next  string
	}
	ask(http.MethodGet, "/api/v1/plugs", "").json(&page)
	if len(page.Items) != 1 || page.Items[0].Seen.Unix() != 1 {
		t.Errorf("%+v", page)
	}
	s.get("/api/v1/plugs?cursor="+page.Next).is(http.StatusOK, "")
	if got := <-heard; got.Cursor != "after this" {
		t.Errorf("cursor %q", got.Cursor)
	}
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"state":"pending"}`)}
	if r := ask(http.MethodPost, "/api/v1/enrolments", `{}`); r.status != http.StatusAccepted || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.status, r.header)
	}
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{"state":"trusted","certificate":"x"}`)}
	ask(http.MethodPost, "/api/v1/enrolments", `{}`).is(http.StatusOK, "")
	answer = contract.RegistryAnswer{Content: json.RawMessage(`{}`)}
	ask(http.MethodGet, "/api/v1/plugs", "").problem(http.StatusBadGateway)
	ask(http.MethodGet, "/api/v1/inventory", "").problem(http.StatusBadGateway)
}

func TestProblemsOfTheRegistry(t *testing.T) {
	s := start(t).invents()
	s.housed()
	var problem contract.Problem
	s.registry(func(registered) contract.RegistryAnswer { return contract.RegistryAnswer{Problem: &problem} })
	for kind, status := range map[contract.ProblemKind]int{
		contract.Invalid: 400, contract.NotFound: 404, contract.Conflict: 409, contract.Changed: 412, contract.Denied: 403, contract.NotNow: 503, "odd": 502,
	} {
		problem = contract.Problem{Kind: kind, Detail: "this is why"}
		s.do(http.MethodDelete, "/api/v1/devices/sp_f1.g0", "").problem(status, "this is why")
	}
	problem = contract.Problem{Kind: contract.Invalid, Detail: "no", Mistakes: []contract.Mistake{{Field: "name", Detail: "bad"}, {Field: "plug.mac", Detail: "worse"}}}
	p := s.do(http.MethodPatch, "/api/v1/site", `{}`).problem(400)
	if fmt.Sprint(p.Errors) != "[{ /name bad} { /plug/mac worse}]" {
		t.Errorf("%v", p.Errors)
	}
	if p := s.get("/api/v1/plugs?name=x").problem(400); fmt.Sprint(p.Errors) != "[{name  bad} {plug.mac  worse}]" {
		t.Errorf("%v", p.Errors)
	}
	problem.Mistakes = nil
	for line := range 1000 {
		problem.Mistakes = append(problem.Mistakes, contract.Mistake{Line: line + 2, Field: "mac", Detail: "bad"})
	}
	r := s.do(http.MethodPost, "/api/v1/inventory?format=csv", "a,b")
	r.problem(400)
	var told struct {
		Errors []struct {
			Line          int
			Field, Detail string
		}
	}
	if r.json(&told); len(told.Errors) != 1000 || told.Errors[999].Line != 1001 || told.Errors[999].Field != "mac" {
		t.Errorf("%d mistakes told", len(told.Errors))
	}
}

func TestIfMatchIsTheRevisionSeen(t *testing.T) {
	s := start(t).invents()
	s.housed()
	heard := s.registry(func(registered) contract.RegistryAnswer { return contract.RegistryAnswer{} })
	for tag, revision := range map[string]uint64{"": 0, "*": 0, `"7"`: 7, ` "18446744073709551" `: 18446744073709551} {
		s.do(http.MethodDelete, "/api/v1/devices/sp_g1", "", "If-Match", tag).is(http.StatusNoContent, "")
		if got := <-heard; got.Revision != revision {
			t.Errorf("%s: %d", tag, got.Revision)
		}
	}
	for _, tag := range []string{`"0"`, `7`, `W/"7"`, `"x"`, `"7", "8"`, `"99999999999999999999"`, strings.Repeat("x", 1000)} {
		s.do(http.MethodDelete, "/api/v1/devices/sp_g1", "", "If-Match", tag).problem(http.StatusPreconditionFailed, "ETag")
	}
	if len(heard) > 0 {
		t.Errorf("the registry heard %v", <-heard)
	}
}

func TestMistakesInRequestsToTheRegistry(t *testing.T) {
	s := start(t)
	heard := s.registry(func(registered) contract.RegistryAnswer { return contract.RegistryAnswer{} })
	for request, word := range map[string]string{
		`POST /api/v1/devices`:                                  "not a JSON object",
		`POST /api/v1/devices []`:                               "not a JSON object",
		`POST /api/v1/devices {"a":1,"a":2}`:                    "given twice",
		`POST /api/v1/devices {"a":[{"b":{"c":1,"c":2}}]}`:      "/a/0/b/c",
		`POST /api/v1/devices {"a":1,"\u0061":2}`:               "given twice",
		`POST /api/v1/devices?dry_run=yes {}`:                   "dry_run",
		`POST /api/v1/devices?dryrun=true {}`:                   "no such parameter",
		`DELETE /api/v1/devices/x?reason=a&reason=b`:            "more than once",
		"DELETE /api/v1/devices/x?reason=" + longText:           "longer than",
		`DELETE /api/v1/devices/%ff`:                            "not well escaped",
		`GET /api/v1/plugs?placed=no&placed=yes`:                "more than once",
		`GET /api/v1/plugs?limit=0`:                             "limit",
		`GET /api/v1/plugs?cursor=!`:                            "cursor",
		`GET /api/v1/site?x=1`:                                  "no such parameter",
		`POST /api/v1/enrolments {"gateway":"a","gateway":"b"}`: "given twice",
		`POST /api/v1/inventory a,b`:                            "format",
		`POST /api/v1/inventory?format=xml a,b`:                 "csv",
		`POST /api/v1/inventory?format=csv`:                     "empty",
		"POST /api/v1/inventory?format=csv a\nb\n\xff":          `"line":3`,
		`GET /api/v1/inventory?format=etcd`:                     "csv",
		`GET /api/v1/audit?cursor=eHg`:                          "cursor",
		`GET /api/v1/audit?whom=x`:                              "whom",
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := s.do(method, path, body)
		if r.problem(http.StatusBadRequest, word); t.Failed() {
			t.Fatalf("%.100s: %s", request, r.body)
		}
	}
	if len(heard) > 0 {
		t.Errorf("the registry heard %v", <-heard)
	}
}

var longText = strings.Repeat("x", 300)

func TestAnInventoryIsAFile(t *testing.T) {
	s := start(t).invents()
	heard := s.registry(func(r registered) contract.RegistryAnswer {
		if r.Verb == "export" {
			return contract.RegistryAnswer{Content: json.RawMessage(fmt.Sprintf("%q", "text of "+r.Filter["format"]+"\n"))}
		}
		return contract.RegistryAnswer{Content: json.RawMessage(`{"created":3}`)}
	})
	for path, want := range map[string][2]string{
		"/api/v1/inventory": {"text of csv", "text/csv"}, "/api/v1/inventory?format=yaml": {"text of yaml", "application/yaml"},
	} {
		r := s.get(path)
		r.is(http.StatusOK, want[0])
		if got := r.header.Get("Content-Type"); !strings.HasPrefix(got, want[1]) {
			t.Errorf("%s: %s", path, got)
		}
		<-heard
	}
	s.get("/api/v1/inventory", "Accept", "application/yaml").is(http.StatusOK, "text of yaml")
	<-heard
	s.get("/api/v1/inventory", "Accept", "image/png").problem(http.StatusNotAcceptable)
	for header, format := range map[string]string{"text/csv; charset=utf-8": "csv", "application/yaml": "yaml", "application/json": "etcd"} {
		s.do(http.MethodPost, "/api/v1/inventory?dry_run=true", "\ufeffa,b\r\n", "Content-Type", header).is(http.StatusOK, `{"created":3}`)
		var content struct{ Format, Text string }
		got := <-heard
		if err := json.Unmarshal(got.Content, &content); err != nil || !got.DryRun || content.Format != format || content.Text != "\ufeffa,b\r\n" {
			t.Errorf("%s: %+v %v", header, got, err)
		}
	}
	s.do(http.MethodPost, "/api/v1/inventory?format=csv&remove=true", "a,b").is(http.StatusOK, "")
	if got := string((<-heard).Content); !strings.Contains(got, `"remove":true`) {
		t.Errorf("removing: %s", got)
	}
	s.do(http.MethodPost, "/api/v1/inventory?format=csv&remove=yes", "a,b").problem(http.StatusBadRequest, "remove")
	s.do(http.MethodPost, "/api/v1/inventory?format=csv", strings.Repeat("a,b,c,d\n", 3<<17)).is(http.StatusOK, "")
	if n := len((<-heard).Content); n < 3<<20 {
		t.Errorf("%d bytes", n)
	}
	s.do(http.MethodPost, "/api/v1/inventory?format=csv", strings.Repeat("\"", 5<<19)).problem(http.StatusRequestEntityTooLarge, "split")
	for _, path := range []string{"/api/v1/inventory?format=csv", "/api/v1/devices"} {
		text := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
		if r := s.raw(t, text); r.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s of 100 MB: %d", path, r.status)
		}
	}
	if r := s.raw(t, "POST /api/v1/devices HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MB elsewhere: %d", r.status)
	}
}

func TestEnrolmentsAreThrottled(t *testing.T) {
	s := start(t).invents()
	s.registry(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: json.RawMessage(`{"state":"pending"}`)}
	})
	throttled := 0
	for range 100 {
		if r := s.do(http.MethodPost, "/api/v1/enrolments", `{}`); r.status == http.StatusTooManyRequests {
			throttled++
			r.problem(http.StatusTooManyRequests, "enrolments")
		}
	}
	if throttled == 0 || throttled > 45 {
		t.Errorf("%d of 100 throttled", throttled)
	}
	if r := s.do(http.MethodPost, "/api/v1/enrolments/renew", `{}`); r.status != http.StatusTooManyRequests {
		t.Errorf("a renewal is not throttled: %d", r.status)
	}
}

func TestASilentRegistryIsNamed(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 100 * time.Millisecond })
	p := s.get("/api/v1/tokens").problem(http.StatusGatewayTimeout, "registry")
	if p.Component != "registry" {
		t.Errorf("%+v", p)
	}
}
