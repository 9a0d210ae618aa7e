package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const inventory = `site: {name: Test, default_floor: 1, time_zone: Europe/Madrid}
gateways:
  - {id: edge-f1, floor: 1}
places:
  - {device: sp_f1.g0, gateway: edge-f1, driver: hs110, address: "127.0.0.1:9999"}
`

// cloud is a whole cloud in the test's process.
type cloud struct {
	t    *testing.T
	url  string
	mqtt string
}

func startCloud(t *testing.T, dir string, change ...func(*server.Config)) (c *cloud, stop func()) {
	t.Helper()
	cfg := server.DefaultConfig()
	cfg.Data, cfg.Broker.Listen, cfg.HTTP.Listen = dir, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Registry.Inventory = filepath.Join(dir, "inventory.yaml")
	cfg.InfluxD.Binary = influxtest.Config(t).Binary
	for _, c := range change {
		c(&cfg)
	}
	if err := os.WriteFile(cfg.Registry.Inventory, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	ready := make(chan [2]string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Run(ctx, cfg, server.Roles(), server.Options{Version: "test", Ready: func(api, broker string) { ready <- [2]string{api, broker} }},
			slog.New(slog.DiscardHandler))
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	select {
	case addresses := <-ready:
		return &cloud{t, "http://" + addresses[0], addresses[1]}, stop
	case err := <-done:
		t.Fatalf("Run: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	return nil, nil
}

func (c *cloud) get(path string) string {
	c.t.Helper()
	answer, err := http.Get(c.url + path)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(body)
}

func (c *cloud) until(path, want string) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	got := c.get(path)
	for ; !strings.Contains(got, want); got = c.get(path) {
		if time.Now().After(deadline) {
			c.t.Fatalf("GET %s = %s, want %s in it", path, got, want)
		}
		time.Sleep(50 * time.Millisecond) // polling under a deadline
	}
}

func TestFromTheBusToRESTAndTheLedger(t *testing.T) {
	dir := t.TempDir()
	c, stop := startCloud(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	receipts := make(chan bus.Message, 10)
	link := bus.NewLink(bus.Options{URL: c.mqtt, ClientID: "agent", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "responses/agent/receipts", func(m bus.Message) { receipts <- m })
	}}, slog.New(slog.DiscardHandler))
	go link.Run(ctx)
	now := device.MicrosOf(time.Now())
	id := contract.BatchID{Epoch: 7, Sequence: 1}
	data, _ := json.Marshal([]map[string]any{{"n": "sp_f1.g0/power", "u": "W", "t": now, "v": 42.5}})
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic("agent"), Batch: &contract.BatchHead{Readings: 1, From: now, To: now}, Data: data}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	answered := false
	for deadline := time.Now().Add(30 * time.Second); !answered; { // as a gateway does: again until there is a receipt
		if err := link.Publish(ctx, bus.Message{Topic: bus.Data{Source: "agent", Hook: "influx_data", Database: "sp", Batch: id.String()}.String(), Payload: payload}); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-receipts:
			answered = strings.Contains(string(m.Payload), fmt.Sprintf(`{"id":%q,"digest":%q}`, id, contract.DigestOf(payload)))
		case <-time.After(time.Second):
		}
		if time.Now().After(deadline) {
			t.Fatal("no receipt")
		}
	}
	c.until("/api/v1/devices", `"sp_f1.g0"`)
	c.until("/api/v1/readings?measurement=power&id=sp_g0", `"value":42.5`)
	c.until("/api/out/influx_query/sp/power?id=sp_f1.g0", `"v":42.5`)
	c.until("/api/v1/ledger?gateway=agent", `"stored":1`)
	c.until("/metrics", "wattline_influx_data_points_total")
	stop()

	c, stop = startCloud(t, dir) // the second start goes on where the first ended
	defer stop()
	c.until("/api/v1/readings?measurement=power&id=sp_f1.g0", `"value":42.5`)
}

