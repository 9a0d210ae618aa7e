package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/api/apitest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// Every operation is brought into each of the troubles that its description has
// an answer for. What those answers must look like, the document says.

// operations gives one example of each operation that is described with a status.
func operations(status int) (all []apitest.Example) {
	seen := map[string]bool{}
	for _, e := range book.Examples() {
		if !seen[e.Operation] && slices.Contains(book.Answers(e.Operation), fmt.Sprint(status)) {
			seen[e.Operation] = true
			all = append(all, e)
		}
	}
	return all
}

// send sends an example, with more headers.
func (s *site) send(e apitest.Example, header ...string) response {
	s.t.Helper()
	if e.Media != "" {
		header = append(header, "Content-Type", e.Media)
	}
	return s.do(e.Method, e.Target, e.Body, header...)
}

// troubles sends every operation that is described with a status, and wants it,
// but of those in elsewhere, whose way there is another one.
func (s *site) troubles(status int, change func(*apitest.Example), elsewhere []string, header ...string) {
	s.t.Helper()
	for _, e := range operations(status) {
		if slices.Contains(elsewhere, e.Operation) {
			continue
		}
		if change != nil {
			change(&e)
		}
		if r := s.send(e, header...); r.status != status {
			s.t.Errorf("%s: %s %s: %d, want %d: %.300s", e.Operation, e.Method, e.Target, r.status, status, r.body)
		}
	}
}

