package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// guarded asks for tokens, and waits for nobody long.
func guarded(c *api.Config) {
	c.HTTP.Tokens = api.TokensRequired
	c.HTTP.AnswerTimeout = 100 * time.Millisecond
}

// token publishes a token and gives the header with its secret, once it is known.
func (s *site) token(t contract.Token) (name, value string) {
	s.t.Helper()
	secret := "secret of " + t.Name
	sum := sha256.Sum256([]byte(secret))
	t.ID, t.Hash = hex.EncodeToString([]byte(t.Name)), hex.EncodeToString(sum[:])
	s.publish(bus.TokensPrefix+t.ID, t, true)
	name, value = "Authorization", "Bearer "+secret
	if t.Expires == nil {
		await(s.t, "the token is known", func() bool { return !slices.Contains([]int{401, 503}, s.get("/metrics", name, value).status) })
	}
	return name, value
}

// house publishes the site and its places, without asking the api about them.
func (s *site) house() {
	s.t.Helper()
	for floor := 1; floor <= 3; floor++ {
		gateway := fmt.Sprintf("edge-f%d", floor)
		s.publish(bus.GatewaysInfoPrefix+gateway, contract.GatewayInfo{Gateway: gateway, Floor: floor}, true)
		s.place(fmt.Sprintf("sp_f%d.g0", floor), gateway)
		s.publish(bus.StateTopic(gateway, fmt.Sprintf("sp_f%d.g0", floor)), json.RawMessage(fmt.Sprintf(`[{"n":"sp_f%d.g0/power","t":1700000000,"v":1}]`, floor)), true)
	}
	s.publish(bus.SiteTopic, contract.Site{Name: "House", DefaultFloor: 1, TimeZone: "Europe/Madrid"}, true)
}

// housed is house, waited for.
func (s *site) housed() {
	s.t.Helper()
	s.house()
	await(s.t, "the site is known", func() bool { return s.get("/api/v1/devices").status != http.StatusServiceUnavailable })
}

// notes collects what the api tells the audit log.
type notes struct {
	mu  sync.Mutex
	all []contract.Audited
}

// auditLog is a registry that has nothing but an audit log.
func (s *site) auditLog() *notes {
	s.t.Helper()
	n := &notes{}
	s.component(hook.Commands, "registry", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		var request contract.RegistryRequest
		var e contract.Audited
		if r.Subpath != "audit" || json.Unmarshal(r.Data, &request) != nil || request.Verb != "note" || json.Unmarshal(request.Content, &e) != nil {
			return fmt.Errorf("not a note: %s %s", r.Subpath, r.Data)
		}
		n.mu.Lock()
		n.all = append(n.all, e)
		n.mu.Unlock()
		w.Send(json.RawMessage(`{}`), nil)
		return nil
	})
	return n
}

// of counts the notes that have all of the words.
func (n *notes) of(words ...string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.all {
		text := fmt.Sprintf("%+v", e)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			count++
		}
	}
	return count
}

