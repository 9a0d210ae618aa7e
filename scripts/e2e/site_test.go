package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// Where broker and InfluxDB run.
const (
	inCloud   = ""          // inside wattline-cloud, the default of the product
	ownBroker = "own"       // the embedded broker as a process of its own
	mosquitto = "mosquitto" // Debian's
	apart     = "apart"     // InfluxDB beside the cloud, behind a proxy
)

// layout says what a site consists of.
type layout struct {
	gateways, plugs int
	broker, influx  string
	cables          bool   // gateways reach the broker through cables that can be cut
	outbox          string // settings of the gateways' outboxes, YAML in braces
	cloud           string // more lines for the cloud's configuration
	edgeData        string // directory of the gateways' data; a new one unless set
	cloudData       string
}

// site is a small building with everything in it.
type site struct {
	layout
	t     testing.TB
	dir   string
	logs  string
	ip    string // its own loopback address, so that ports are never anybody else's
	edges []*edge

	cloud    *process
	broker   *process // nil where it is in the cloud
	influxd  *influxd.Server
	database *databaseProxy // before influxd, nil where that is in the cloud
	store    *influx.Client // past the proxy
}

// edge is a gateway with its plugs.
type edge struct {
	*process
	site  *site
	id    string
	floor int
	data  string
	cable *cable
	page  string
	plugs []*plug

	archive   archive
	plain     bool // fill does not compress: more bytes for fewer readings
	witnesses []witness
	gaps      []gap
}

// plug is one simulated plug and its place.
type plug struct {
	*hs110test.Plug
	id device.ID
}

// newSite starts everything and waits until each gateway has its configuration.
func newSite(t testing.TB, l layout) *site {
	t.Helper()
	s := prepare(t, l)
	s.startAll()
	return s
}

// prepare makes a site that does not run yet.
func prepare(t testing.TB, l layout) *site {
	t.Helper()
	s := &site{layout: l, t: t, dir: tempDir(t), ip: loopback(t)}
	s.logs = filepath.Join(s.dir, "logs")
	if keep := os.Getenv("WATTLINE_E2E_LOGS"); keep != "" {
		s.logs = filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "_"))
	}
	for _, dir := range []string{s.logs, filepath.Join(s.dir, "edge"), filepath.Join(s.dir, "cloud")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if s.edgeData == "" {
		s.edgeData = filepath.Join(s.dir, "edge")
	}
	if s.cloudData == "" {
		s.cloudData = filepath.Join(s.dir, "cloud")
	}
	s.prepareInflux()
	s.prepareBroker()
	s.cloud = newProcess(t, "cloud", filepath.Join(s.logs, "cloud.log"), program("wattline-cloud"), "-config", s.file("cloud.yaml"), "-roles", s.roles())
	for n := 1; n <= l.gateways; n++ {
		s.edges = append(s.edges, s.newEdge(n, fmt.Sprintf("edge-f%d", n)))
	}
	s.writeInventory()
	s.write("cloud.yaml", s.cloudConfig())
	t.Cleanup(s.checkLogs)
	return s
}

// tempDir is a directory whose name needs no quotes in YAML.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wattline-e2e-") //nolint:usetesting // t.TempDir has the name of the test in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *site) startAll() {
	s.t.Helper()
	if s.broker != nil {
		s.broker.start()
	}
	s.cloud.start()
	for _, e := range s.edges {
		e.start()
	}
	s.ready()
}

// ready waits until the cloud answers and each gateway polls.
func (s *site) ready() {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, "the cloud is ready", func() bool {
		if !s.cloud.alive() {
			s.t.FailNow()
		}
		return s.rest("/readyz", nil) == nil
	})
	for _, e := range s.edges {
		e.ready()
	}
}

func (e *edge) ready() {
	e.t.Helper()
	eventually(e.t, time.Minute, e.id+" polls its plugs", func() bool {
		v, err := e.look()
		return err == nil && v.Status.Plugs.Configured == len(e.plugs)
	})
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) roles() string {
	if s.layout.broker == inCloud && s.layout.influx == inCloud {
		return "all"
	}
	roles := "registry,hooks,components,api"
	if s.layout.broker == inCloud {
		roles += ",broker"
	}
	if s.layout.influx == inCloud {
		roles += ",influx"
	}
	return roles
}

