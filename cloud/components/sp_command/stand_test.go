package spcommand_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	spcommand "github.com/wattline/wattline/cloud/components/sp_command"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// stand is a broker, a registry's retained topics, fake gateways, one or more
// sp_command and somebody who asks.
type stand struct {
	t      *testing.T
	broker *bustest.Mosquitto
	asker  *bus.Asker
	store  *store
}

// store is a fake InfluxDB for the audit.
type store struct {
	mu     sync.Mutex // protects the fields below
	fail   error
	text   string
	poison string        // lines with it are refused
	slow   chan struct{} // when set, writes wait for its end
	wrote  chan struct{}
}

func (s *store) Write(ctx context.Context, database string, lines []byte) error {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fail != nil:
		return s.fail
	case s.poison != "" && strings.Contains(string(lines), s.poison):
		return refusal{}
	}
	if database == "wattline" {
		s.text += string(lines)
	}
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return nil
}

type refusal struct{}

func (refusal) Error() string { return "status 400: partial write" }
func (refusal) Refused() bool { return true }

func (s *store) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// await waits until the audit has a line with all the words.
func (s *store) await(t *testing.T, words ...string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		text := s.text
		s.mu.Unlock()
		for line := range strings.Lines(text) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return
			}
		}
		select {
		case <-s.wrote:
		case <-deadline:
			t.Fatalf("no line of the audit has %q:\n%s", words, text)
		}
	}
}

func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

const defaultFloor = 1

// newStand starts everything but gateways. Places: on floor 1 (the default) two
// rows of three workplaces spelled without floor, a meeting room and a
// protected server; on floor 2 two workplaces and a printer.
func newStand(t *testing.T, instances int) *stand {
	t.Helper()
	s := &stand{t: t, broker: bustest.Start(t), store: &store{wrote: make(chan struct{}, 1)}}
	s.asker = bus.NewAsker("test", bus.Options{URL: s.broker.URL, ClientID: "test"}, nil, quiet)
	run(t, s.asker.Run)
	s.retain(bus.SiteTopic, contract.Site{Name: "Test", DefaultFloor: defaultFloor, TimeZone: "UTC"})
	for i, g := range []string{"f1", "f2"} {
		s.retain(bus.GatewaysInfoPrefix+g, contract.GatewayInfo{Gateway: g, Floor: i + 1, ConfigVersion: 7})
	}
	for _, id := range []string{"sp_w.r0.c0", "sp_w.r0.c1", "sp_w.r0.c2", "sp_w.r1.c0", "sp_w.r1.c1", "sp_w.r1.c2", "sp_f1.g0"} {
		s.retain(bus.PlacesPrefix+id, contract.Place{Device: mustParse(t, id), Gateway: "f1"})
	}
	s.retain(bus.PlacesPrefix+"sp_g9", contract.Place{Device: mustParse(t, "sp_g9"), Gateway: "f1", Protected: "a server"})
	for _, id := range []string{"sp_f2.w.r0.c0", "sp_f2.w.r1.c0", "sp_f2.p0"} {
		s.retain(bus.PlacesPrefix+id, contract.Place{Device: mustParse(t, id), Gateway: "f2"})
	}
	for range instances {
		c := spcommand.New(spcommand.DefaultConfig(), spcommand.Options{Store: s.store}, quiet)
		run(t, func(ctx context.Context) error { return c.Run(ctx, bus.Options{URL: s.broker.URL}) })
	}
	s.awaitUp()
	return s
}

// awaitUp waits until somebody listens to commands.
func (s *stand) awaitUp() {
	s.t.Helper()
	for range 100 {
		if _, err := s.try(200*time.Millisecond, "nonsense", `{}`); err == nil {
			return
		}
	}
	s.t.Fatal("sp_command does not come up")
}

func mustParse(t testing.TB, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *stand) retain(topic string, v any) {
	s.t.Helper()
	payload, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(bus.Message{Topic: topic, Payload: payload, Retained: true})
}

func (s *stand) publish(m bus.Message) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if err := s.asker.Link().Publish(ctx, m); err != nil {
		s.t.Fatal(err)
	}
}

// fakeGateway obeys as its answer function says.
type fakeGateway struct {
	name     string
	boot     time.Time
	link     *bus.Link
	commands chan contract.GatewayCommand

	mu     sync.Mutex // protects answer
	answer func(contract.GatewayCommand) []contract.Results
}

