package api_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/api/apitest"
	"github.com/wattline/wattline/cloud/hooks/live"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// happenings gives the hub's streams as the composition root does.
type happenings struct{ hub *live.Hub }

func (h happenings) Follow(after string, wants func(contract.Event) bool) (api.Follower, error) {
	f, err := h.hub.Follow(after, wants)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// startLive is an api with events.
func startLive(t *testing.T, options live.Options, change ...func(*api.Config)) (s *site, endHub func() error) {
	t.Helper()
	hub := live.New(options, quiet)
	s = startWith(t, func(o *api.Options) { o.Live = happenings{hub} }, change...)
	endHub = background(t, func(ctx context.Context) error { return hub.Run(ctx, bus.Options{URL: s.broker.URL}) })
	s.house()
	await(t, "the site is known", func() bool { return s.get("/api/v1/events?colour=red").status != http.StatusServiceUnavailable })
	return s, endHub
}

// watch reads events of a stream until one has the text.
type watch struct {
	t     *testing.T
	lines *bufio.Scanner
	body  io.Closer

	site   *site
	path   string
	answer *http.Response
}

func (s *site) watch(t *testing.T, path string, header ...string) *watch {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return &watch{t, lines, answer.Body, s, path, answer}
}

func (w *watch) until(text string) (all string) {
	w.t.Helper()
	for w.lines.Scan() {
		all += w.lines.Text() + "\n"
		if strings.Contains(w.lines.Text(), text) {
			w.site.described(apitest.Exchange{
				Method: http.MethodGet, Target: w.path, Status: w.answer.StatusCode, Header: w.answer.Header, Body: []byte(all),
			})
			return all
		}
	}
	w.t.Fatalf("the stream ends before %s: %v\n%s", text, w.lines.Err(), all)
	return ""
}

func (s *site) tell(id string, watts int) {
	s.t.Helper()
	s.publish("state/edge-f1/"+id, json.RawMessage(fmt.Sprintf(`[{"n":"%s/power","u":"W","t":1700000000,"v":%d}]`, id, watts)), true)
}

func TestEventsFlowAndGoOn(t *testing.T) {
	s, endHub := startLive(t, live.Options{})
	w := s.watch(t, "/api/v1/events?kind=state")
	begin := w.until("event: current")
	if !strings.HasPrefix(begin, "retry: 2000\n\nid: \nevent: reset\ndata: {\"reason\":\"start\"}\n\n") {
		t.Errorf("it begins\n%s", begin)
	}
	s.tell("sp_f1.g0", 71)
	text := w.until(`"value":71,`)
	_, id, _ := strings.Cut(text, "id: ")
	for strings.Contains(id, "id: ") { // the last of them
		_, id, _ = strings.Cut(id, "id: ")
	}
	id, _, _ = strings.Cut(id, "\n")
	_ = w.body.Close()
	s.tell("sp_f1.g0", 72)
	again := s.watch(t, "/api/v1/events?kind=state", "Last-Event-ID", id)
	if text := again.until(`"value":72,`); strings.Contains(text, "reset") || strings.Contains(text, `"value":71,`) {
		t.Errorf("it goes on with\n%s", text)
	}
	if err := endHub(); err != nil {
		t.Fatal(err)
	}
	for again.lines.Scan() { // a proper end
	}
	if err := again.lines.Err(); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	s.get("/api/v1/events").problem(http.StatusServiceUnavailable, "try again")
}

func TestEventsKeepToWhatWasAskedForAndToTheFloors(t *testing.T) {
	s, _ := startLive(t, live.Options{}, guarded)
	name, value := s.token(contract.Token{Name: "second", Role: contract.Viewer, Floors: []int{2}})
	adminName, admin := s.token(contract.Token{Name: "all", Role: contract.Viewer})
	s.get("/api/v1/events").problem(http.StatusUnauthorized, "token")
	s.do(http.MethodGet, "/api/v1/events?floor=1", "", name, value).problem(http.StatusForbidden, "floor 1")
	s.do(http.MethodGet, "/api/v1/events?kind=gossip&id=no&colour=red", "", name, value).problem(http.StatusBadRequest, "kind", "id", "colour")
	own := s.watch(t, "/api/v1/events", name, value)
	asked := s.watch(t, "/api/v1/events?id=g0,sp_f2.w.r1.c1&type=g", adminName, admin)
	own.until("event: current")
	asked.until("event: current")
	s.publish("alerts/site", json.RawMessage(`{"rule":"for all"}`), true)
	s.publish("alerts/first", json.RawMessage(`{"device":"sp_g0"}`), true)
	s.publish("alerts/second", json.RawMessage(`{"floor":2,"covers":["sp_f1.g9"]}`), true)
	s.tell("sp_f1.g0", 71)
	s.tell("sp_f1.g1", 72)
	s.tell("sp_f2.w.r1.c1", 73)
	s.tell("sp_f1.g0", 74)
	if text := own.until(`"value":73,`); !strings.Contains(text, "alerts/second") || strings.Contains(text, "alerts/site") || strings.Contains(text, "alerts/first") || strings.Contains(text, "sp_f1") {
		t.Errorf("a token for floor 2 hears\n%s", text)
	}
	if text := asked.until(`"value":74,`); strings.Contains(text, `"value":72,`) || strings.Contains(text, `"value":73,`) || strings.Contains(text, "alerts/site") {
		t.Errorf("asked for g0, told\n%s", text)
	}
	// A token that is taken away ends its stream.
	s.publish(bus.TokensPrefix+hex.EncodeToString([]byte("second")), nil, true)
	for own.lines.Scan() {
	}
}

func TestClientsThatTakeNothingAreLetGo(t *testing.T) {
	s, _ := startLive(t, live.Options{Events: 200}, func(c *api.Config) { c.HTTP.WriteTimeout = 300 * time.Millisecond })
	quick := s.watch(t, "/api/v1/events?kind=alert")
	quick.until("event: current")
	const slow = 200
	for range slow {
		c, err := net.Dial("tcp", s.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all follow", func() bool {
		return strings.Contains(string(s.get("/metrics").body), fmt.Sprintf("wattline_api_connections_open %d\n", slow+2))
	})
	big := strings.Repeat("x", 50_000)
	for n := range 100 {
		s.publish("alerts/x", map[string]string{"n": fmt.Sprintf("n%d.", n), "big": big}, true)
		if n%20 == 19 {
			quick.until(fmt.Sprintf(`"n%d."`, n))
		}
	}
	await(t, "the slow ones are let go", func() bool {
		return strings.Contains(string(s.get("/metrics").body), "wattline_api_connections_open 2\n")
	})
}
