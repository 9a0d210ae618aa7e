package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
	"github.com/wattline/wattline/shared/senml"
)

// site is a broker, a floor of simulated plugs, and a cloud that the test plays.
type site struct {
	t      *testing.T
	ctx    context.Context
	broker *bustest.Mosquitto
	fleet  *hs110test.Fleet
	config gateway.Config
	option gateway.Options
	page   string
	heard  chan bus.Message
	cloud  *bus.Link
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOf(t, hs110test.FleetOptions{Rooms: 2, Printers: 1, NoBroadcast: true})
}

func newSiteOf(t *testing.T, plugs hs110test.FleetOptions) *site {
	t.Helper()
	fleet, err := hs110test.StartFleet(plugs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fleet.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, broker: bustest.Start(t), fleet: fleet, page: freeAddress(t), heard: make(chan bus.Message, 10_000)}
	s.option = gateway.Options{Version: "test", Discovery: discovery.Options{Every: 300 * time.Millisecond, ScanEvery: time.Second, Spread: 10 * time.Millisecond}}
	s.config = gateway.DefaultConfig()
	s.config.Gateway, s.config.Data, s.config.Broker.URL, s.config.Status.Listen = "edge-f1", t.TempDir(), s.broker.URL, s.page
	s.cloud = bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "cloud", Up: func(ctx context.Context, session *bus.Session) error {
		for _, filter := range []string{bus.DataFilter, bus.StatusFilter, bus.StateFilter, bus.FoundFilter, "responses/sp_command/#"} {
			if err := session.Subscribe(ctx, filter, func(m bus.Message) { s.heard <- m }); err != nil {
				return err
			}
		}
		return nil
	}}, quiet)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.cloud.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

var quiet = slog.New(slog.DiscardHandler)

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the gateway; the function returned stops it and waits.
func (s *site) start() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- gateway.Run(ctx, s.config, s.option, quiet) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *site) publish(topic string, retained bool, payload []byte) {
	s.t.Helper()
	if err := s.cloud.Publish(s.ctx, bus.Message{Topic: topic, Payload: payload, Retained: retained}); err != nil {
		s.t.Fatal(err)
	}
}