// gateway starts a fake gateway that confirms everything until told otherwise,
// and beats. Right before each command it beats again where the test says so.
func (s *stand) gateway(name string) *fakeGateway {
	s.t.Helper()
	g := &fakeGateway{name: name, boot: time.Now().Add(-time.Hour), commands: make(chan contract.GatewayCommand, 10_000)}
	g.answers(confirm)
	beating := make(chan struct{})
	g.link = bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: name + "-00000000000000aa", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, bus.CommandTopic(name), func(m bus.Message) { g.obey(s.t, m) })
	}}, quiet)
	run(s.t, g.link.Run)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(beating)
		for ctx.Err() == nil {
			if err := g.link.Publish(ctx, g.beat(s.t)); err != nil {
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-beating
	})
	return g
}

func (g *fakeGateway) beat(t *testing.T) bus.Message {
	t.Helper()
	status := contract.Status{Gateway: g.name, Online: true, Epoch: 0xaa, BootID: "boot-" + g.name, Monotonic: g.clock(), ConfigVersion: 7}
	payload, err := json.Marshal(status)
	if err != nil {
		t.Error(err)
	}
	return bus.Message{Topic: bus.StatusTopic(g.name), Payload: payload, Retained: true}
}

func (g *fakeGateway) clock() float64 { return time.Since(g.boot).Seconds() }

func (g *fakeGateway) answers(f func(contract.GatewayCommand) []contract.Results) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
}

func (g *fakeGateway) obey(t *testing.T, m bus.Message) {
	e, err := bus.Decode(m.Payload)
	if err != nil {
		t.Error(err)
		return
	}
	var command contract.GatewayCommand
	if err := json.Unmarshal(e.Data, &command); err != nil {
		t.Error(err)
		return
	}
	if level := strings.Split(e.ResponseTopic, "/"); len(level) != 5 || level[0] != "responses" || level[1] != "sp_command" || level[3] != g.name {
		t.Errorf("response topic %s", e.ResponseTopic)
	}
	g.mu.Lock()
	answers := g.answer(command)
	g.mu.Unlock()
	for _, a := range answers {
		data, err := json.Marshal(a)
		if err != nil {
			t.Error(err)
		}
		payload, err := bus.Envelope{ID: e.ID, Data: data}.Encode()
		if err != nil {
			t.Error(err)
		}
		if err := g.link.Send(bus.Message{Topic: e.ResponseTopic, Payload: payload}); err != nil {
			t.Log(err)
		}
	}
	g.commands <- command
}

func confirm(c contract.GatewayCommand) []contract.Results { return all(c, contract.Confirmed, "") }

func all(c contract.GatewayCommand, outcome contract.Outcome, detail string) []contract.Results {
	var r contract.Results
	for _, s := range c.Switches {
		result := contract.Result{Device: s.Device, Outcome: outcome, Detail: detail}
		if outcome == contract.Confirmed {
			result.On = &s.On
		}
		r.Results = append(r.Results, result)
	}
	return []contract.Results{r}
}

// command sends data below command/sp_command/ and gives the answer.
func (s *stand) command(target, data string, subtopics ...string) bus.Envelope {
	s.t.Helper()
	got, err := s.try(30*time.Second, target, data, subtopics...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", target, data, err)
	}
	return got
}

func (s *stand) try(patience time.Duration, target, data string, subtopics ...string) (got bus.Envelope, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	topic := "command/sp_command"
	if target != "" {
		topic += "/" + target
	}
	err = s.asker.Ask(ctx, topic, "", bus.Envelope{Data: json.RawMessage(data), Subtopics: subtopics}, func(e bus.Envelope) (bool, error) {
		got = e
		return false, nil
	})
	return got, err
}

// ask is command with a SwitchRequest; the answer as "<id> <outcome>[: detail]", one a line.
func (s *stand) ask(target, data string) string {
	s.t.Helper()
	e := s.command(target, data)
	if text := e.ErrorText(); text != "" {
		return "error: " + text
	}
	var answer contract.SwitchAnswer
	if err := json.Unmarshal(e.Data, &answer); err != nil {
		s.t.Fatalf("%s: %v", e.Data, err)
	}
	if len(answer.ID) < 16 {
		s.t.Errorf("command id %q", answer.ID)
	}
	var lines []string
	for _, r := range answer.Results {
		text := fmt.Sprintf("%v %s", r.Device, r.Outcome)
		if r.Detail != "" {
			text += ": " + r.Detail
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}