func TestRolesOpenTheirRoutes(t *testing.T) {
	s := start(t, guarded).invents()
	s.house()
	log := s.auditLog()
	s.component(hook.Queries, "registry", echo)
	headers := map[contract.Role][2]string{}
	for _, role := range []contract.Role{contract.Viewer, contract.Operator, contract.Admin} {
		name, value := s.token(contract.Token{Name: string(role), Role: role})
		headers[role] = [2]string{name, value}
	}
	everybody, viewer, operator, admin := contract.Role(""), contract.Viewer, contract.Operator, contract.Admin
	rank := []contract.Role{everybody, viewer, operator, admin}
	for route, needs := range map[string]contract.Role{
		"GET /": everybody, "GET /healthz": everybody, "GET /readyz": everybody, "GET /api/v1": everybody, "GET /metrics": viewer,
		"PUT /api/in/x/y": operator, "GET /api/out/x/y": viewer, "GET /api/v1/devices": viewer, "GET /api/v1/devices/sp_f1.g0": viewer,
		"GET /api/v1/devices/sp_f1.g0/state": viewer, "PUT /api/v1/devices/sp_f1.g0/relay": operator, "POST /api/v1/commands": operator,
		"GET /api/v1/readings?measurement=power": viewer, "GET /api/v1/gateways": viewer, "GET /api/v1/gateways/edge-f1": viewer,
		"GET /api/v1/ledger": viewer, "GET /api/v1/events": viewer, "GET /api/v1/quarantine": viewer, "POST /api/v1/quarantine/00/replay": admin,
		"GET /api/v1/site": viewer, "PATCH /api/v1/site": admin, "POST /api/v1/devices": admin, "PATCH /api/v1/devices/sp_f1.g0": admin,
		"DELETE /api/v1/devices/sp_f1.g0": admin, "PUT /api/v1/devices/sp_f1.g0/plug": admin, "DELETE /api/v1/devices/sp_f1.g0/plug": admin,
		"GET /api/v1/sources": viewer, "GET /api/v1/sources/x": viewer,
		"GET /api/v1/plugs": viewer, "GET /api/v1/plugs/x": viewer, "DELETE /api/v1/plugs/x": admin, "POST /api/v1/gateways": admin,
		"PATCH /api/v1/gateways/edge-f1": admin, "DELETE /api/v1/gateways/edge-f1": admin, "POST /api/v1/gateways/edge-f1/join-token": admin,
		"POST /api/v1/gateways/edge-f1/approve": admin, "POST /api/v1/gateways/edge-f1/refuse": admin, "POST /api/v1/gateways/edge-f1/revoke": admin,
		"GET /api/v1/enrolments": admin, "GET /api/v1/inventory": viewer, "POST /api/v1/inventory": admin, "GET /api/v1/audit": admin,
		"GET /api/v1/tokens": admin, "POST /api/v1/tokens": admin, "DELETE /api/v1/tokens/x": admin, "POST /api/v1/enrolments": everybody,
		"POST /api/v1/enrolments/renew": everybody,
	} {
		method, path, _ := strings.Cut(route, " ")
		r := s.do(method, path, "")
		if needs != everybody {
			r.problem(http.StatusUnauthorized, "Authorization: Bearer")
			if got := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
				t.Errorf("%s: WWW-Authenticate %q", route, got)
			}
		} else if r.status == http.StatusUnauthorized {
			t.Errorf("%s is not open", route)
		}
		for _, role := range rank[1:] {
			r := s.do(method, path, "", headers[role][0], headers[role][1])
			may := slices.Index(rank, role) >= slices.Index(rank, needs)
			switch {
			case !may:
				r.problem(http.StatusForbidden, "needs the role "+string(needs), string(role))
			case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
				t.Errorf("%s as %s: %d %s", route, role, r.status, r.body)
			}
		}
	}
	await(t, "refusals are audited", func() bool {
		return log.of("viewer", "PUT /api/v1/devices/:id/relay", "sp_f1.g0", "refused", "127.0.0.1") == 1
	})
}

func TestWrongTokensAreThrottledAndRightOnesAreNot(t *testing.T) {
	s := start(t, guarded)
	s.house()
	log := s.auditLog()
	name, value := s.token(contract.Token{Name: "ana", Role: contract.Viewer})
	await(t, "an unknown token is wrong, and not early", func() bool { return s.get("/metrics", name, "Bearer wrong").status != http.StatusServiceUnavailable })
	throttled := 0
	for range 30 {
		r := s.get("/metrics", name, "Bearer wrong")
		switch r.status {
		case http.StatusUnauthorized:
			if got := r.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
				t.Errorf("WWW-Authenticate %q", got)
			}
		case http.StatusTooManyRequests:
			if throttled++; r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if throttled < 19 {
		t.Errorf("%d of 30 throttled", throttled)
	}
	for _, header := range []string{value, strings.Replace(value, "Bearer", "bearer", 1)} {
		s.get("/metrics", name, header).is(http.StatusOK, "")
	}
	for _, header := range []string{"Basic dXNlcjpwYXNz", "", "Bearer", "Bearer " + strings.Repeat("x", 8000)} {
		if r := s.get("/metrics", name, header); r.status != http.StatusUnauthorized && r.status != http.StatusTooManyRequests {
			t.Errorf("%.20q: %d", header, r.status)
		}
	}
	await(t, "it is audited, sparingly", func() bool {
		return log.of("show a wrong token", "127.0.0.1") == 1 && log.of("too often", "throttled") == 1
	})
}

func TestTokensEnd(t *testing.T) {
	s := start(t, guarded)
	s.house()
	name, value := s.token(contract.Token{Name: "gone", Role: contract.Admin})
	s.publish(bus.TokensPrefix+hex.EncodeToString([]byte("gone")), nil, true)
	await(t, "a deleted token opens nothing", func() bool { return s.get("/metrics", name, value).status == http.StatusUnauthorized })

	soon := device.MicrosOf(time.Now().Add(time.Second))
	name, value = s.token(contract.Token{Name: "late", Role: contract.Admin, Expires: &soon})
	await(t, "it opens", func() bool { return s.get("/metrics", name, value).status == http.StatusOK })
	await(t, "an expired token opens nothing", func() bool { return s.get("/metrics", name, value).status == http.StatusUnauthorized })
	s.get("/metrics", name, value).problem(http.StatusUnauthorized, "late", "has expired")

	name, value = "Authorization", "Bearer secret of odd"
	sum := sha256.Sum256([]byte("secret of odd"))
	s.publish(bus.TokensPrefix+"odd", contract.Token{ID: "odd", Name: "odd", Role: "king", Hash: hex.EncodeToString(sum[:])}, true)
	await(t, "a role of another version opens nothing", func() bool { return strings.Contains(string(s.get("/metrics", name, value).body), "does not know") })
}

func TestOnLoopbackATokenIsNotNeededButCounts(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 100 * time.Millisecond })
	s.house()
	name, value := s.token(contract.Token{Name: "ana", Role: contract.Viewer})
	if r := s.get("/api/v1/tokens"); r.status != http.StatusGatewayTimeout {
		t.Errorf("without: %d %s", r.status, r.body)
	}
	s.get("/api/v1/tokens", name, value).problem(http.StatusForbidden, "admin")
}

