package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// people is a cloud without readings, and somebody at its door.
type people struct {
	t      *testing.T
	url    string
	client *http.Client
}

// openDoor starts the roles that people need. logged is what it has said.
func openDoor(t *testing.T, cfg server.Config) (p *people, logged *bytes.Buffer, stop func()) {
	t.Helper()
	cfg.Broker.Listen = "127.0.0.1:0"
	cfg.Broker.Password = "of the roles"
	logged = &bytes.Buffer{}
	ready := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Run(ctx, cfg, []server.Role{server.RoleBroker, server.RoleRegistry, server.RoleAPI},
			server.Options{Ready: func(api, _ string) { ready <- api }}, slog.New(slog.NewJSONHandler(logged, nil)))
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	select {
	case address := <-ready:
		return &people{t: t, url: "http://" + address, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, logged, stop
	case err := <-done:
		t.Fatalf("Run: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	return nil, nil, nil
}

// ask sends a request until the answer is none of a start.
func (p *people) ask(token, method, path, body string, header ...string) (status int, answer map[string]any, etag string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // polling under a deadline
		request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
		if err != nil {
			p.t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i+1 < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		response, err := p.client.Do(request)
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		if response.StatusCode == http.StatusServiceUnavailable && time.Now().Before(end) {
			continue
		}
		answer = map[string]any{}
		if len(text) > 0 && json.Unmarshal(text, &answer) != nil {
			answer["text"] = string(text)
		}
		return response.StatusCode, answer, response.Header.Get("ETag")
	}
}

// is wants a status.
func (p *people) is(want int, token, method, path, body string, header ...string) (answer map[string]any, etag string) {
	p.t.Helper()
	status, answer, etag := p.ask(token, method, path, body, header...)
	if status != want {
		p.t.Fatalf("%s %s: %d, want %d: %v", method, path, status, want, answer)
	}
	return answer, etag
}

func TestASiteFromInitToItsAuditLog(t *testing.T) {
	cfg := server.DefaultConfig()
	cfg.Data = t.TempDir()
	cfg.HTTP.Listen, cfg.HTTP.Tokens, cfg.HTTP.TLS.Hosts = "127.0.0.1:0", api.TokensRequired, []string{"127.0.0.1"}
	cfg.HTTP.AnswerTimeout = time.Second // nobody tells of switches here
	var admin string
	site := server.Site{Site: contract.Site{Name: "House", DefaultFloor: 1, TimeZone: "Europe/Madrid"}, Data: cfg.Data, Admin: "Ana"}
	site.Show = func(s config.Secret) error { admin = s.Reveal(); return nil }
	if _, err := server.Init(site, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	p, _, stop := openDoor(t, cfg)
	defer stop()
	roots, err := os.ReadFile(filepath.Join(cfg.Data, "registry", pki.AuthorityCertificate))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pki.Pool(roots)
	if err != nil {
		t.Fatal(err)
	}
	p.url = strings.Replace(p.url, "http:", "https:", 1)
	p.client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer p.client.CloseIdleConnections()

	p.is(401, "", "GET", "/api/v1/devices", "")
	p.is(200, "", "GET", "/healthz", "")
	p.is(200, admin, "GET", "/api/v1/devices", "")
	p.is(201, admin, "POST", "/api/v1/gateways", `{"id": "edge-f1", "floor": 1}`)
	made, tag := p.is(201, admin, "POST", "/api/v1/devices", `{"id": "sp_f1.g0", "label": "Sala Goya"}`)
	if made["id"] != "sp_f1.g0" || made["gateway"] != "edge-f1" || tag == "" {
		t.Errorf("made %v, ETag %s", made, tag)
	}
	// Who has changed something sees it: each of these looks at once.
	if _, seen := p.is(200, admin, "GET", "/api/v1/devices/sp_g0", ""); seen != tag {
		t.Errorf("ETag %s, want %s", seen, tag)
	}
	_, second := p.is(200, admin, "PATCH", "/api/v1/devices/sp_f1.g0?reason=it+is+a+server", `{"protected": "a server"}`, "If-Match", tag)
	p.is(412, admin, "PATCH", "/api/v1/devices/sp_f1.g0", `{"protected": null}`, "If-Match", tag)
	if place, seen := p.is(200, admin, "GET", "/api/v1/devices/sp_f1.g0", ""); seen != second || place["protected"] != "a server" {
		t.Errorf("%v, ETag %s, want %s", place, seen, second)
	}
	p.is(409, admin, "POST", "/api/v1/devices", `{"device": "sp_g0"}`)
	p.is(400, admin, "POST", "/api/v1/devices", `{"device": "sp_f1.g1", "nonsense": 1}`)
	if wrong, _ := p.is(400, admin, "POST", "/api/v1/inventory?format=csv", "device,mac\nx,y\n"); wrong["errors"] == nil {
		t.Errorf("%v", wrong)
	}
	p.is(404, admin, "DELETE", "/api/v1/devices/sp_f1.g9", "")

	viewer, _ := p.is(201, admin, "POST", "/api/v1/tokens", `{"name": "south", "role": "viewer", "floors": [2]}`)
	secret, _ := viewer["secret"].(string)
	id, _ := viewer["id"].(string)
	p.is(403, secret, "GET", "/api/v1/devices/sp_f1.g0", "")
	p.is(403, secret, "PUT", "/api/v1/devices/sp_f1.g0/relay", `{"on": false}`)
	p.is(409, admin, "DELETE", "/api/v1/tokens/"+tokenOf(p, admin, "Ana"), "")
	p.is(200, admin, "DELETE", "/api/v1/tokens/"+id, "")
	p.is(401, secret, "GET", "/api/v1/devices", "")
	p.is(200, admin, "DELETE", "/api/v1/devices/sp_f1.g0", "")
	p.is(404, admin, "GET", "/api/v1/devices/sp_f1.g0", "")

	var log string
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log, "PUT /api/v1/devices/:id/relay") && time.Now().Before(end); {
		answer, _ := p.is(200, admin, "GET", "/api/v1/audit?limit=100", "")
		text, _ := json.Marshal(answer)
		log = string(text)
	}
	for _, words := range []string{"change place", "it is a server", "create token", "delete token", "create gateway", "delete place", "PUT /api/v1/devices/:id/relay", `"result":"refused"`, `"who":"Ana"`, `"from":"127.0.0.1"`, "show a wrong token"} {
		if !strings.Contains(log, words) {
			t.Errorf("the audit log has no %s: %s", words, log)
		}
	}
	if strings.Contains(log, secret) || strings.Contains(log, admin) {
		t.Error("a secret is in the audit log")
	}
}

// tokenOf is the id of the token of that name.
func tokenOf(p *people, admin, name string) string {
	p.t.Helper()
	list, _ := p.is(200, admin, "GET", "/api/v1/tokens", "")
	items, _ := list["items"].([]any)
	for _, item := range items {
		if one, ok := item.(map[string]any); ok && one["name"] == name {
			id, _ := one["id"].(string)
			return id
		}
	}
	p.t.Fatalf("no token %s in %v", name, list)
	return ""
}

func TestTheFirstAdminTokenIsLeftInAFile(t *testing.T) {
	cfg := server.DefaultConfig()
	cfg.Data = t.TempDir()
	cfg.Registry.Inventory = filepath.Join(cfg.Data, "inventory.yaml")
	cfg.HTTP.Listen, cfg.HTTP.Tokens = "127.0.0.1:0", api.TokensRequired
	if err := os.WriteFile(cfg.Registry.Inventory, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.Data, "registry", "first-admin-token")
	for round := range 2 {
		p, logged, stop := openDoor(t, cfg)
		text, err := os.ReadFile(file)
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); text, err = os.ReadFile(file) {
			time.Sleep(5 * time.Millisecond) // polling under a deadline
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		token := strings.TrimSpace(string(text))
		p.is(200, token, "GET", "/api/v1/tokens", "")
		p.is(401, "", "GET", "/api/v1/tokens", "")
		stop()
		if said := strings.Contains(logged.String(), file); said != (round == 0) || strings.Contains(logged.String(), token) {
			t.Errorf("round %d: logged %s", round, logged)
		}
	}
}

func TestBeyondLoopbackNeedsTLS(t *testing.T) {
	cfg := server.DefaultConfig()
	cfg.Data = t.TempDir()
	cfg.HTTP.Listen = "0.0.0.0:0"
	_, err := cfg.Check([]server.Role{server.RoleAPI})
	for _, words := range []string{"http.listen", "not loopback", "http.tls.cert", "wattline-cloud init", cfg.Data} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
	cfg.HTTP.Listen, cfg.HTTP.TLS.Hosts = "127.0.0.1:0", []string{"not a host"}
	if _, err := cfg.Check([]server.Role{server.RoleAPI}); err == nil || !strings.Contains(err.Error(), "http.tls.hosts") {
		t.Errorf("%v", err)
	}
}