func TestEveryOperationSaysWhoMay(t *testing.T) {
	s := start(t, guarded)
	// Before the tokens were heard none is wrong.
	s.troubles(http.StatusServiceUnavailable, nil, []string{"readiness", "enrol", "renew"}, "Authorization", "Bearer whose?")
	s.get("/readyz").is(http.StatusServiceUnavailable, "")
	s.housed()
	s.troubles(http.StatusUnauthorized, nil, nil)
	await(t, "wrong tokens are throttled", func() bool {
		return s.get("/metrics", "Authorization", "Bearer wrong").status == http.StatusTooManyRequests
	})
	s.troubles(http.StatusTooManyRequests, nil, []string{"enrol", "renew"}, "Authorization", "Bearer wrong")
	for _, e := range operations(http.StatusForbidden) {
		request, err := http.NewRequestWithContext(t.Context(), e.Method, s.url+e.Target, strings.NewReader(e.Body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "rebound.example"
		answer, err := s.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s under another name: %d %v", e.Operation, answer.StatusCode, err)
		}
		s.described(apitest.Exchange{Method: e.Method, Target: e.Target, Status: answer.StatusCode, Header: answer.Header, Body: body})
	}
}

// The description of an operation begins with the role that it needs, and says
// whether it is about the whole site; what changes the site always is.
func TestEveryOperationNeedsTheRoleThatItNames(t *testing.T) {
	s := start(t, guarded)
	s.housed()
	s.others(func() (json.RawMessage, error) {
		return json.RawMessage(`{"problem":{"kind":"not now","detail":"later"}}`), nil
	})
	s.invents()
	roles := []contract.Role{contract.Viewer, contract.Operator, contract.Admin}
	for have, role := range roles {
		name, value := s.token(contract.Token{Name: string(role), Role: role})
		_, ofFloor := s.token(contract.Token{Name: string(role) + " of a floor", Role: role, Floors: []int{9}})
		for _, e := range book.Examples() {
			words, _, _ := strings.Cut(strings.TrimPrefix(e.Text, "Role: "), " ")
			needs := slices.Index(roles, contract.Role(strings.Trim(words, ".,;:")))
			switch {
			case e.Open != strings.HasPrefix(e.Text, "Open to everybody") || !e.Open && needs < 0:
				t.Errorf("%s does not say who may: %s", e.Operation, e.Text)
				continue
			case e.Open || e.Operation == "getEvents":
				continue
			}
			if refused := strings.Contains(string(s.send(e, name, value).body), "needs the role"); refused != (have < needs) {
				t.Errorf("%s as %s: refused %v, and it says %.60s", e.Operation, role, refused, e.Text)
			}
			whole := strings.Contains(e.Text, "whole site") && !strings.Contains(e.Text, "the whole site is meant") || roles[needs] == contract.Admin
			if refused := strings.Contains(string(s.send(e, name, ofFloor).body), "this is about the whole site"); have >= needs && refused != whole {
				t.Errorf("%s as %s of a floor: refused %v, and it says %.60s", e.Operation, role, refused, e.Text)
			}
		}
	}
}

// room is the place of the document's examples.
func (s *site) room() {
	s.t.Helper()
	s.place("sp_f1.g0", "edge-f1")
	await(s.t, "the room is known", func() bool { return s.get("/api/v1/devices/sp_f1.g0").status == http.StatusOK })
}

// filtered are lists whose filters the registry judges.
var filtered = []string{"listEnrolments", "listPlugs", "listTokens"}

func TestEveryOperationNamesItsMistakes(t *testing.T) {
	s := start(t)
	s.housed()
	add := func(e *apitest.Example) {
		e.Target += map[bool]string{true: "&", false: "?"}[strings.Contains(e.Target, "?")] + "nonsense=1"
	}
	s.troubles(http.StatusBadRequest, add, append([]string{"sendToAgent", "sendBelowAgent", "askComponent", "askBelowComponent"}, filtered...))
	for _, path := range []string{"%23", "x/%23"} {
		s.put("/api/in/"+path, `{"payload":1}`).problem(http.StatusBadRequest)
		s.get("/api/out/" + path).problem(http.StatusBadRequest)
	}
	s.troubles(http.StatusNotAcceptable, nil, []string{"getState", "exportInventory"}, "Accept", "image/png")
	s.get("/api/v1/inventory", "Accept", "image/png").problem(http.StatusNotAcceptable)
}

func TestEveryOperationNamesWhoIsSilent(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 200 * time.Millisecond })
	s.register()
	s.room()
	var all sync.WaitGroup
	for _, e := range operations(http.StatusGatewayTimeout) {
		e.Body = strings.ReplaceAll(e.Body, `"deadline_s":10`, `"dry_run":true`)
		if slices.Contains([]string{"exportInventory", "importInventory"}, e.Operation) {
			continue // for which the registry has a minute
		}
		all.Go(func() {
			if r := s.send(e); r.status != http.StatusGatewayTimeout {
				if e.Operation != "listAudit" { // whose other logs are told
					t.Errorf("%s: %s %s: %d: %.300s", e.Operation, e.Method, e.Target, r.status, r.body)
				}
			}
		})
	}
	all.Wait()
	s.broker.Kill()
	for _, id := range []string{"enrol", "renew", "sendToAgent", "sendBelowAgent", "askComponent", "askBelowComponent"} {
		i := slices.IndexFunc(operations(http.StatusServiceUnavailable), func(e apitest.Example) bool { return e.Operation == id })
		e := operations(http.StatusServiceUnavailable)[i]
		all.Go(func() { s.send(e).problem(http.StatusServiceUnavailable, "try again") })
	}
	all.Wait()
}

// others puts a component of every name on the bus that answers everything so.
func (s *site) others(answer func() (json.RawMessage, error)) {
	s.t.Helper()
	for _, name := range []string{"registry", "alerting", "backup", "ledger_query", "influx_query", "sp_command"} {
		for _, family := range []hook.Family{hook.Queries, hook.Commands} {
			s.component(family, name, func(_ context.Context, _ hook.Request, w *hook.Answer) error {
				data, err := answer()
				if err == nil {
					w.Send(data, nil)
				}
				return err
			})
		}
	}
}