func TestFloorsOfAToken(t *testing.T) {
	s := start(t, guarded)
	s.house()
	asked := make(chan string, 10)
	s.component(hook.Queries, "influx_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		asked <- string(r.Data)
		w.Send(json.RawMessage("[]"), nil)
		return nil
	})
	name, value := s.token(contract.Token{Name: "south", Role: contract.Operator, Floors: []int{2, 3}})
	for path, want := range map[string]int{
		"/api/v1/devices/sp_f2.g0": 200, "/api/v1/devices/sp_f1.g0": 403, "/api/v1/devices/sp_g0": 403, "/api/v1/devices/sp_g9": 403,
		"/api/v1/devices/sp_f2.g9": 404, "/api/v1/devices?floor=2": 200, "/api/v1/devices?floor=1": 403, "/api/v1/devices?floor=2,1": 403,
		"/api/v1/devices/sp_f3.g0/state": 200, "/api/v1/devices/sp_f1.g0/state": 403,
		"/api/v1/gateways/edge-f2": 200, "/api/v1/gateways/edge-f1": 403, "/api/v1/gateways/other": 403,
		"/api/v1/ledger": 403, "/api/v1/ledger?gateway=edge-f1": 403, "/api/v1/ledger?gateway=edge-f2": 504,
		"/api/v1/quarantine": 403, "/api/v1/quarantine?source=edge-f1": 403, "/api/v1/quarantine?source=edge-f3": 504,
		"/api/v1/readings?measurement=power&id=sp_f1.g0": 403, "/api/v1/readings?measurement=power&id=g0": 403, "/api/v1/readings?measurement=power&floor=1": 403,
		"/api/v1/readings?measurement=power&floor=3,1": 403, "/api/v1/readings?measurement=power&id=sp_f2.g0,sp_f1.g0": 403,
		"/metrics": 403, "/api/out/influx_query/sp/power": 403, "/api/v1/plugs": 403, "/api/v1/inventory": 403,
	} {
		if r := s.get(path, name, value); r.status != want {
			t.Errorf("%s: %d, want %d: %s", path, r.status, want, r.body)
		} else if want == 403 {
			r.problem(403, "south", "floors 2, 3")
		}
	}
	var list struct{ Items []struct{ ID string } }
	s.get("/api/v1/devices", name, value).json(&list)
	if fmt.Sprint(list.Items) != "[{sp_f2.g0} {sp_f3.g0}]" {
		t.Errorf("devices %v", list.Items)
	}
	s.get("/api/v1/gateways", name, value).json(&list)
	if fmt.Sprint(list.Items) != "[{edge-f2} {edge-f3}]" {
		t.Errorf("gateways %v", list.Items)
	}
	for parameters, floors := range map[string]string{"": `"floor":"2,3"`, "&floor=3": `"floor":"3"`, "&id=sp_f2.g0": `"floor":"2,3"`} {
		s.get("/api/v1/readings?measurement=power"+parameters, name, value).is(http.StatusOK, "")
		if got := <-asked; !strings.Contains(got, floors) {
			t.Errorf("%q is asked as %s", parameters, got)
		}
	}
	for body, want := range map[string]int{
		`{"on":true,"select":{"floor":1}}`: 403, `{"on":true,"select":{"type":"g"}}`: 403, `{"on":true,"select":{"ids":["sp_f2.g0","sp_g0"]}}`: 403,
		`{"on":true,"select":{"floor":2,"ids":["sp_f1.g0"]}}`: 504, `{"on":true,"select":{"ids":["sp_f2.g0"]}}`: 504, `{"on":true,"select":{"floor":3}}`: 504,
	} {
		if r := s.do(http.MethodPost, "/api/v1/commands", body, name, value); r.status != want {
			t.Errorf("%s: %d, want %d: %s", body, r.status, want, r.body)
		}
	}
	s.do(http.MethodPut, "/api/v1/devices/sp_g0/relay", `{"on":true}`, name, value).problem(403, "floor 1")
	s.do(http.MethodPut, "/api/in/sp_command/sp_f2.g0", `{"payload":{"status":1}}`, name, value).problem(403, "whole site")
}

