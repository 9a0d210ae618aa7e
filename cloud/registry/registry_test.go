package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const small = `
site: {name: Test, default_floor: 1, time_zone: Europe/Madrid}
gateways:
  - {id: f1, floor: 1}
  - {id: f2, floor: 2, label: Second, poll: 1s, stagger: 0s, database: other}
places:
  - {device: sp_w.r0.c0, address: 127.0.0.1, protected: a server, mac: ac-84-c6-59-d9-a1}
  - {device: sp_f2.g1, address: "[::1]:9999", max_power: 100, poll: 2s}
`

// site is a registry that runs against a broker, and what the bus retains.
type site struct {
	t         *testing.T
	broker    *bustest.Mosquitto
	dir       string
	inventory string
	*registry.Registry
	stop func()
}

func newSite(t *testing.T, inventory string) *site {
	t.Helper()
	s := prepare(t, inventory)
	s.start()
	return s
}

// prepare is newSite without the start.
func prepare(t *testing.T, inventory string) *site {
	t.Helper()
	s := &site{t: t, broker: bustest.Start(t), dir: t.TempDir(), stop: func() {}}
	s.inventory = filepath.Join(s.dir, "inventory.yaml")
	s.write(inventory)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *site) write(inventory string) {
	s.t.Helper()
	if err := os.WriteFile(s.inventory, []byte(inventory), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() {
	s.t.Helper()
	r, err := registry.New(registry.Config{Inventory: s.inventory}, filepath.Join(s.dir, "data"), bus.Options{URL: s.broker.URL}, metrics.New(), quiet)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Registry = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
}

// ask asks the registry over the bus, as the api does.
func (s *site) ask(family, resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	up := make(chan struct{}, 1)
	name := "asker-" + bus.NewID()
	asker := bus.NewAsker(name, bus.Options{URL: s.broker.URL, ClientID: name, Up: func(context.Context, *bus.Session) error { up <- struct{}{}; return nil }}, nil, quiet)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = asker.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	<-up
	data, err := json.Marshal(r)
	if err != nil {
		s.t.Fatal(err)
	}
	for { // the component may not have subscribed yet
		once, end := context.WithTimeout(ctx, 2*time.Second)
		envelope, err := asker.Once(once, family+"/registry/"+resource, data, nil)
		end()
		if err != nil && ctx.Err() == nil {
			continue
		}
		var answer contract.RegistryAnswer
		if err == nil {
			err = json.Unmarshal(envelope.Data, &answer)
		}
		if err != nil || envelope.ErrorText() != "" {
			s.t.Fatalf("%s %s: %v %s", r.Verb, resource, err, envelope.ErrorText())
		}
		return answer
	}
}

// do is a command that must be carried out.
func (s *site) do(resource string, r contract.RegistryRequest) {
	s.t.Helper()
	r.Who = "ana"
	if answer := s.ask("command", resource, r); answer.Problem != nil {
		s.t.Fatalf("%s %s: %+v", r.Verb, resource, answer.Problem)
	}
}

func raw(format string, args ...any) json.RawMessage { return fmt.Appendf(nil, format, args...) }

// retained is what a newcomer hears: it connects, and reads until a message of
// its own comes back.
func (s *site) retained() map[string]string {
	s.t.Helper()
	topics := make(map[string]string)
	var mu sync.Mutex // a message may still be handed over when the connection has ended
	s.speak(func(ctx context.Context, session *bus.Session) error {
		end := make(chan struct{})
		hear := func(m bus.Message) {
			mu.Lock()
			defer mu.Unlock()
			topics[m.Topic] = string(m.Payload)
		}
		for _, filter := range []string{"registry/#", "gateways/#", "state/#"} {
			if err := session.Subscribe(ctx, filter, hear); err != nil {
				return err
			}
		}
		if err := session.Subscribe(ctx, "end", func(bus.Message) { close(end) }); err != nil {
			return err
		}
		if err := session.Publish(ctx, bus.Message{Topic: "end"}); err != nil {
			return err
		}
		<-end
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(topics)
}

// speak runs f on a connection of its own.
func (s *site) speak(f func(ctx context.Context, session *bus.Session) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	result := make(chan error, 1)
	l := bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "newcomer", Up: func(ctx context.Context, session *bus.Session) error {
		result <- f(ctx, session)
		return nil
	}}, quiet)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx)
	}()
	if err := <-result; err != nil {
		s.t.Fatal(err)
	}
	cancel()
	<-done
}

