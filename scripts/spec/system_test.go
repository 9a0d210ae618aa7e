package spec_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

var quiet = slog.New(slog.DiscardHandler)

// brokers are those that everything is tried on.
var brokers = []string{"embedded", "mosquitto"}

// password sets the roles apart from guests at the embedded broker.
const password = "roles only"

// system is a cloud, a gateway of three plugs, and somebody who hears everything.
type system struct {
	t     *testing.T
	ctx   context.Context //nolint:containedctx // lives as long as one test
	mqtt  string
	rest  string
	store *influx.Client
	heard *record
	// broker is Mosquitto, nil where the embedded one runs.
	broker *bustest.Mosquitto
}

// start runs a system; it ends with the test.
func start(t *testing.T, kind string, change ...func(*server.Config)) *system {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	s := &system{t: t, ctx: ctx}
	dir := t.TempDir()
	cfg := server.DefaultConfig()
	cfg.Data, cfg.Broker.Listen, cfg.HTTP.Listen = dir, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Broker.Password = password
	cfg.Republish.Enabled, cfg.Republish.HomeAssistant.Enabled = true, true
	if kind == "mosquitto" {
		s.broker = bustest.Start(t)
		cfg.MQTT.URL = s.broker.URL
	}
	database := influxtest.StartEmbedded(t, nil)
	cfg.Influx.URL, cfg.Influx.Token, cfg.Influx.Org = database.URL, config.Secret(database.Token), database.Org
	cfg.Registry.Inventory = filepath.Join(dir, "inventory.yaml")
	if err := os.WriteFile(cfg.Registry.Inventory, []byte(inventory(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.store, err = influx.New(cfg.Influx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	ready, failed := make(chan [2]string, 1), make(chan error, 1)
	running.Go(func() {
		o := server.Options{Version: "test", Ready: func(api, broker string) { ready <- [2]string{api, broker} }}
		if err := server.Run(ctx, cfg, server.Roles(), o, quiet); err != nil {
			failed <- err
		}
	})
	select {
	case addresses := <-ready:
		s.rest, s.mqtt = "http://"+addresses[0], cmp.Or(cfg.MQTT.URL, addresses[1])
	case err := <-failed:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the cloud is not ready after a minute")
	}
	s.heard = newRecord()
	s.client("role", "#", s.heard.add)
	s.gateway(&running)
	return s
}

// inventory is a floor with a meeting room and two workplaces, one of them
// protected.
func inventory(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("site: {name: Head office, default_floor: 1, time_zone: Europe/Madrid}\n" +
		"gateways: [{id: edge-f1, floor: 1, poll: 1s, stagger: 0s}]\nplaces:\n")
	for _, id := range []string{"sp_f1.g0", "sp_f1.w.r0.c0", "sp_f1.w.r0.c1"} {
		plug := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Off: true})
		protected := ""
		if id == "sp_f1.w.r0.c1" {
			protected = ", protected: mail server"
		}
		fmt.Fprintf(&b, "  - {device: %s, gateway: edge-f1, address: %q%s}\n", id, plug.Address(), protected)
	}
	return b.String()
}

// gateway runs the floor's, and waits until all its plugs are read.
func (s *system) gateway(running *sync.WaitGroup) {
	s.t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.Gateway, cfg.Data, cfg.Broker.URL = "edge-f1", s.t.TempDir(), s.mqtt
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.Status.Listen = listener.Addr().String()
	_ = listener.Close()
	o := gateway.Options{Version: "test", Discovery: discovery.Options{Every: time.Second}}
	running.Go(func() {
		if err := gateway.Run(s.ctx, cfg, o, quiet); err != nil {
			s.t.Errorf("gateway: %v", err)
		}
	})
	s.until("the gateway reads its plugs", func() bool {
		return len(s.heard.on("state/edge-f1/+")) >= 3 && len(s.heard.on("responses/edge-f1/receipts")) > 0
	})
}

// until waits under a deadline.
func (s *system) until(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // polling under a deadline
	}
}

// client connects a role or a guest that hears filter, "" for nothing, for the
// life of the test.
func (s *system) client(who, filter string, hear func(bus.Message)) *bus.Link {
	s.t.Helper()
	o := bus.Options{URL: s.mqtt, ClientID: hook.ClientID("spec-" + who), Up: func(ctx context.Context, session *bus.Session) error {
		if filter == "" {
			return nil
		}
		return session.Subscribe(ctx, filter, hear)
	}}
	if who == "role" {
		o.Username, o.Password = broker.RoleUser, password
	}
	link := bus.NewLink(o, quiet)
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = link.Run(ctx) }()
	s.t.Cleanup(func() { cancel(); <-done })
	up, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := link.AwaitUp(up); err != nil {
		s.t.Fatal(err)
	}
	return link
}

// publish publishes and waits for the broker.
func (s *system) publish(link *bus.Link, topic string, payload []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	if err := link.Publish(ctx, bus.Message{Topic: topic, Payload: payload}); err != nil {
		s.t.Fatal(err)
	}
}

// get asks the REST server.
func (s *system) get(path string) (status int, body string) {
	s.t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.rest+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

var errFound = errors.New("found")

// has tells whether a point is in InfluxDB.
func (s *system) has(p point) bool {
	s.t.Helper()
	seconds, fraction, _ := strings.Cut(p.Time.String(), ".")
	field, want := "value", fmt.Sprint(deref(p.Value))
	if p.Text != nil {
		field, want = "text", *p.Text
	}
	q := fmt.Sprintf(`SELECT %q FROM %q WHERE time = %s%su`, field, p.Measurement, seconds, (fraction + "000000")[:6])
	for tag, value := range p.Tags {
		q += fmt.Sprintf(` AND %q = '%s'`, tag, value)
	}
	err := s.store.Query(s.ctx, p.Database, q, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
		if len(rows) == 1 && fmt.Sprint(rows[0][1]) == want {
			return errFound
		}
		return nil
	})
	return errors.Is(err, errFound)
}

func deref(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}