func TestTheSampleIsUnderstood(t *testing.T) {
	c := server.DefaultConfig()
	t.Chdir("../..")
	if err := config.Load("docs/samples/cloud.yaml", &c); err != nil {
		t.Fatal(err)
	}
	want := server.DefaultConfig()
	want.Registry.Inventory = "docs/samples/inventory.yaml"
	if diff := cmp.Diff(want, c, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the sample differs from the defaults:\n%s", diff)
	}
	if found, err := c.Check(server.Roles()); err != nil || !strings.Contains(found, "2 gateways") {
		t.Errorf("Check of the samples: %q, %v", found, err)
	}
}

func TestTheSampleShowsEverySetting(t *testing.T) {
	text, err := os.ReadFile("../../docs/samples/cloud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var sample map[string]any
	if err := yaml.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	for part := range reflect.TypeFor[server.Config]().Fields() {
		name := part.Tag.Get("yaml")
		shown, ok := sample[name]
		if !ok {
			t.Errorf("%s is missing", name)
		}
		settings, ok := shown.(map[string]any)
		if part.Type.Kind() != reflect.Struct || !ok {
			continue
		}
		for setting := range part.Type.Fields() {
			if key := setting.Tag.Get("yaml"); settings[key] == nil {
				t.Errorf("%s.%s is missing", name, key)
			}
		}
	}
}

func TestACheckFindsMistakesInTheInventory(t *testing.T) {
	c := server.DefaultConfig()
	c.Registry.Inventory = filepath.Join(t.TempDir(), "inventory.yaml")
	if _, err := c.Check(server.Roles()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no inventory: %v", err)
	}
	if err := os.WriteFile(c.Registry.Inventory, []byte(strings.Replace(inventory, "gateway: edge-f1", "gateway: edge-f9", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(server.Roles()); err == nil || !strings.Contains(err.Error(), "edge-f9") {
		t.Errorf("a place of a gateway that is not there: %v", err)
	}
	if _, err := c.Check([]server.Role{server.RoleAPI}); err != nil {
		t.Errorf("a process that reads no inventory: %v", err)
	}
}

func TestRolesAreNamed(t *testing.T) {
	if roles, err := server.ParseRoles("api, hooks"); err != nil || len(roles) != 2 {
		t.Errorf("%v, %v", roles, err)
	}
	if roles, err := server.ParseRoles(""); err != nil || len(roles) != len(server.Roles()) {
		t.Errorf("%v, %v", roles, err)
	}
	if _, err := server.ParseRoles("api,hoks"); err == nil || !strings.Contains(err.Error(), "hoks") || !strings.Contains(err.Error(), "hooks") {
		t.Errorf("an unknown role: %v", err)
	}
}

func TestAnInventoryWithMistakesStartsNothing(t *testing.T) {
	dir := t.TempDir()
	c := server.DefaultConfig()
	c.Data, c.Broker.Listen, c.HTTP.Listen = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	c.Registry.Inventory = filepath.Join(dir, "inventory.yaml")
	if err := os.WriteFile(c.Registry.Inventory, []byte("site: {default_floor: one}\nplaces: [{device: nonsense}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	err := server.Run(t.Context(), c, server.Roles(), server.Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	for _, word := range []string{"site.default_floor", "places[0].device", "gateways"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not named in: %v", word, err)
		}
	}
	if _, err := os.Stat(c.Data); err == nil || log.Len() > 0 {
		t.Errorf("something was started: %s", log.String())
	}
}

func TestARoleThatCannotRunAloneSaysWhatItNeeds(t *testing.T) {
	c := server.DefaultConfig()
	c.Data = t.TempDir()
	err := server.Run(t.Context(), c, []server.Role{server.RoleHooks}, server.Options{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "influx.url") {
		t.Errorf("hooks without an InfluxDB: %v", err)
	}
}
