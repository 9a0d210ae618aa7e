package interop_test

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// heard is what a stranger's agent or component was sent.
type heard struct {
	topic    string
	envelope map[string]json.RawMessage
	respond  string
}

// stranger is an agent or component that knows IoToad's documentation only.
type stranger struct {
	link  *bus.Link
	heard chan heard
}

// stranger listens to a filter and answers what reply gives; "" is silence.
func (s *site) stranger(name, filter string, reply func(h heard) string) *stranger {
	s.t.Helper()
	g := &stranger{heard: make(chan heard, 100)}
	g.link = s.client(name, func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, filter, func(m bus.Message) {
			h := heard{topic: m.Topic}
			if err := json.Unmarshal(m.Payload, &h.envelope); err != nil {
				s.t.Errorf("%s got %s", name, m.Payload)
				return
			}
			_ = json.Unmarshal(h.envelope["response_topic"], &h.respond)
			g.heard <- h
			if text := reply(h); text != "" {
				if err := g.link.Send(bus.Message{Topic: h.respond, Payload: []byte(text)}); err != nil {
					s.t.Error(err)
				}
			}
		})
	})
	return g
}

// testRelaying plays agents and components that the api has never heard of.
func testRelaying(t *testing.T, s *site) {
	rankings := s.stranger("alexa_rankings", "query/alexa_rankings/#", func(h heard) string {
		switch {
		case strings.HasSuffix(h.topic, "echo-dot-12313"):
			return `{"data":{"position":1,"amount":3}}`
		case strings.HasSuffix(h.topic, "array"):
			return `{"data":[{"n":"sum","v":1.2}]}`
		case strings.HasSuffix(h.topic, "broken"):
			return `{"error":"Error getting the ranking: no such id"}`
		}
		return ""
	})
	t.Run("a new component is reachable, its parameters are the data", func(t *testing.T) {
		got := s.rest("/api/out/alexa_rankings/id/echo-dot-12313?ordered=high-to-low")
		if got.status != http.StatusOK {
			t.Errorf("%v", got)
		}
		sameJSON(t, got.body, `{"data":{"position":1,"amount":3}}`)
		h := <-rankings.heard
		if h.topic != "query/alexa_rankings/id/echo-dot-12313" || string(h.envelope["data"]) != `{"ordered":"high-to-low"}` {
			t.Errorf("it was asked %s %s", h.topic, h.envelope)
		}
		if !regexp.MustCompile(`^responses/api/[0-9a-f]+/[0-9A-Za-z/]+$`).MatchString(h.respond) {
			t.Errorf("it was asked to answer on %q", h.respond)
		}
	})
	t.Run("an array in data is the whole body", func(t *testing.T) {
		sameJSON(t, s.rest("/api/out/alexa_rankings/array").body, `[{"n":"sum","v":1.2}]`)
	})
	t.Run("an error of a component is told", func(t *testing.T) {
		got := s.rest("/api/out/alexa_rankings/broken")
		sameJSON(t, got.body, `{"error":"Error getting the ranking: no such id"}`)
		if got.status < 400 {
			t.Errorf("%v", got)
		}
	})
	lamps := s.stranger("lamp_command", "command/lamp_command/#", func(h heard) string {
		if strings.HasSuffix(h.topic, "/kitchen") {
			return `{"data":{"successful":["kitchen"]},"error":{"hall":"timeout"}}`
		}
		return ""
	})
	t.Run("a new agent gets the payload as it is; an error in a reply does not change the status", func(t *testing.T) {
		got := s.do(http.MethodPut, "/api/in/lamp_command/", `{"subtopics":["kitchen"],"payload":{"colour":"#ff0","level":[1,2.50]}}`)
		if got.status != http.StatusOK {
			t.Errorf("%v", got)
		}
		sameJSON(t, got.body, `{"lamp_command/kitchen":{"data":{"successful":["kitchen"]},"error":{"hall":"timeout"}}}`)
		if h := <-lamps.heard; h.topic != "command/lamp_command/kitchen" || string(h.envelope["data"]) != `{"colour":"#ff0","level":[1,2.50]}` {
			t.Errorf("it was sent %s %s", h.topic, h.envelope)
		}
	})
	t.Run("who does not answer within 12 s is null or named, and the status 504", func(t *testing.T) {
		needLong(t, "waits 12 s")
		var half, agent, component answer
		var all sync.WaitGroup
		begin := time.Now()
		all.Go(func() {
			half = s.do(http.MethodPut, "/api/in/lamp_command", `{"subtopics":["kitchen","cellar"],"payload":1}`)
		})
		all.Go(func() { agent = s.do(http.MethodPut, "/api/in/nobody_command/x/", `{"payload":1}`) })
		all.Go(func() { component = s.rest("/api/out/sp_ranking/today/sp_w.r1.c1") })
		all.Wait()
		if took := time.Since(begin); took < 11*time.Second || took > 15*time.Second {
			t.Errorf("it took %v", took)
		}
		sameJSON(t, half.body, `{"lamp_command/kitchen":{"data":{"successful":["kitchen"]},"error":{"hall":"timeout"}},"lamp_command/cellar":null}`)
		sameJSON(t, agent.body, `{"nobody_command/x":null}`)
		if !strings.Contains(component.body, "sp_ranking") {
			t.Errorf("%v does not name the component", component)
		}
		for _, a := range []answer{half, agent, component} {
			if a.status != http.StatusGatewayTimeout {
				t.Errorf("%v", a)
			}
		}
	})
}
