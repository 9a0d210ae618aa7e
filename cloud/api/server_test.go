package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
)

func TestConfigNamesEveryMistake(t *testing.T) {
	if err := api.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := api.Config{HTTP: api.HTTP{Listen: "8080"}}.Validate()
	for _, key := range []string{"listen", "body_limit", "header_limit", "read_timeout", "idle_timeout", "write_timeout", "answer_timeout", "connections", "questions"} {
		if err == nil || !strings.Contains(err.Error(), "http."+key+": ") {
			t.Errorf("%s is not in: %v", key, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1", "127.0.0.1:http8", "127.0.0.1:65536", "::1:80"} {
		c := api.DefaultConfig()
		if c.HTTP.Listen = address; c.Validate() == nil {
			t.Errorf("%q was taken", address)
		}
	}
}

func TestAnAddressInUseSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	config := api.DefaultConfig()
	config.HTTP.Listen = taken.Addr().String()
	err = api.New(config, api.Options{Bus: bus.Options{URL: "tcp://127.0.0.1:1"}}, quiet).Run(t.Context())
	for _, word := range []string{config.HTTP.Listen, "in use", "http.listen"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
	config.HTTP.Listen = "127.0.0.1:0"
	if err := api.New(config, api.Options{Bus: bus.Options{URL: "nonsense"}}, quiet).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "broker url") {
		t.Errorf("a wrong broker URL: %v", err)
	}
}

func TestTheApiServesWithoutABroker(t *testing.T) {
	config := api.DefaultConfig()
	config.HTTP.Listen = "127.0.0.1:0"
	server := api.New(config, api.Options{Bus: bus.Options{URL: "tcp://127.0.0.1:1"}}, quiet)
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	stop := background(t, server.Run)
	s := &site{t: t, url: "http://" + server.Addr(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	s.get("/healthz").is(http.StatusOK, "")
	s.get("/readyz").is(http.StatusServiceUnavailable, `{"broker":false,"places":false,"registry":false,"status":"no connection to the broker"}`)
	s.get("/metrics").is(http.StatusOK, "") // without a registry of metrics
	if err := stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-server.Ready():
		t.Error("ready without a broker")
	default:
	}
}

func TestReadyIsWhoHasHeardTheSite(t *testing.T) {
	s := start(t)
	r := s.get("/readyz")
	r.is(http.StatusServiceUnavailable, "")
	for _, words := range []string{`"broker":true`, `"registry":false`, `"places":false`, "the registry has not told of the site yet"} {
		if !strings.Contains(string(r.body), words) {
			t.Errorf("%s has no %s", r.body, words)
		}
	}
	s.register()
	await(t, "all is heard", func() bool { return s.get("/readyz").status == http.StatusOK })
	s.get("/readyz").is(http.StatusOK, `{"broker":true,"places":true,"registry":true,"status":"ok"}`)
}

func TestIndexes(t *testing.T) {
	s := start(t)
	s.register()
	for path, words := range map[string]string{"/": "/api/v1", "/api/v1": "/api/v1/devices", "/api/v1/": "/api/v1/devices", "/healthz": "v-test", "/readyz": `"broker":true`} {
		if r := s.get(path); r.status != http.StatusOK || !strings.Contains(string(r.body), words) || r.header.Get("Date") == "" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		if r := s.do(http.MethodHead, path, ""); r.status != http.StatusOK || len(r.body) != 0 {
			t.Errorf("HEAD %s: %d", path, r.status)
		}
	}
	for path, status := range map[string]int{"/api": 404, "/api/v2": 404, "/api/in": 405, "/api/out": 404, "/api/out/": 404, "/api/v1/nothing": 404, "/Healthz": 404, "/../etc": 404} {
		s.get(path).problem(status)
	}
	s.put("/api/in", `{"payload":1}`).problem(http.StatusNotFound)
	for _, c := range [][2]string{{"GET", "/api/in/a/b"}, {"POST", "/api/in/a/b"}, {"PUT", "/api/out/a"}, {"DELETE", "/api/v1/devices"}, {"GET", "/api/v1/commands"}, {"POST", "/api/v1/devices/sp_g1/relay"}} {
		r := s.do(c[0], c[1], "")
		r.problem(http.StatusMethodNotAllowed)
		if r.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c[0], c[1])
		}
	}
	text := string(s.get("/metrics").body)
	for _, line := range []string{`wattline_api_requests_total{route="/api/v1",status="200"} 4`, `wattline_api_requests_total{route="other",status="404"}`, "wattline_api_connections_open"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in %s", line, text)
		}
	}
}

func TestRequestsUnderWayFinishWhenTheServerEnds(t *testing.T) {
	s := start(t)
	asked := make(chan struct{})
	s.component(hook.Queries, "slow", func(_ context.Context, _ hook.Request, w *hook.Answer) error {
		close(asked)
		time.Sleep(500 * time.Millisecond) // the work of the component
		w.Send(json.RawMessage(`"done"`), nil)
		return nil
	})
	idle := s.dial(t)
	if _, err := io.WriteString(idle, "GET /heal"); err != nil { // half a request
		t.Fatal(err)
	}
	answer := make(chan response, 1)
	go func() {
		r, err := s.try(http.MethodGet, "/api/out/slow", "")
		if err != nil {
			t.Errorf("under way at the end: %v", err)
		}
		answer <- r
	}()
	<-asked
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 6500*time.Millisecond {
		t.Errorf("took %v to end", took)
	}
	r := <-answer
	r.is(http.StatusOK, `{"data":"done"}`)
	if _, err := s.try(http.MethodGet, "/healthz", ""); err == nil {
		t.Error("it still answers")
	}
}

func TestRequestsAreCutOffAfterFiveSeconds(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = time.Minute })
	asked := make(chan struct{})
	s.component(hook.Queries, "never", func(ctx context.Context, _ hook.Request, _ *hook.Answer) error {
		close(asked)
		<-ctx.Done()
		return nil
	})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = s.try(http.MethodGet, "/api/out/never", "")
	}()
	<-asked
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < 4*time.Second || took > 8*time.Second {
		t.Errorf("took %v to end", took)
	}
	<-answered
}
