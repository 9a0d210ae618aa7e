package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

func TestRequestsOverTheBus(t *testing.T) {
	s := newSite(t, small)
	s.until("published", published)
	for _, c := range []struct {
		family, resource, verb string
		kind                   contract.ProblemKind
	}{
		{"query", "places", "delete", contract.Invalid},
		{"command", "places", "list", contract.Invalid},
		{"query", "chairs", "list", contract.NotFound},
		{"query", "places", "get", contract.Invalid},
		{"command", "places", "", contract.Invalid},
	} {
		if a := s.ask(c.family, c.resource, contract.RegistryRequest{Verb: c.verb}); a.Problem == nil || a.Problem.Kind != c.kind {
			t.Errorf("%+v: %+v", c, a)
		}
	}
	if a := s.ask("query", "places", contract.RegistryRequest{Verb: "list"}); a.Problem != nil || strings.Count(string(a.Content), `"device"`) != 2 {
		t.Errorf("list: %+v", a)
	}
	s.do("tokens", contract.RegistryRequest{Verb: "create", Content: raw(`{"name":"ana","role":"admin"}`)})
	s.until("a room's own topics", func(m map[string]string) bool {
		for topic := range m {
			if strings.HasPrefix(topic, "registry/tokens/") {
				return true
			}
		}
		return false
	})
}

// A request that is published before anybody subscribes is lost, and its asker
// waits for nothing.
func TestWhoHasHeardTheSiteHasHeardThePlacesAndIsAnswered(t *testing.T) {
	var many strings.Builder
	many.WriteString("site: {default_floor: 1}\ngateways:\n  - {id: f1, floor: 1}\nseries:\n  - {first: sp_f1.w.r0.c0, rows: 10, columns: 20, first_address: 10.0.0.1}\n")
	s := prepare(t, many.String())
	heard, places := make(chan struct{}, 1), 0
	up := make(chan struct{}, 1)
	options := bus.Options{URL: s.broker.URL, ClientID: "early", Up: func(ctx context.Context, session *bus.Session) error {
		up <- struct{}{}
		return session.Subscribe(ctx, bus.RegistryFilter, func(m bus.Message) {
			switch {
			case strings.HasPrefix(m.Topic, bus.PlacesPrefix):
				places++
			case m.Topic == bus.SiteTopic:
				select {
				case heard <- struct{}{}:
				default: // told again
				}
			}
		})
	}}
	ctx, cancel := context.WithCancel(t.Context())
	asker := bus.NewAsker("early", options, nil, quiet)
	done := make(chan error, 1)
	go func() { done <- asker.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-up
	if err := asker.Link().AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	s.start()
	<-heard
	if places != 200 {
		t.Errorf("%d places were told before the site, want 200", places)
	}
	for _, family := range []string{"query", "command"} {
		once, end := context.WithTimeout(ctx, 5*time.Second)
		if _, err := asker.Once(once, family+"/registry/site", json.RawMessage(`{"verb":"get"}`), nil); err != nil {
			t.Errorf("the first %s: %v", family, err)
		}
		end()
	}
}

func TestAPlugThatMovedIsFollowedIntoTheConfiguration(t *testing.T) {
	s := newSite(t, small)
	s.until("published", published)
	found, err := json.Marshal(contract.Found{Gateway: "f1", Plugs: []contract.FoundPlug{plugA(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	s.put("gateways/f2/found", "[garbage")
	s.put("gateways/f1/found", string(found))
	topics := s.until("a new version", func(m map[string]string) bool { return version(t, m, "f1") == 2 })
	if want := `"address":"10.0.0.9","device_id":"` + idA + `","mac":"` + macA; !strings.Contains(topics["gateways/f1/config"], want) ||
		!strings.Contains(topics["registry/places/sp_w.r0.c0"], `"address":"10.0.0.9"`) || topics["gateways/f1/found"] != string(found) {
		t.Errorf("the bus has %v", topics)
	}
	if got := version(t, topics, "f2"); got != 1 {
		t.Errorf("f2 has version %d", got)
	}
	a := s.ask("query", "plugs", contract.RegistryRequest{Verb: "list"})
	if a.Problem != nil || !strings.Contains(string(a.Content), `"device":"sp_w.r0.c0"`) {
		t.Errorf("plugs: %s %+v", a.Content, a.Problem)
	}
}

func TestAChangeReachesAHundredGateways(t *testing.T) {
	text := func(poll string) string {
		var b strings.Builder
		b.WriteString("site: {default_floor: 1}\ngateways:\n")
		for f := range 100 {
			fmt.Fprintf(&b, "  - {id: f%d, floor: %d, poll: %s}\n", f, f, poll)
		}
		b.WriteString("series:\n")
		for f := range 100 {
			fmt.Fprintf(&b, "  - {first: sp_f%d.w.r0.c0, rows: 2, columns: 5, first_address: 10.%d.0.1}\n", f, f)
		}
		return b.String()
	}
	s := newSite(t, text("10s"))
	all := func(want uint64) func(map[string]string) bool {
		return func(m map[string]string) bool {
			for f := range 100 {
				if version(t, m, fmt.Sprintf("f%d", f)) != want {
					return false
				}
			}
			return true
		}
	}
	s.until("all have their configuration", all(1))
	begin := time.Now()
	s.do("inventory", contract.RegistryRequest{Verb: "import", Content: raw(`{"format":"yaml","text":%q}`, text("5s"))})
	answered := time.Since(begin)
	s.until("all have the new one", all(2))
	t.Logf("answered after %v, at 100 gateways after %v", answered, time.Since(begin))
}

func TestWhatStrangersInventIsBounded(t *testing.T) {
	topic := func(n int) string { return fmt.Sprintf("registry/places/%d", n) }
	if got := registry.Heard(300_000, topic); got != 200_000 {
		t.Errorf("%d topics are remembered", got)
	}
}