func TestAnonymousClientsOfThePredecessor(t *testing.T) {
	for allow, in := range map[string]int{api.AllowRead: 403, api.AllowControl: 200} {
		t.Run(allow, func(t *testing.T) {
			s := start(t, guarded, func(c *api.Config) {
				c.IoToad.Anonymous = api.Anonymous{Networks: []string{"127.0.0.0/8"}, Allow: allow}
				c.HTTP.AnswerTimeout = 3 * time.Second
			})
			log := s.auditLog()
			s.component(hook.Commands, "sp_command", echo)
			s.component(hook.Queries, "ask", echo)
			for range 3 {
				s.get("/api/out/ask").is(http.StatusOK, "")
			}
			r := s.put("/api/in/sp_command/sp_f1.g0", `{"payload":{"status":1,"who":"boss"}}`)
			if r.status != in {
				t.Errorf("/api/in: %d %s", r.status, r.body)
			}
			if in == 200 && !strings.Contains(string(r.body), `"who":"iotoad 127.0.0.1"`) {
				t.Errorf("sent %s", r.body)
			}
			for _, path := range []string{"/api/v1/devices", "/metrics", "/api/v1/readings?measurement=power", "/api/v1/tokens"} {
				s.get(path).problem(http.StatusUnauthorized)
			}
			s.get("/api/out/registry/tokens").problem(http.StatusForbidden)
			await(t, "it is audited, reads sparingly", func() bool {
				return log.of("iotoad 127.0.0.1", "read by relay", "done") == 1 && (in == 403) == (log.of("send by relay") == 0) &&
					(in == 200) == (log.of("send by relay", "sp_command/sp_f1.g0", "done") == 1)
			})
		})
	}
}

func TestAnonymousIsForItsNetworksOnly(t *testing.T) {
	s := start(t, guarded, func(c *api.Config) {
		c.IoToad.Anonymous = api.Anonymous{Networks: []string{"192.0.2.0/24"}, Allow: api.AllowControl}
	})
	s.get("/api/out/ask").problem(http.StatusUnauthorized)
}

func TestTheRelayDoesNotLeadToTheRegistry(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = time.Second })
	heard := make(chan string, 10)
	tell := func(_ context.Context, r hook.Request, _ *hook.Answer) error {
		heard <- r.Subpath
		return nil
	}
	s.component(hook.Commands, "registry", tell)
	s.component(hook.Queries, "registry", tell)
	s.component(hook.Queries, "ledger_query", tell)
	for _, path := range []string{"/api/in/registry/tokens", "/api/in/registry", "/api/in/registry/", "/api/in/%72egistry/tokens", "/api/in/registry%2Ftokens"} {
		s.put(path, `{"payload":{"verb":"create"}}`).problem(http.StatusForbidden, "/api/v1")
	}
	for _, path := range []string{"/api/out/registry/tokens", "/api/out/registry", "/api/out/ledger_query/switches", "/api/out/ledger_query/switches/"} {
		s.get(path).problem(http.StatusForbidden)
	}
	s.put("/api/in/", `{"payload":1,"subtopics":["registry/tokens"]}`).problem(http.StatusNotFound)
	s.put("/api/in/x", `{"payload":1,"subtopics":["../registry/tokens"]}`) // command/x/../registry/tokens is x's
	if len(heard) > 0 {
		t.Errorf("the relay led to %s", <-heard)
	}
}

// What the routes of /api/v1 ask of their users the relay must not give away.
func TestTheRelayReplaysForAdminsOnly(t *testing.T) {
	s := start(t, guarded, func(c *api.Config) {
		c.HTTP.AnswerTimeout = time.Second
		c.IoToad.Anonymous = api.Anonymous{Networks: []string{"127.0.0.0/8"}, Allow: api.AllowControl}
	})
	s.house()
	heard := make(chan string, 10)
	s.component(hook.Commands, "ledger_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		heard <- r.Subpath
		w.Send(json.RawMessage(`{}`), nil)
		return nil
	})
	operator, secret := s.token(contract.Token{Name: "olga", Role: contract.Operator})
	for path, body := range map[string]string{"/api/in/ledger_query/replay": `{"payload":{"id":"x"}}`, "/api/in/ledger_query": `{"payload":{"id":"x"},"subtopics":["replay"]}`} {
		s.do(http.MethodPut, path, body, operator, secret).problem(http.StatusForbidden, "admin")
		s.put(path, body).problem(http.StatusForbidden, "admin")
	}
	if len(heard) > 0 {
		t.Fatalf("replayed without an admin: %s", <-heard)
	}
	admin, secret := s.token(contract.Token{Name: "anna", Role: contract.Admin})
	if r := s.do(http.MethodPut, "/api/in/ledger_query/replay", `{"payload":{"id":"x"}}`, admin, secret); r.status != http.StatusOK {
		t.Errorf("an admin: %d", r.status)
	}
}