// configure gives the gateway its plugs; g1 is protected.
func (s *site) configure(version uint64, change ...func(*contract.GatewayConfig)) {
	s.t.Helper()
	c := contract.GatewayConfig{Version: version, Gateway: "edge-f1", Floor: 1, PollSeconds: 1, StaggerMillis: 10}
	for _, p := range s.fleet.Plugs {
		plug := contract.Plug{Device: p.ID, Driver: "hs110", Address: p.Address(), DeviceID: p.DeviceID()}
		if p.ID.String() == "sp_f1.g1" {
			plug.Protected = "a server"
		}
		c.Plugs = append(c.Plugs, plug)
	}
	for _, f := range change {
		f(&c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(bus.ConfigTopic("edge-f1"), true, payload)
}

// await waits for a message that fits.
func (s *site) await(what string, fits func(bus.Message) bool) bus.Message {
	s.t.Helper()
	for {
		select {
		case m := <-s.heard:
			if fits(m) {
				return m
			}
		case <-s.ctx.Done():
			s.t.Fatalf("waited for %s", what)
		}
	}
}

func (s *site) awaitBatch() (bus.Envelope, []senml.Record) {
	s.t.Helper()
	m := s.await("a batch", func(m bus.Message) bool { return strings.HasPrefix(m.Topic, "data/edge-f1/influx_data/sp/") })
	e, err := bus.Decode(m.Payload)
	if err != nil {
		s.t.Fatal(err)
	}
	records, err := senml.Decode(e.Data, bus.MaxRecords)
	if err != nil || !strings.HasSuffix(m.Topic, "/"+e.ID) {
		s.t.Fatalf("%s %s: %v", m.Topic, e.ID, err)
	}
	id, err := contract.ParseBatchID(e.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	s.answer(contract.Receipt{ID: id, Digest: contract.DigestOf(m.Payload)})
	return e, records
}

func (s *site) answer(r contract.Receipt) {
	s.t.Helper()
	data, _ := json.Marshal(contract.Receipts{Stored: []contract.Receipt{r}})
	payload, _ := bus.Envelope{Data: data}.Encode()
	s.publish(bus.ReceiptsTopic("edge-f1"), false, payload)
}

func (s *site) pageView() (view struct {
	Status contract.Status
	Cloud  struct {
		Reachable bool
		Err       string
	}
},
) {
	s.t.Helper()
	answer, err := http.Get("http://" + s.page + "/status.json")
	if err != nil {
		return view
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&view); err != nil {
		s.t.Fatal(err)
	}
	return view
}

func (s *site) eventually(what string, is func() bool) {
	s.t.Helper()
	for !is() {
		if s.ctx.Err() != nil {
			s.t.Fatalf("waited for %s", what)
		}
		time.Sleep(10 * time.Millisecond) // polling under a deadline
	}
}

func TestReadingsFlowAndReceiptsReleaseThem(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	s.start()
	s.await("the heartbeat", func(m bus.Message) bool {
		var status contract.Status
		return m.Topic == bus.StatusTopic("edge-f1") && json.Unmarshal(m.Payload, &status) == nil && status.Online && status.ConfigVersion == 1
	})
	devices := map[string]bool{}
	for len(devices) < 3 {
		_, records := s.awaitBatch()
		for _, r := range records {
			id, _, _ := strings.Cut(r.Name, "/")
			devices[id] = true
		}
	}
	s.await("a state", func(m bus.Message) bool { return m.Topic == "state/edge-f1/sp_f1.g0" })
	released := make(chan struct{})
	go func() { // answer everything from now on
		defer close(released)
		for s.ctx.Err() == nil && s.pageView().Status.Outbox.Batches > 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	for {
		select {
		case <-released:
			return
		default:
			s.awaitBatch()
		}
	}
}

func TestAGatewayStartsWithoutTheCloud(t *testing.T) {
	s := newSite(t)
	s.configure(7)
	stop := s.start()
	first, _ := s.awaitBatch()
	stop()
	s.broker.Kill()
	s.start()
	s.eventually("readings without a broker", func() bool {
		v := s.pageView()
		return v.Status.ConfigVersion == 7 && v.Status.Plugs.Reachable == 3 && v.Status.Outbox.Readings > 3 && !v.Cloud.Reachable
	})
	s.broker.Start()
	epoch, _, _ := strings.Cut(first.ID, "-")
	e, _ := s.awaitBatch()
	for strings.HasPrefix(e.ID, epoch) { // the first run may have sent more
		e, _ = s.awaitBatch()
	}
	if e.Batch.Previous == nil || e.Batch.Previous.Epoch.String() != epoch {
		t.Errorf("the second run names %v, the first was %s", e.Batch.Previous, epoch)
	}
}

func TestSwitchingAndWhatIsProtected(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	s.start()
	s.awaitBatch()
	status := s.pageView().Status
	id := func(text string) device.ID {
		parsed, err := device.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	cmd := contract.GatewayCommand{
		ID: "c1", Who: "test", Reason: "why", ConfigVersion: 1,
		Deadline: contract.Deadline{BootID: status.BootID, Monotonic: status.Monotonic + 10},
		Switches: []contract.Switch{{Device: id("sp_f1.g0")}, {Device: id("sp_f1.g1")}},
	}
	data, err := json.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := bus.Envelope{ID: "c1", ResponseTopic: "responses/sp_command/x/edge-f1/c1", Data: data}.Encode()
	s.publish(bus.CommandTopic("edge-f1"), false, payload)
	outcomes := map[string]contract.Outcome{}
	for len(outcomes) < 2 {
		m := s.await("results", func(m bus.Message) bool { return strings.HasPrefix(m.Topic, "responses/sp_command/x/edge-f1/") })
		e, err := bus.Decode(m.Payload)
		var results contract.Results
		if err != nil || e.ID != "c1" || json.Unmarshal(e.Data, &results) != nil {
			t.Fatalf("%s: %v", m.Payload, err)
		}
		for _, r := range results.Results {
			outcomes[r.Device.String()] = r.Outcome
		}
	}
	if outcomes["sp_f1.g0"] != contract.Confirmed || outcomes["sp_f1.g1"] != contract.Refused {
		t.Errorf("outcomes %v", outcomes)
	}
	if s.fleet.Find(id("sp_f1.g0")).On() || !s.fleet.Find(id("sp_f1.g1")).On() {
		t.Error("the relays are not as they should be")
	}
	for found := false; !found; { // its account is among the readings
		_, records := s.awaitBatch()
		for _, r := range records {
			found = found || r.Name == "sp_f1.g0/switched" && strings.Contains(r.Text, `"confirmed"`)
		}
	}
}

func TestAConfigurationWithMistakesChangesNothing(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	s.start()
	s.awaitBatch()
	for _, text := range []string{
		"garbage", `{"version":2,"gateway":"edge-f9"}`, `{"version":0,"gateway":"edge-f1"}`, `{"version":2,"gateway":"edge-f1","poll_seconds":0.1}`,
		`{"version":2,"gateway":"edge-f1","plugs":[{"device":"sp_f1.g0"},{"device":"sp_f1.g0"}]}`,
		`{"version":2,"gateway":"edge-f1","plugs":[{"device":"nope"}]}`,
	} {
		s.publish(bus.ConfigTopic("edge-f1"), false, []byte(text))
	}
	s.publish(bus.CommandTopic("edge-f1"), false, []byte("garbage"))
	s.eventually("all seven are counted", func() bool {
		answer, err := http.Get("http://" + s.page + "/metrics")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(text), "\nwattline_edge_malformed_total 7\n")
	})
	s.configure(3)
	s.eventually("version 3", func() bool { return s.pageView().Status.ConfigVersion == 3 })
	if got := s.pageView().Status.Plugs.Configured; got != 3 {
		t.Errorf("%d plugs", got)
	}
}

func TestConfigNamesEveryMistake(t *testing.T) {
	c := gateway.DefaultConfig()
	c.Data, c.Broker.URL, c.CatchUp, c.Outbox.Limit, c.Status.Listen = "", "127.0.0.1:1883", -1, 1, "0.0.0.0:80"
	err := c.Validate()
	for _, key := range []string{"gateway:", "data:", "broker.url:", "catch_up_readings_per_second:", "outbox.limit_bytes:", "status.listen:"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not named in: %v", key, err)
		}
	}
}

func TestADamagedKeptConfigurationIsNoReasonNotToStart(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	stop := s.start()
	s.awaitBatch()
	stop()
	if err := os.WriteFile(filepath.Join(s.config.Data, "floor.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.awaitBatch()
}

func TestTheSampleIsUnderstood(t *testing.T) {
	c := gateway.DefaultConfig()
	if err := config.Load("../../docs/samples/edge.yaml", &c); err != nil {
		t.Fatal(err)
	}
	want := gateway.DefaultConfig()
	want.Gateway = "edge-f2"
	if c != want {
		t.Errorf("the sample is not the default: %+v", c)
	}
}
