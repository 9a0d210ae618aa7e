package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
)

// rude puts somebody on the bus who answers questions as no component should:
// what manners gives for a question is published as it is.
func (s *site) rude(name string, manners func(m bus.Message, e bus.Envelope) []bus.Message) {
	s.t.Helper()
	link := bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "rude-" + name, Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "query/"+name+"/#", func(m bus.Message) {
			e, err := bus.Decode(m.Payload)
			if err != nil {
				s.t.Error(err)
				return
			}
			for _, answer := range manners(m, e) {
				if err := s.link.Send(answer); err != nil {
					s.t.Error(err)
				}
			}
		})
	}}, quiet)
	background(s.t, link.Run)
	if err := link.AwaitUp(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// said is an answer to a question, with ID and HERE replaced by its id and by a
// topic for parts.
func said(e bus.Envelope, payload string) bus.Message {
	here := "responses/rude/1/parts/" + e.ID
	return bus.Message{Topic: e.ResponseTopic, Payload: []byte(strings.NewReplacer("ID", e.ID, "HERE", here).Replace(payload))}
}

// always gives these answers to every question.
func always(payloads ...string) func(bus.Message, bus.Envelope) []bus.Message {
	return func(_ bus.Message, e bus.Envelope) (all []bus.Message) {
		for _, p := range payloads {
			all = append(all, said(e, p))
		}
		return all
	}
}

// idle waits until no question is under way.
func (s *site) idle() {
	s.t.Helper()
	await(s.t, "no question is under way", func() bool {
		return strings.Contains(string(s.get("/metrics").body), "wattline_api_questions_waiting 0\n")
	})
}

func TestComponentsThatMisbehave(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 700 * time.Millisecond })
	long := `"` + strings.Repeat("x", 5<<20) + `"`
	for name, c := range map[string]struct {
		manners func(bus.Message, bus.Envelope) []bus.Message
		status  int
		says    string
	}{
		"silent":             {always(), http.StatusGatewayTimeout, "look whether it runs"},
		"not-json":           {always("hello"), http.StatusBadGateway, ""},
		"nothing":            {always(""), http.StatusBadGateway, ""},
		"no-envelope":        {always(`[1,2]`), http.StatusBadGateway, ""},
		"wrong-types":        {always(`{"id":"ID","part":"one","data":[]}`), http.StatusBadGateway, ""},
		"broken-zstd":        {always("\x28\xb5\x2f\xfdgarbage"), http.StatusBadGateway, ""},
		"five-mebibytes":     {always(`{"id":"ID","data":` + long + `}`), http.StatusBadGateway, ""},
		"wrong-id":           {always(`{"id":"another","data":[1]}`), http.StatusGatewayTimeout, "did not answer within"},
		"wrong-id-then-ours": {always(`{"id":"another","data":[1]}`, `{"id":"ID","data":[2]}`), http.StatusOK, "[2]"},
		"second-part-first":  {always(`{"id":"ID","part":1,"response_topic":"HERE","data":[1]}`), http.StatusBadGateway, "part 1 came where part 0 should"},
		"negative-part":      {always(`{"id":"ID","part":-1,"response_topic":"HERE","data":[1]}`), http.StatusGatewayTimeout, ""},
		"part-no-array":      {always(`{"id":"ID","part":0,"last":true,"data":{"a":1}}`), http.StatusBadGateway, "array"},
		"twice":              {always(`{"id":"ID","data":[1]}`, `{"id":"ID","data":[2]}`), http.StatusOK, "[1]"},
	} {
		s.rude(name, c.manners)
		t.Run(name, func(t *testing.T) {
			for range 2 { // what came before does no harm to the next
				r := s.get("/api/out/" + name)
				if r.status != c.status || !strings.Contains(string(r.body), c.says) {
					t.Errorf("%d %.300s, want %d and %q", r.status, r.body, c.status, c.says)
				}
				if c.status == http.StatusGatewayTimeout {
					var p struct{ Component, Request, Detail string }
					if r.json(&p); p.Component != name || len(p.Request) != 32 || !strings.Contains(p.Detail, "request "+p.Request) {
						t.Errorf("%s", r.body)
					}
				}
			}
		})
	}
	s.idle()
}