func (s *site) put(topic, payload string) {
	s.t.Helper()
	s.speak(func(ctx context.Context, session *bus.Session) error {
		return session.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload), Retained: true})
	})
}

// until waits until the retained topics satisfy the condition.
func (s *site) until(what string, holds func(map[string]string) bool) map[string]string {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		topics := s.retained()
		if holds(topics) {
			return topics
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: never; the bus has %v", what, topics)
		}
		time.Sleep(20 * time.Millisecond) // polling under a deadline
	}
}

func version(t *testing.T, topics map[string]string, gateway string) uint64 {
	t.Helper()
	var config contract.GatewayConfig
	if err := json.Unmarshal([]byte(topics["gateways/"+gateway+"/config"]), &config); err != nil {
		return 0
	}
	var info contract.GatewayInfo
	if err := json.Unmarshal([]byte(topics["registry/gateways/"+gateway]), &info); err != nil || info.ConfigVersion != config.Version {
		return 0 // between the two
	}
	return config.Version
}

func has(topics ...string) func(map[string]string) bool {
	return func(m map[string]string) bool {
		for _, topic := range topics {
			if m[topic] == "" {
				return false
			}
		}
		return true
	}
}

var published = has("registry/site", "registry/gateways/f1", "registry/gateways/f2", "registry/places/sp_w.r0.c0",
	"registry/places/sp_f2.g1", "gateways/f1/config", "gateways/f2/config")

func TestRegistryPublishesTheInventory(t *testing.T) {
	s := newSite(t, small)
	topics := s.until("published", published)
	want := map[string]string{
		"registry/site":              `{"name":"Test","default_floor":1,"time_zone":"Europe/Madrid","rows":1,"columns":1,"revision":1}`,
		"registry/gateways/f1":       `{"gateway":"f1","floor":1,"config_version":1,"stagger_ms":250,"revision":1}`,
		"registry/gateways/f2":       `{"gateway":"f2","label":"Second","floor":2,"config_version":1,"revision":1}`,
		"registry/places/sp_w.r0.c0": `{"device":"sp_w.r0.c0","gateway":"f1","protected":"a server","driver":"hs110","address":"127.0.0.1","mac":"AC:84:C6:59:D9:A1","revision":1}`,
		"registry/places/sp_f2.g1":   `{"device":"sp_f2.g1","gateway":"f2","max_power_w":100,"driver":"hs110","address":"[::1]:9999","poll_seconds":2,"revision":1}`,
		"gateways/f1/config": `{"version":1,"gateway":"f1","floor":1,"database":"sp","poll_seconds":10,"stagger_ms":250,"plugs":[` +
			`{"device":"sp_w.r0.c0","driver":"hs110","address":"127.0.0.1","mac":"AC:84:C6:59:D9:A1","protected":"a server"}],"discovery":{"broadcast":true}}`,
		"gateways/f2/config": `{"version":1,"gateway":"f2","floor":2,"database":"other","poll_seconds":1,"stagger_ms":0,"plugs":[` +
			`{"device":"sp_f2.g1","driver":"hs110","address":"[::1]:9999","max_power_w":100,"poll_seconds":2}],"discovery":{"broadcast":true}}`,
	}
	for topic, payload := range want {
		if topics[topic] != payload {
			t.Errorf("%s\n got %s\nwant %s", topic, topics[topic], payload)
		}
	}
	if len(topics) != len(want) {
		t.Errorf("also %v", slices.Collect(maps.Keys(topics)))
	}
}

func TestVersionGrowsOnlyWithTheContentAndSurvives(t *testing.T) {
	s := newSite(t, small)
	s.until("published", published)
	s.do("places", contract.RegistryRequest{Verb: "change", Key: "sp_f2.g1", Content: raw(`{"max_power_w":200}`)})
	topics := s.until("f2 changed", func(m map[string]string) bool { return version(t, m, "f2") == 2 })
	if got := version(t, topics, "f1"); got != 1 {
		t.Errorf("f1, which has not changed, has version %d", got)
	}
	s.stop()
	s.broker.Kill()
	s.broker.Start() // has forgotten everything
	s.start()
	if topics := s.until("published", published); version(t, topics, "f1") != 1 || version(t, topics, "f2") != 2 {
		t.Errorf("after a restart: %v", topics)
	}
}

