package interop_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/bus"
)

// layout says what a site consists of. The zero value has everything embedded in
// one cloud process, and one gateway, edge-f1, without places.
type layout struct {
	broker string             // URL of an external broker
	influx *influxtest.Server // an external InfluxDB
	roles  []string           // one cloud process each; the one with the api is at the site's address
	cloud  string             // more lines of the cloud's configuration
	edge   string             // more lines of the gateway's
	places string             // lines of the inventory, the first one empty
	limits string             // more of the embedded broker's configuration
	http   string             // more of the REST API's, as the members of a YAML flow mapping
}

// site is a running Wattline.
type site struct {
	layout
	t    testing.TB
	dir  string
	logs string
	ip   string // its own loopback address, so that ports are never anybody else's

	clouds []*process
	edge   *process
}

const gatewayName = "edge-f1"

// newSite starts a site and waits until it answers and the gateway polls.
func newSite(t testing.TB, l layout) *site {
	t.Helper()
	s := emptySite(t, l)
	s.write("inventory.yaml", "site: {name: Test, default_floor: 1, time_zone: Europe/Madrid}\n"+
		"gateways: [{id: edge-f1, label: First, floor: 1, poll: 1s, stagger: 0s}]\nplaces:"+cmp.Or(l.places, " []\n"))
	if len(s.roles) == 0 {
		s.roles = []string{"all"}
	}
	for i, roles := range s.roles {
		s.startCloud(fmt.Sprintf("cloud%d", i), roles, 8080, l.cloud)
	}
	s.write("edge.yaml", fmt.Sprintf("gateway: edge-f1\ndata: %s\nbroker: {url: %q}\nstatus: {listen: \"%s:8081\"}\n%s", s.file("edge"), s.mqtt(), s.ip, l.edge))
	s.edge = run(t, "wattline-edge", filepath.Join(s.logs, "edge.log"), program("wattline-edge"), "-config", s.file("edge.yaml"))
	s.ready()
	return s
}

// emptySite is a site in which nothing runs yet.
func emptySite(t testing.TB, l layout) *site {
	t.Helper()
	s := &site{layout: l, t: t, dir: t.TempDir(), ip: loopback(t)}
	s.logs = filepath.Join(s.dir, "logs")
	if keep := os.Getenv("WATTLINE_INTEROP_LOGS"); keep != "" {
		s.logs = filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "_"))
	}
	if err := os.MkdirAll(s.logs, 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// mqtt is the broker's.
func (s *site) mqtt() string { return cmp.Or(s.broker, "tcp://"+s.ip+":1883") }

// startCloud runs one more process of the cloud.
func (s *site) startCloud(name, roles string, port int, more string) *process {
	s.t.Helper()
	text := fmt.Sprintf("data: %s\nhttp: {listen: \"%s:%d\", %s}\nregistry: {inventory: %s}\n%s", s.file(name), s.ip, port, s.http, s.file("inventory.yaml"), more)
	if s.broker == "" {
		text += fmt.Sprintf("broker: {listen: \"%s:1883\", %s}\n", s.ip, s.limits)
	} else {
		text += fmt.Sprintf("mqtt: {url: %q}\n", s.broker)
	}
	if s.influx == nil {
		text += fmt.Sprintf("influxd: {binary: %s, address: \"%s:8086\"}\n", influxtest.Config(s.t).Binary, s.ip)
	} else {
		text += fmt.Sprintf("influx: {url: %q, token: %q}\n", s.influx.URL, s.influx.Token)
	}
	s.write(name+".yaml", text)
	p := run(s.t, "wattline-cloud "+roles, filepath.Join(s.logs, name+".log"), program("wattline-cloud"), "-config", s.file(name+".yaml"), "-roles", roles)
	s.clouds = append(s.clouds, p)
	s.t.Cleanup(p.checkLog)
	return p
}

func (s *site) ready() {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, "the cloud is ready", func() bool {
		for _, c := range s.clouds {
			if !c.alive() {
				s.t.FailNow()
			}
		}
		return s.rest("/readyz").status == http.StatusOK
	})
	places := strings.Count(s.places, "device:")
	eventually(s.t, time.Minute, "the gateway polls", func() bool {
		if !s.edge.alive() {
			s.t.FailNow()
		}
		v, err := s.page()
		return err == nil && v.Status.Plugs.Configured == places && v.Status.Plugs.Reachable == places
	})
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// loopback finds an address in 127.0.0.0/8 that nobody uses.
func loopback(t testing.TB) string {
	t.Helper()
	for range 100 {
		ip := fmt.Sprintf("127.%d.%d.%d", 100+rand.IntN(20), rand.IntN(256), 1+rand.IntN(254))
		if l, err := net.Listen("tcp", ip+":1883"); err == nil {
			_ = l.Close()
			return ip
		}
	}
	t.Fatal("no loopback address is free")
	return ""
}

// answer is what came of a request.
type answer struct {
	status int
	body   string
	header http.Header
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// into reads the body as JSON.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
}

var browser = http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *site) rest(path string) answer { return s.do(http.MethodGet, path, "") }

// do sends a request to the api; no answer at all has the status 0.
func (s *site) do(method, path, body string) answer {
	return fetch(method, "http://"+s.ip+":8080"+path, body)
}

func fetch(method, url, body string) answer {
	request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return answer{body: err.Error()}
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
	}
	response, err := browser.Do(request)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{response.StatusCode, string(text), response.Header}
}

// influxQL asks the embedded InfluxDB itself, with its own credentials.
func (s *site) influxQL(t testing.TB, database, query string) answer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.file("cloud0"), "influxdb", "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
	values := url.Values{"db": {database}, "u": {user}, "p": {password}, "q": {query}}
	return fetch(http.MethodGet, "http://"+s.ip+":8086/query?"+values.Encode(), "")
}

// page is the gateway's own page.
func (s *site) page() (v status.View, err error) {
	a := fetch(http.MethodGet, "http://"+s.ip+":8081/status.json", "")
	return v, json.Unmarshal([]byte(a.body), &v)
}

// metric sums a metric of the cloud over its labels; labels, where given, must
// all be in the line.
func (s *site) metric(name string, labels ...string) float64 {
	s.t.Helper()
	return sum(s.t, s.rest("/metrics").body, name, labels...)
}

func sum(t testing.TB, text, name string, labels ...string) (total float64) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(\{[^\n]*\})? (\S+)$`)
	found := line.FindAllStringSubmatch(text, -1)
	if found == nil {
		t.Errorf("there is no metric %s", name)
	}
next:
	for _, m := range found {
		for _, l := range labels {
			if !strings.Contains(m[1], l) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		total += v
	}
	return total
}

// client is a connection to the site's broker by somebody from outside. It ends
// with the test.
func (s *site) client(name string, up func(ctx context.Context, session *bus.Session) error) *bus.Link {
	s.t.Helper()
	link := bus.NewLink(bus.Options{URL: s.mqtt(), ClientID: name, Up: up}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = link.Run(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
	})
	wait, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := link.AwaitUp(wait); err != nil {
		s.t.Fatal(err)
	}
	return link
}

// publish publishes and waits for the broker.
func (s *site) publish(link *bus.Link, topic, payload string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := link.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
		s.t.Fatal(err)
	}
}