func (s *site) cloudConfig() string {
	text := fmt.Sprintf("data: %s\nhttp: {listen: \"%s:8080\"}\nregistry: {inventory: %s}\n%s", s.cloudData, s.ip, s.file("inventory.yaml"), s.layout.cloud)
	if s.layout.broker == inCloud {
		text += fmt.Sprintf("broker: {listen: \"%s:1883\"}\n", s.ip)
	} else {
		text += fmt.Sprintf("mqtt: {url: \"tcp://%s:1883\"}\n", s.ip)
	}
	if s.influxd == nil {
		return text + fmt.Sprintf("influxd: {binary: %s, address: \"%s:8086\"}\n", influxtest.Config(s.t).Binary, s.ip)
	}
	return text + fmt.Sprintf("influx: {url: %q, token: %q, write_timeout: 2s}\n", s.database.url, s.influxd.Token())
}

// prepareInflux runs InfluxDB where it is not the cloud's.
func (s *site) prepareInflux() {
	s.t.Helper()
	if s.layout.influx == inCloud {
		return
	}
	cfg := influxtest.Config(s.t)
	cfg.Address = s.ip + ":8086"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := influxd.Start(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(server.Close)
	s.influxd = server
	s.database = newDatabaseProxy(s.t, s.ip+":8087", server.URL())
}

// killInflux ends influxd by SIGKILL; whoever supervises it starts it again.
func (s *site) killInflux() {
	pid := 0
	if s.influxd != nil {
		pid = s.influxd.PID()
	} else if text, err := os.ReadFile(filepath.Join(s.cloudData, "influxdb", "influxd.pid")); err == nil {
		_, _ = fmt.Sscan(string(text), &pid)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); pid > 1 && err == nil && strings.TrimSpace(string(name)) == "influxd" {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// client asks InfluxDB itself, past all proxies.
func (s *site) client() *influx.Client {
	s.t.Helper()
	if s.store != nil {
		return s.store
	}
	cfg := influx.DefaultConfig()
	cfg.URL = "http://" + s.ip + ":8086"
	if s.influxd != nil {
		cfg.Token = config.Secret(s.influxd.Token())
	} else {
		text, err := os.ReadFile(filepath.Join(s.cloudData, "influxdb", "credentials"))
		if err != nil {
			s.t.Fatal(err)
		}
		cfg.Token = config.Secret(strings.TrimSpace(string(text)))
	}
	client, err := influx.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	s.store = client
	return client
}

func (s *site) prepareBroker() {
	s.t.Helper()
	log := filepath.Join(s.logs, "broker.log")
	switch s.layout.broker {
	case ownBroker:
		s.write("broker.yaml", fmt.Sprintf("data: %s\nbroker: {listen: \"%s:1883\"}\n", s.file("broker"), s.ip))
		s.broker = newProcess(s.t, "broker", log, program("wattline-cloud"), "-config", s.file("broker.yaml"), "-roles", "broker")
	case mosquitto:
		path := "/usr/sbin/mosquitto" // not in everybody's PATH
		if _, err := os.Stat(path); err != nil {
			if path, err = exec.LookPath("mosquitto"); err != nil {
				if os.Getenv("CI") != "" {
					s.t.Fatal("mosquitto is not installed (make deps-test)")
				}
				s.t.Skip("mosquitto is not installed (Debian package mosquitto)")
			}
		}
		s.write("mosquitto.conf", fmt.Sprintf("listener 1883 %s\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 0\n", s.ip))
		s.broker = newProcess(s.t, "broker", log, path, "-c", s.file("mosquitto.conf"))
	}
}

// newEdge prepares the gateway of a floor. Two of one id are a clone.
func (s *site) newEdge(floor int, id string) *edge {
	s.t.Helper()
	e := &edge{site: s, id: id, floor: floor, data: filepath.Join(s.edgeData, id), page: fmt.Sprintf("%s:%d", s.ip, 9000+floor)}
	for n := range s.layout.plugs {
		e.plugs = append(e.plugs, s.newPlug(fmt.Sprintf("sp_f%d.g%d", floor, n)))
	}
	broker := s.ip + ":1883"
	if s.cables {
		e.cable = newCable(s.t, fmt.Sprintf("%s:%d", s.ip, 1900+floor), broker)
		broker = e.cable.address
	}
	e.configure(id, broker)
	return e
}

func (e *edge) configure(name, broker string) {
	s := e.site
	text := fmt.Sprintf("gateway: %s\ndata: %s\nbroker: {url: \"tcp://%s\"}\nstatus: {listen: %q}\n", e.id, e.data, broker, e.page)
	if s.outbox != "" {
		text += "outbox: " + s.outbox + "\n"
	}
	s.write(name+".yaml", text)
	e.process = newProcess(s.t, name, filepath.Join(s.logs, name+".log"), program("wattline-edge"), "-config", s.file(name+".yaml"))
}

func (s *site) newPlug(id string) *plug {
	s.t.Helper()
	dev, err := device.Parse(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return &plug{Plug: hs110test.New(s.t, hs110test.Options{Hardware: hs110test.HW2, Generate: hs110test.Numbered}), id: dev}
}

func (s *site) writeInventory() {
	var text strings.Builder
	text.WriteString("site: {name: Test, default_floor: 1, time_zone: Europe/Madrid}\ngateways:\n")
	for _, e := range s.edges {
		fmt.Fprintf(&text, "  - {id: %s, label: Floor %d, floor: %d, poll: 1s}\n", e.id, e.floor, e.floor)
	}
	text.WriteString("places:\n")
	for _, e := range s.edges {
		for _, p := range e.plugs {
			fmt.Fprintf(&text, "  - {device: %v, gateway: %s, address: %q}\n", p.id, e.id, p.Address())
		}
	}
	s.write("inventory.yaml", text.String())
}

// loopback finds an address in 127.0.0.0/8 that nobody uses.
func loopback(t testing.TB) string {
	t.Helper()
	for range 100 {
		ip := fmt.Sprintf("127.%d.%d.%d", 100+rand.IntN(120), rand.IntN(256), 1+rand.IntN(254))
		if l, err := net.Listen("tcp", ip+":1883"); err == nil {
			_ = l.Close()
			return ip
		}
	}
	t.Fatal("no loopback address is free")
	return ""
}

var browser = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// fetch gets JSON; anything but 200 is an error.
func fetch(url string, into any) error {
	answer, err := browser.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, answer.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

func (s *site) rest(path string, into any) error { return fetch("http://"+s.ip+":8080"+path, into) }

// patch changes something that is registered.
func (s *site) patch(path, body string) error {
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPatch, "http://"+s.ip+":8080"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := browser.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	told, err := io.ReadAll(answer.Body)
	return errors.Join(fmt.Errorf("PATCH %s: %s: %s", path, answer.Status, told), err)
}

// look reads the gateway's own page.
func (e *edge) look() (v status.View, err error) {
	err = fetch("http://"+e.page+"/status.json", &v)
	return v, err
}

// waiting is what the outbox says of itself.
func (e *edge) waiting() contract.OutboxStatus {
	e.t.Helper()
	v, err := e.look()
	if err != nil {
		e.t.Fatal(err)
	}
	return v.Status.Outbox
}

// checkLogs looks into what the programs wrote: nobody may panic, race or
// chatter.
func (s *site) checkLogs() {
	files, err := filepath.Glob(filepath.Join(s.logs, "*.log"))
	if err != nil {
		s.t.Error(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Error(err)
			continue
		}
		lines := strings.Split(string(text), "\n")
		errors := 0
		for _, line := range lines {
			switch {
			case strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "fatal error:"), strings.Contains(line, "DATA RACE"), strings.Contains(line, "panicked"):
				s.t.Errorf("%s: %s", filepath.Base(file), line)
			case strings.Contains(line, `"level":"ERROR"`):
				if errors++; errors <= 5 {
					s.t.Logf("%s: %s", filepath.Base(file), line)
				}
			}
		}
		if filepath.Base(file) != "broker.log" && len(lines) > 3000 {
			s.t.Errorf("%s has %d lines", filepath.Base(file), len(lines))
		}
	}
}