func TestEveryOperationSaysWhatAComponentSaysIsWrong(t *testing.T) {
	s := start(t)
	s.register()
	s.room()
	var said error
	var problem *contract.Problem
	s.others(func() (json.RawMessage, error) {
		if said != nil {
			return nil, said
		}
		text, err := json.Marshal(contract.RegistryAnswer{Problem: problem})
		return text, err
	})
	relays := []string{"sendToAgent", "sendBelowAgent"}
	said = errors.New("it is broken")
	s.troubles(http.StatusBadGateway, nil, relays)
	said = errors.New("the disk is full, try again")
	for _, path := range []string{"/api/out/ledger_query", "/api/out/influx_query/sp/power"} {
		s.get(path).is(http.StatusServiceUnavailable, "")
	}
	said = errors.New("from: no time")
	for _, path := range []string{"/api/out/ledger_query", "/api/out/influx_query/sp/power"} {
		s.get(path).is(http.StatusBadRequest, "")
	}
	said = nil
	problem = &contract.Problem{Kind: contract.Invalid, Detail: "no such filter", Mistakes: []contract.Mistake{{Field: "nonsense", Detail: "no such filter"}}}
	for _, e := range operations(http.StatusBadRequest) {
		if slices.Contains(filtered, e.Operation) {
			s.send(e).problem(http.StatusBadRequest, "nonsense")
		}
	}
	for kind, status := range map[contract.ProblemKind]int{
		contract.NotFound: http.StatusNotFound, contract.Conflict: http.StatusConflict, contract.Changed: http.StatusPreconditionFailed, contract.NotNow: http.StatusServiceUnavailable,
	} {
		problem = &contract.Problem{Kind: kind, Detail: "as it is"}
		own := append([]string{
			"switchDevice", "switchMany", "getDevice", "getState", "getSource", "getGateway", // of which the api knows itself
			"readiness", "metrics", "askComponent", "askBelowComponent", "listDevices", "listGateways", "getReadings", "getEvents",
			"listSources", "getLedger", "listQuarantine", "replay", // which speak otherwise
		}, relays...)
		s.troubles(status, nil, own)
	}
	// What the registry knows of a gateway besides.
	problem = &contract.Problem{Kind: contract.NotNow, Detail: "the disk is full"}
	s.get("/api/v1/gateways/edge-f1?settings=true").problem(http.StatusServiceUnavailable)
}

func TestAgentsWhoseAnswersMakeNoSense(t *testing.T) {
	s := start(t)
	odd := func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		if r.Subpath == "well" || strings.HasSuffix(r.Subpath, "/well") {
			w.Send(json.RawMessage(`{}`), nil)
			return nil
		}
		for range 2 { // parts that are none
			if err := w.Part(ctx, json.RawMessage(`{}`)); err != nil {
				return err
			}
		}
		return nil
	}
	s.component(hook.Commands, "odd", odd)
	s.component(hook.Queries, "odd", odd)
	for _, path := range []string{"/api/in/odd", "/api/in/odd/below"} {
		s.put(path, `{"payload":1}`).problem(http.StatusBadGateway, "makes no sense")
		s.put(path, `{"payload":1,"subtopics":["well","ill"]}`).is(http.StatusBadGateway, "")
	}
	for _, path := range []string{"/api/out/odd", "/api/out/odd/below"} {
		s.get(path).problem(http.StatusBadGateway)
	}
}

func TestAMistakeOfOursIsDescribed(t *testing.T) {
	answer, err := api.New(api.DefaultConfig(), api.Options{}, quiet).AnswerToAPanic()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d %v", answer.StatusCode, err)
	}
	(&site{t: t}).described(apitest.Exchange{Method: http.MethodGet, Target: "/bug", Status: answer.StatusCode, Header: answer.Header, Body: body})
}

