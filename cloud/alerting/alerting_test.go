package alerting_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// site is a broker, the role, and somebody who hears and asks.
type site struct {
	t       *testing.T
	data    string
	config  alerting.Config
	log     *slog.Logger
	options bus.Options
	asker   *bus.Asker
	stop    func()

	mu    sync.Mutex // protects kept
	kept  map[string]string
	heard chan struct{}
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := newTown(t)
	s.start()
	return s
}

// newTown is a site without the role.
func newTown(t *testing.T) *site {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	b, err := broker.Start(t.Context(), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := &site{t: t, data: t.TempDir(), config: alerting.DefaultConfig(), log: quiet, options: bus.Options{URL: b.URL()}, kept: make(map[string]string), heard: make(chan struct{}, 1)}
	s.asker = bus.NewAsker("test", s.named("test"), nil, quiet)
	s.runs(s.asker.Run)
	s.runs(func(ctx context.Context) error {
		return bus.NewLink(bus.Options{URL: b.URL(), ClientID: "hears", Up: func(ctx context.Context, session *bus.Session) error {
			return session.Subscribe(ctx, "alerts/#", s.hear)
		}}, quiet).Run(ctx)
	})
	s.put("registry/site", `{"name":"Main Street","default_floor":1,"time_zone":"Europe/Berlin"}`)
	s.put("registry/gateways/edge-f1", `{"gateway":"edge-f1","floor":1,"config_version":1}`)
	s.put("registry/places/sp_f1.g0", `{"device":"sp_f1.g0","gateway":"edge-f1","label":"Lab","driver":"hs110","address":"127.0.0.1","max_power_w":1000}`)
	return s
}

func (s *site) named(id string) bus.Options {
	o := s.options
	o.ClientID = id
	return o
}

// runs runs something until the test ends, and gives how to end it sooner.
func (s *site) runs(run func(context.Context) error) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *site) start() {
	s.t.Helper()
	a, err := alerting.New(s.config, s.data, s.options, metrics.New(), s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.stop = s.runs(a.Run)
	// It answers once it hears.
	s.ask("query", "rules", contract.RegistryRequest{Verb: "list"})
}

func (s *site) hear(m bus.Message) {
	s.mu.Lock()
	s.kept[m.Topic] = string(m.Payload)
	s.mu.Unlock()
	select {
	case s.heard <- struct{}{}:
	default:
	}
}

// until waits for a topic to be so; is may do something for it, and is asked again
// when nothing comes of that.
func (s *site) until(topic string, is func(string) bool) string {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		text, ok := s.kept[topic]
		s.mu.Unlock()
		if ok && is(text) {
			return text
		}
		select {
		case <-s.heard:
		case <-time.After(200 * time.Millisecond):
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s is not so; heard %v", topic, s.kept)
		}
	}
}

func (s *site) put(topic, payload string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if err := s.asker.Link().Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload), Retained: !strings.HasPrefix(topic, "data/")}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) ask(family, resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	s.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		e, err := s.asker.Once(ctx, family+"/alerting/"+resource, text, nil)
		cancel()
		if err != nil && time.Now().Before(deadline) {
			continue // it does not listen yet
		}
		if err != nil {
			s.t.Fatal(err)
		}
		var a contract.RegistryAnswer
		if err := json.Unmarshal(e.Data, &a); err != nil {
			s.t.Fatalf("%s: %v", e.Data, err)
		}
		return a
	}
}

func (s *site) do(resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	s.t.Helper()
	a := s.ask("command", resource, r)
	if a.Problem != nil {
		s.t.Fatalf("%s %s: %v", r.Verb, resource, a.Problem)
	}
	return a
}

// measure has a place draw so many watts now.
func (s *site) measure(watts float64) {
	s.t.Helper()
	s.put("data/edge-f1/influx_data/sp", fmt.Sprintf(`{"id":"x","data":[{"n":"sp_f1.g0/power","u":"W","t":%f,"v":%g}]}`, float64(time.Now().UnixMicro())/1e6, watts))
}

const overPower = `{"text":"rules: [{name: over-power, severity: critical, signal: power, when: {above_max_power: 1}, summary: \"{label} draws {value}\"}]"}`

const topic = "alerts/over-power/sp_f1.g0"

func fires(text string) bool { return strings.Contains(text, `"state":"firing"`) }
func gone(text string) bool  { return text == "" }

func TestAReadingBecomesAnAlertAndIsOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if a := s.ask("query", "rules", contract.RegistryRequest{Verb: "list"}); a.Revision != 1 || !strings.Contains(string(a.Content), "gateway-offline") {
		t.Errorf("the first rules: %d, %.200s", a.Revision, a.Content)
	}
	if a := s.do("rules", contract.RegistryRequest{Verb: "import", Content: json.RawMessage(overPower), Revision: 1}); a.Revision != 2 || !strings.Contains(string(a.Content), `"changed":["over-power"]`) {
		t.Errorf("imported: %d, %s", a.Revision, a.Content)
	}
	s.measure(1200)
	text := s.until(topic, fires)
	var alert contract.Alert
	if err := json.Unmarshal([]byte(text), &alert); err != nil {
		t.Fatal(err)
	}
	if alert.Summary != "Lab (sp_f1.g0) draws 1200 W" || alert.Gateway != "edge-f1" || *alert.Floor != 1 {
		t.Errorf("%+v", alert)
	}
	if a := s.ask("query", "alerts", contract.RegistryRequest{Verb: "list", Filter: map[string]string{"floor": "1", "severity": "critical"}}); !strings.Contains(string(a.Content), alert.ID) {
		t.Errorf("listed: %s", a.Content)
	}
	s.do("alerts", contract.RegistryRequest{Verb: "acknowledge", Key: alert.ID, Who: "ada", Reason: "a test"})
	s.until(topic, func(text string) bool {
		return strings.Contains(text, `"state":"acknowledged"`) && strings.Contains(text, `"who":"ada"`)
	})
	s.stop()
	s.start() // and it still knows
	s.measure(10)
	s.until(topic, gone)
	if a := s.ask("query", "alerts", contract.RegistryRequest{Verb: "list"}); string(a.Content) != "[]" {
		t.Errorf("fires still: %s", a.Content)
	}
	a := s.ask("query", "alerts", contract.RegistryRequest{Verb: "get", Key: alert.ID})
	if !strings.Contains(string(a.Content), `"state":"resolved"`) || !strings.Contains(string(a.Content), `"ended":`) {
		t.Errorf("history: %s", a.Content)
	}
	if a := s.ask("query", "audit", contract.RegistryRequest{Verb: "list"}); !strings.Contains(string(a.Content), `"what":"acknowledge alert"`) || !strings.Contains(string(a.Content), `"what":"import rules"`) {
		t.Errorf("audit: %s", a.Content)
	}
}