// A late answer is nobody's; the next question gets its own.
func TestALateAnswerIsNotTakenForTheNext(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 500 * time.Millisecond })
	var mu sync.Mutex
	var before []bus.Message
	s.rude("late", func(m bus.Message, e bus.Envelope) []bus.Message {
		mu.Lock()
		defer mu.Unlock()
		answers := before
		before = []bus.Message{said(e, `{"id":"ID","data":["late"]}`)}
		if m.Topic == "query/late/now" {
			answers = append(answers, said(e, `{"id":"ID","data":["in time"]}`))
		}
		return answers
	})
	for range 3 {
		s.get("/api/out/late/slowly").problem(http.StatusGatewayTimeout, "late")
		s.get("/api/out/late/now").is(http.StatusOK, `["in time"]`)
	}
	s.idle()
	if strings.Contains(string(s.get("/metrics").body), "wattline_api_strays_total 0\n") {
		t.Error("late answers are not counted")
	}
}

// A component says where it wants to be asked for more. The api may publish what
// the component may not, and is not led to do so.
func TestAComponentLeadsTheApiNowhere(t *testing.T) {
	s := start(t)
	led := make(chan bus.Message, 10)
	spy := bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "spy", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "#", func(m bus.Message) {
			if !strings.HasPrefix(m.Topic, "query/") && !strings.HasPrefix(m.Topic, "responses/") {
				led <- m
			}
		})
	}}, quiet)
	background(t, spy.Run)
	if err := spy.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, topic := range []string{"registry/site", "command/sp_command/sp_g3", "gateways/edge-f1/command", "", "responses/#", "responsesx/a"} {
		name := fmt.Sprint("leader", i)
		s.rude(name, always(`{"id":"ID","part":0,"response_topic":"`+topic+`","data":[1]}`))
		if r, err := s.try(http.MethodGet, "/api/out/"+name, ""); err == nil && r.status != http.StatusBadGateway {
			t.Errorf("%q: taken for whole: %d %s", topic, r.status, r.body)
		}
	}
	s.publish("end/x", 1, false)
	if m := <-led; m.Topic != "end/x" {
		t.Errorf("the api published %s on %s", m.Payload, m.Topic)
	}
	s.idle()
}

// Parts without end end where the api collects them, and where they say nothing
// at all; the component hears that nobody wants more.
func TestPartsWithoutEndEnd(t *testing.T) {
	s := start(t)
	s.register()
	var mu sync.Mutex
	left := map[string]int{}
	endless := func(name, data string) {
		part := func(topic, id string, n int) bus.Message {
			payload, err := bus.Envelope{ID: id, Part: &n, ResponseTopic: "query/" + name + "/more", Data: json.RawMessage(data)}.Encode()
			if err != nil {
				t.Error(err)
			}
			return bus.Message{Topic: topic, Payload: []byte(strings.Replace(string(payload), "query/"+name+"/more", "responses/"+name+"/1/parts/x", 1))}
		}
		asked := map[string]string{} // response topic by id
		link := bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "endless-" + name, Up: func(ctx context.Context, session *bus.Session) error {
			return session.Subscribe(ctx, "responses/"+name+"/1/parts/x", func(m bus.Message) {
				e, err := bus.Decode(m.Payload)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case e.ErrorText() != "":
					left[name]++
				case e.Part != nil:
					if err := s.link.Send(part(asked[e.ID], e.ID, *e.Part)); err != nil {
						t.Error(err)
					}
				}
			})
		}}, quiet)
		background(t, link.Run)
		if err := link.AwaitUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.rude(name, func(_ bus.Message, e bus.Envelope) []bus.Message {
			mu.Lock()
			defer mu.Unlock()
			asked[e.ID] = e.ResponseTopic
			return []bus.Message{part(e.ResponseTopic, e.ID, 0)}
		})
	}
	endless("ledger_query", `["`+strings.Repeat("x", 900<<10)+`"]`)
	endless("empty", `[]`)
	s.get("/api/v1/sources").problem(http.StatusBadGateway, "longer than 8 MiB")
	if r, err := s.try(http.MethodGet, "/api/out/empty", ""); err == nil {
		t.Errorf("taken for whole: %d %s", r.status, r.body)
	}
	await(t, "both heard that nobody wants more", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return left["ledger_query"] == 1 && left["empty"] == 1
	})
	s.idle()
}