func TestTheDocumentIsServedWithoutATokenAndKept(t *testing.T) {
	s := start(t, guarded)
	for path, words := range map[string][]string{
		"/api/v1/openapi.json": {`"openapi":"3.1.0"`, `"/api/in/{agent}"`, `"/api/v1/devices"`},
		"/docs":                {"<!DOCTYPE html>", "switchDevice", "/api/out/{component}", "schema-Problem", "viewport"},
	} {
		r := s.get(path)
		r.is(http.StatusOK, "")
		for _, word := range words {
			if !strings.Contains(string(r.body), word) {
				t.Errorf("%s does not have %s", path, word)
			}
		}
		if path == "/docs" && (strings.Contains(string(r.body), "https://") || strings.Contains(string(r.body), "<script")) {
			t.Error("the page needs something from elsewhere")
		}
		tag := r.header.Get("ETag")
		if tag == "" || !strings.Contains(r.header.Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %v", path, r.header)
		}
		s.get(path, "If-None-Match", tag).is(http.StatusNotModified, "")
		s.get(path, "If-None-Match", `"another"`).is(http.StatusOK, "")
		if r := s.do(http.MethodHead, path, ""); r.status != http.StatusOK || len(r.body) > 0 {
			t.Errorf("HEAD %s: %d", path, r.status)
		}
	}
}

// Who believes that a switch takes dry_run where a change of the registry does
// must not switch by it.
func TestASwitchTakesNoParameters(t *testing.T) {
	s := start(t)
	s.register()
	s.put("/api/v1/devices/sp_g3/relay?dry_run=true", `{"on":true}`).problem(http.StatusBadRequest, "dry_run")
	s.do(http.MethodPost, "/api/v1/commands?dry_run=true", `{"on":true,"select":{"floor":1}}`).problem(http.StatusBadRequest, "dry_run")
	s.do(http.MethodPost, "/api/v1/quarantine/x/replay?dry_run=true", "").problem(http.StatusBadRequest, "dry_run")
}