// What the broker has kept of an alert that nobody knows any more is cleared.
func TestAlertsOfNobodyAreCleared(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("alerts/gone/sp_f9.g0", `{"id":"gone/sp_f9.g0/1","state":"firing"}`)
	s.until("alerts/gone/sp_f9.g0", gone)
}

func TestRequestsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		family, resource string
		r                contract.RegistryRequest
		kind             contract.ProblemKind
		says             string
	}{
		{"query", "chairs", contract.RegistryRequest{Verb: "list"}, contract.NotFound, "alerts, audit, maintenance, receivers, rules, statistics"},
		{"query", "alerts", contract.RegistryRequest{Verb: "acknowledge"}, contract.Invalid, "no query"},
		{"command", "alerts", contract.RegistryRequest{Verb: "list"}, contract.Invalid, "no command"},
		{"query", "alerts", contract.RegistryRequest{Verb: "list", Filter: map[string]string{"floor": "x", "state": "odd", "from": "once", "who": "a"}}, contract.Invalid, "floor"},
		{"query", "alerts", contract.RegistryRequest{Verb: "list", Cursor: "!"}, contract.Invalid, "cursor"},
		{"query", "alerts", contract.RegistryRequest{Verb: "get", Key: "a/b/1"}, contract.NotFound, "a/b/1"},
		{"command", "alerts", contract.RegistryRequest{Verb: "acknowledge", Key: "a/b/1"}, contract.NotFound, "no such alert fires"},
		{"command", "alerts", contract.RegistryRequest{Verb: "acknowledge"}, contract.Invalid, "by its id"},
		{"command", "alerts", contract.RegistryRequest{Verb: "snooze", Key: "x", Content: json.RawMessage(`{"until":5}`)}, contract.Invalid, "over"},
		{"command", "rules", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name":"Bad","nme":1}`)}, contract.Invalid, "nme"},
		{"command", "rules", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name":"gateway-offline"}`)}, contract.Conflict, "already"},
		{"command", "rules", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name":"x"}`)}, contract.Invalid, "4 mistakes; the first is severity:"},
		{"command", "rules", contract.RegistryRequest{Verb: "change", Key: "standby", Content: json.RawMessage(`{"name":"other"}`)}, contract.Invalid, "never renamed"},
		{"command", "rules", contract.RegistryRequest{Verb: "delete", Key: "gateway-offline"}, contract.Invalid, `no rule "gateway-offline"`}, // it covers others
		{"command", "rules", contract.RegistryRequest{Verb: "delete", Key: "standby", Revision: 7}, contract.Changed, "revision 1"},
		{"command", "rules", contract.RegistryRequest{Verb: "import", Content: json.RawMessage(`{"text":"rules: [{name: x}]"}`)}, contract.Invalid, "severity"},
		{"command", "maintenance", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"from":1,"to":2,"reason":"x"}`)}, contract.Invalid, "over"},
		{"command", "maintenance", contract.RegistryRequest{Verb: "delete", Key: "x"}, contract.NotFound, "maintenance"},
		{"command", "receivers", contract.RegistryRequest{Verb: "test", Key: "nobody"}, contract.NotFound, "no such receiver"},
	} {
		a := s.ask(c.family, c.resource, c.r)
		if a.Problem == nil || a.Problem.Kind != c.kind || !strings.Contains(a.Problem.Detail+fmt.Sprint(a.Problem.Mistakes), c.says) {
			t.Errorf("%s/%s %+v: %+v", c.family, c.resource, c.r, a.Problem)
		}
	}
}

func TestAWindowHushesWhatBeginsInIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("rules", contract.RegistryRequest{Verb: "import", Content: json.RawMessage(overPower)})
	now := time.Now()
	window := fmt.Sprintf(`{"select":{"floors":[1]},"from":%d,"to":%d,"reason":"new sockets"}`, now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix())
	made := s.do("maintenance", contract.RegistryRequest{Verb: "create", Content: json.RawMessage(window), Who: "ada"})
	var m struct{ ID string }
	if err := json.Unmarshal(made.Content, &m); err != nil || m.ID == "" {
		t.Fatalf("%s, %v", made.Content, err)
	}
	s.stop()
	s.start()
	s.measure(2000)
	if text := s.until(topic, fires); !strings.Contains(text, "maintenance: new sockets") {
		t.Errorf("not hushed: %s", text)
	}
	s.do("maintenance", contract.RegistryRequest{Verb: "delete", Key: m.ID})
	if a := s.ask("query", "maintenance", contract.RegistryRequest{Verb: "list"}); string(a.Content) != "[]" {
		t.Errorf("left: %s", a.Content)
	}
}