func TestLostVersionsGoOnAboveWhatTheBusHas(t *testing.T) {
	s := newSite(t, small)
	s.until("published", published)
	s.stop()
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
	s.put("gateways/f1/config", `{"version":41,"gateway":"f1","floor":1,"plugs":[]}`)
	s.start()
	topics := s.until("f1 above 41", func(m map[string]string) bool { return version(t, m, "f1") == 42 })
	if got := version(t, topics, "f2"); got != 1 {
		t.Errorf("f2, unchanged, has version %d", got)
	}
	s.put("gateways/f2/status", `{"gateway":"f2","online":true,"epoch":"0000000000000001","previous":null,"config_version":7}`)
	s.until("f2 above what it runs", func(m map[string]string) bool { return version(t, m, "f2") == 8 })
	s.put("gateways/f2/status", `{"gateway":"f2","online":true,"epoch":"0000000000000001","previous":null,"config_version":18446744073709551615}`)
	s.put("gateways/f2/status", `{"gateway":"f2","online":true,"epoch":"0000000000000001","previous":null,"config_version":10}`)
	s.until("f2 above an honest version", func(m map[string]string) bool { return version(t, m, "f2") == 11 })
}

func TestVersionsOfBeforeAreTakenOver(t *testing.T) {
	s := prepare(t, small)
	file := filepath.Join(s.dir, "data", "config-versions.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`{"f1":{"version":17,"hash":"of another content"},"f9":{"version":3}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.until("above what was given", func(m map[string]string) bool { return version(t, m, "f1") == 18 && version(t, m, "f2") == 1 })
	s.stop()
	for _, text := range []string{"", "null", "{\"f1\":", "[]", "\x00\x00"} { // a later start need not read it
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.start()
		if got := version(t, s.until("published", published), "f1"); got != 18 {
			t.Errorf("%q: version %d", text, got)
		}
		s.stop()
	}
}

func TestWhatIsNoMoreIsCleared(t *testing.T) {
	s := newSite(t, small)
	s.until("published", published)
	s.put("state/f2/sp_f2.g1", "[]")
	s.put("state/f1/sp_w.r0.c0", "[]")
	s.put("registry/places/sp_f9.g9", `{"device":"sp_f9.g9","gateway":"f9"}`)
	s.put("registry/places/nonsense", "{")
	s.put("gateways/f9/config", "{}")
	s.put("registry/site", "{}")
	s.until("a stranger's topics are gone", func(m map[string]string) bool {
		return published(m) && m["registry/places/sp_f9.g9"] == "" && m["registry/places/nonsense"] == "" && m["gateways/f9/config"] == "" && m["registry/site"] != "{}"
	})
	s.do("inventory", contract.RegistryRequest{Verb: "import", Content: raw(`{"format":"yaml","remove":true,"text":%q}`, `
site: {name: Test, default_floor: 1}
gateways: [{id: f1, floor: 1}, {id: f3, floor: 1}]
places: [{device: sp_w.r0.c0, gateway: f3, address: 127.0.0.1}]
`)})
	s.until("f2 is gone, the place moved", func(m map[string]string) bool {
		return m["gateways/f2/config"] == "" && m["registry/gateways/f2"] == "" && m["registry/places/sp_f2.g1"] == "" &&
			m["state/f2/sp_f2.g1"] == "" && m["state/f1/sp_w.r0.c0"] == "" && has("gateways/f3/config")(m)
	})
}

func TestTheFirstInventoryIsReadOnce(t *testing.T) {
	s := newSite(t, small)
	before := s.until("published", published)
	s.stop()
	for _, text := range []string{strings.Replace(small, "name: Test", "name: Other", 1), "site: ["} {
		s.write(text)
		s.start()
		if after := s.until("published", published); !maps.Equal(before, after) {
			t.Errorf("%q\n got %v\nwant %v", text, after, before)
		}
		s.stop()
	}
	if err := os.Remove(s.inventory); err != nil {
		t.Fatal(err)
	}
	s.start()
	if after := s.until("published", published); !maps.Equal(before, after) {
		t.Errorf("without the file: %v", after)
	}
}

func TestThousandsOfPlaces(t *testing.T) {
	var b strings.Builder
	b.WriteString("site: {default_floor: 1}\ngateways:\n")
	for f := range 40 {
		fmt.Fprintf(&b, "  - {id: f%d, floor: %d}\n", f, f)
	}
	b.WriteString("series:\n")
	for f := range 40 {
		fmt.Fprintf(&b, "  - {first: sp_f%d.w.r0.c0, rows: 25, columns: 10, first_address: 10.%d.0.1}\n", f, f)
	}
	begin := time.Now()
	s := newSite(t, b.String())
	s.until("10,000 places", func(m map[string]string) bool { return len(m) == 10_000+81 })
	t.Logf("10,000 places published after %v", time.Since(begin))
}