// Components here answer as the real ones do; scripts/spec asks those.
func TestWhatIsMadeIsAnsweredAsDescribed(t *testing.T) {
	s := start(t)
	s.housed()
	s.backup()
	registered := map[string]string{
		"places create":    `{"device":"sp_f1.g7","gateway":"edge-f1","label":"Room","driver":"hs110","address":"","revision":8}`,
		"places plug":      `{"device":"sp_f1.g0","gateway":"edge-f1","driver":"hs110","address":"10.2.0.17","mac":"AC:84:C6:59:D9:A7","revision":9,"plug_before":"AC:84:C6:59:D9:A1","place_before":"sp_f1.g7"}`,
		"places change":    `{"device":"sp_f1.g0","gateway":"edge-f1","driver":"hs110","address":"","protected":"server","revision":9}`,
		"places unplug":    `{"device":"sp_f1.g0","gateway":"edge-f1","driver":"hs110","address":"","revision":10}`,
		"places delete":    `{"device":"sp_f1.g0","history":"its readings stay"}`,
		"gateways create":  `{"gateway":"edge-f2","floor":2,"poll_seconds":10,"stagger_ms":250,"database":"sp","discovery":{"broadcast":true}}`,
		"gateways change":  `{"gateway":"edge-f1","floor":1,"poll_seconds":10,"stagger_ms":300,"database":"sp","revision":4}`,
		"gateways delete":  `{"gateway":"edge-f1","history":"what it has sent stays"}`,
		"site get":         `{"name":"House","default_floor":1,"time_zone":"Europe/Madrid","rows":17,"columns":5,"revision":3}`,
		"site change":      `{"name":"House","default_floor":1,"time_zone":"Europe/Madrid","revision":4}`,
		"plugs get":        `{"device_id":"8006E0D62C90698C7AAEF72944F0B17A1803D1B7","mac":"AC:84:C6:59:D9:A1","model":"HS110(EU)","hardware":"2.0","firmware":"1.5.2","address":"10.2.0.17","seen":1700000000.5,"gateway":"edge-f1"}`,
		"plugs delete":     `{"plug":"8006E0D62C90698C7AAEF72944F0B17A1803D1B7","note":"it is listed again"}`,
		"enrolment get":    `{"gateway":"edge-f1","trust":"pending","asked":{"key":"5f","at":1700000000}}`,
		"enrolment join":   `{"gateway":"edge-f1","join_token":"wattline_join_x","expires":1700000000}`,
		"enrolment renew":  `{"state":"trusted","certificate":"x","ca":"y"}`,
		"tokens create":    `{"id":"00","name":"lobby screen","role":"viewer","floors":[1],"created":1700000000,"expires":4070908800,"secret":"wattline_x"}`,
		"tokens delete":    `{"id":"00","name":"lobby screen","role":"viewer","created":1700000000,"expired":true}`,
		"inventory import": `{"added":[{"kind":"place","id":"sp_f1.g4","fields":[{"field":"label","to":"Library"}]}],"changed":null,"removed":null,"counts":{"added":1,"changed":0,"removed":0},"unchanged":3}`,
		"inventory export": `"site: {}\n"`,
	}
	for _, verb := range []string{"approve", "refuse", "revoke"} {
		registered["enrolment "+verb] = `{"gateway":"edge-f1","trust":"trusted","certificates":[{"serial":"01","key":"5f","issued":1700000000,"expires":1800000000}]}`
	}
	s.registry(func(r registeredRequest) contract.RegistryAnswer {
		text, known := registered[r.Resource+" "+r.Verb]
		if !known {
			text = `[]`
		}
		return contract.RegistryAnswer{Content: json.RawMessage(text)}
	})
	rule := `{"name":"kettle-on","severity":"warning","signal":"power","select":{"types":["g"]},"when":{"above":1800},"for":"10m","summary":"{label} draws {value} W."}`
	alerting := map[string]string{
		"rules list": `{"rules":[` + rule + `],"calendars":{"office":{"days":["mon"],"from":"07:00","to":"20:00"}}}`, "rules get": rule, "rules create": rule, "rules change": rule,
		"rules export": `"rules: []\n"`, "rules import": `{"added":[],"changed":[],"deleted":["x"],"calendars_changed":false}`, "rules delete": "", "receivers test": "",
		"maintenance create": `{"id":"m1","select":{"floors":[1]},"from":1700000000,"to":1700003600,"who":"ana","reason":"work"}`, "maintenance delete": "",
		"alerts get": string(content(t, alertOn(1))),
	}
	s.alerting(func(r registeredRequest) contract.RegistryAnswer {
		text, known := alerting[r.Resource+" "+r.Verb]
		if !known {
			text = `[]`
		}
		answer := contract.RegistryAnswer{Content: json.RawMessage(text)}
		if r.Resource == "rules" {
			answer.Revision = 9
		}
		return answer
	})
	own := []string{ // whose answers other components give, or that need more
		"sendToAgent", "sendBelowAgent", "askComponent", "askBelowComponent", "switchDevice", "switchMany", "getReadings", "getEvents", "getState",
		"listSources", "getSource", "getLedger", "listQuarantine", "replay", "enrol", "listAudit", "getGateway",
	}
	for _, e := range book.Examples() {
		if slices.Contains(own, e.Operation) {
			continue
		}
		if r := s.send(e); r.status/100 != 2 {
			t.Errorf("%s: %s %s: %d %.300s", e.Operation, e.Method, e.Target, r.status, r.body)
		}
		if dry := strings.Replace(e.Target+"?dry_run=true", "?format=csv?", "?format=csv&", 1); slices.Contains([]string{"createDevice", "createGateway", "createToken", "createRule", "createMaintenance"}, e.Operation) {
			s.do(e.Method, dry, e.Body).is(http.StatusOK, "")
		}
	}
}

// registeredRequest is what a fake hears, under a name that is free here.
type registeredRequest = registered
