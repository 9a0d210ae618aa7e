package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/api/apitest"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// The HTTP library's clock for the header Date starts with the first answer and
// is the process's, not a server's.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(complete{m}, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

var quiet = slog.New(slog.DiscardHandler)

// site is an api on a free port, a real broker, and whoever a test puts on it.
type site struct {
	t      testing.TB
	broker *bustest.Mosquitto
	url    string
	link   *bus.Link // of the test itself
	client *http.Client
	server *api.Server
	stop   func() error // ends the api and waits for it; safe twice
	// invented tells that fakes answer what no component would.
	invented bool
}

// start is for tests that mostly wait: they run beside each other.
func start(t testing.TB, change ...func(*api.Config)) *site {
	t.Helper()
	if test, ok := t.(*testing.T); ok {
		test.Parallel()
	}
	return startAlone(t, change...)
}

func startAlone(t testing.TB, change ...func(*api.Config)) *site {
	t.Helper()
	return startWith(t, func(*api.Options) {}, change...)
}

// startWith is for tests that give the api something else than a bus.
func startWith(t testing.TB, give func(*api.Options), change ...func(*api.Config)) *site {
	t.Helper()
	broker := bustest.Start(t)
	config := api.DefaultConfig()
	config.HTTP.Listen = "127.0.0.1:0"
	config.HTTP.AnswerTimeout = 3 * time.Second
	for _, c := range change {
		c(&config)
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, broker: broker}
	s.link = bus.NewLink(bus.Options{URL: broker.URL, ClientID: "test"}, quiet)
	background(t, s.link.Run)
	options := api.Options{Bus: bus.Options{URL: broker.URL}, Version: "v-test", Metrics: metrics.New()}
	give(&options)
	s.server = api.New(config, options, quiet)
	if err := s.server.Listen(); err != nil {
		t.Fatal(err)
	}
	s.stop = background(t, s.server.Run)
	s.url = "http://" + s.server.Addr()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	s.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	await(t, "the api is ready", func() bool {
		select {
		case <-s.server.Ready():
			return true
		default:
			return false
		}
	})
	return s
}

// background runs for the life of the test, or until the function it gives.
func background(t testing.TB, run func(context.Context) error) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = run(ctx)
	}()
	stop := func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return stop
}

// await polls under a deadline.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// component puts a component on the bus and waits until it listens.
func (s *site) component(family hook.Family, name string, handle func(ctx context.Context, r hook.Request, w *hook.Answer) error) {
	s.t.Helper()
	up := make(chan struct{})
	var once sync.Once
	c := hook.Component{Name: name, Family: family, Timeout: 20 * time.Second, Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		if string(r.Data) == `"are you there?"` {
			once.Do(func() { close(up) })
			return nil
		}
		return handle(ctx, r, w)
	}}
	background(s.t, func(ctx context.Context) error { return c.Serve(ctx, bus.Options{URL: s.broker.URL}, quiet) })
	await(s.t, name+" listens", func() bool {
		s.publish(string(family)+"/"+name, json.RawMessage(`{"data":"are you there?"}`), false)
		select {
		case <-up:
			return true
		default:
			return false
		}
	})
}

// publish publishes v as JSON, or nothing when it is nil.
func (s *site) publish(topic string, v any, retained bool) {
	s.t.Helper()
	var payload []byte
	if v != nil {
		var err error
		if payload, err = json.Marshal(v); err != nil {
			s.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.link.Publish(ctx, bus.Message{Topic: topic, Payload: payload, Retained: retained}); err != nil {
		s.t.Fatal(err)
	}
}

// register publishes a site of three floors, default 1; the default floor's
// ids have no floor.
func (s *site) register() {
	s.t.Helper()
	for floor := 1; floor <= 3; floor++ {
		gateway := fmt.Sprintf("edge-f%d", floor)
		s.publish(bus.GatewaysInfoPrefix+gateway, contract.GatewayInfo{Gateway: gateway, Label: "Floor", Floor: floor, ConfigVersion: 7}, true)
		prefix := fmt.Sprintf("sp_f%d.", floor)
		if floor == 1 {
			prefix = "sp_"
		}
		for _, place := range []string{"w.r0.c0", "w.r0.c1", "w.r1.c0", "w.r1.c1", "g3", "p0"} {
			s.place(prefix+place, gateway)
		}
	}
	s.publish(bus.SiteTopic, contract.Site{Name: "House", DefaultFloor: 1, TimeZone: "Europe/Madrid"}, true)
	await(s.t, "the places are known", func() bool {
		var p struct{ Items []any }
		return s.get("/api/v1/devices").json(&p).status == http.StatusOK && len(p.Items) == 18
	})
}

func (s *site) place(id, gateway string) {
	s.t.Helper()
	d := mustID(s.t, id)
	s.publish(bus.PlacesPrefix+id, contract.Place{Device: d, Gateway: gateway, Label: "Desk", Driver: "hs110", Address: "127.1.0.1", MAC: "AC:84:C6:59:D9:A1"}, true)
}

func mustID(t testing.TB, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// response is one answer of the api.
type response struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

func (s *site) do(method, path, body string, header ...string) response {
	s.t.Helper()
	r, err := s.try(method, path, body, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) try(method, path, body string, header ...string) (response, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil {
		s.described(apitest.Exchange{
			Method: method, Target: path, Asked: request.Header, Sent: []byte(body), Status: answer.StatusCode, Header: answer.Header, Body: text,
		})
	}
	return response{s.t, answer.StatusCode, answer.Header, text}, err
}

func (s *site) get(path string, header ...string) response {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", header...)
}

func (s *site) put(path, body string) response {
	s.t.Helper()
	return s.do(http.MethodPut, path, body)
}

// is wants a status and a body; a body of "" is not looked at.
func (r response) is(status int, body string) {
	r.t.Helper()
	if r.status != status {
		r.t.Errorf("status %d, want %d: %.500s", r.status, status, r.body)
	}
	if got := string(bytes.TrimSpace(r.body)); body != "" && got != body {
		r.t.Errorf("body\n%s\nwant\n%s", got, body)
	}
}

func (r response) json(v any) response {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Errorf("%v: %.300s", err, r.body)
	}
	return r
}

// problem is an answer by RFC 9457.
type problem struct {
	Title, Detail, Component, Device, Gateway, Outcome, Command string
	Status                                                      int
	Errors                                                      []struct{ Parameter, Pointer, Detail string }
}

// problem wants a problem of that status whose text has each of the words.
func (r response) problem(status int, words ...string) problem {
	r.t.Helper()
	var p problem
	if r.json(&p); r.status != status || p.Status != status || p.Title != http.StatusText(status) {
		r.t.Errorf("status %d, problem %+v, want %d", r.status, p, status)
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Errorf("content type %q", got)
	}
	for _, word := range words {
		if !strings.Contains(string(r.body), word) {
			r.t.Errorf("%s does not say %q", r.body, word)
		}
	}
	return p
}
