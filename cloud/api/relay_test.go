package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
)

// echo answers what it was asked, as an object.
func echo(_ context.Context, r hook.Request, w *hook.Answer) error {
	data, err := json.Marshal(map[string]any{"subpath": r.Subpath, "data": r.Data})
	w.Send(data, nil)
	return err
}

func TestRelayIn(t *testing.T) {
	s := start(t)
	s.component(hook.Commands, "alexa_command", echo)
	for name, c := range map[string]struct {
		path, body, want string
	}{
		"the URL's own topic":          {"/x1", `{"payload": 1}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}}}`},
		"a trailing slash":             {"/x1/", `{"payload": 1}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}}}`},
		"no subpath":                   {"", `{"payload": 1}`, `{"alexa_command":{"data":{"data":1,"subpath":""}}}`},
		"no subpath, a slash":          {"/", `{"payload": 1}`, `{"alexa_command":{"data":{"data":1,"subpath":""}}}`},
		"a payload that is text":       {"/x1", `{"payload": "{\"status\": 0}"}`, `{"alexa_command/x1":{"data":{"data":"{\"status\": 0}","subpath":"x1"}}}`},
		"a payload that is an object":  {"/x1", `{"payload": {"status": "OFF"}}`, `{"alexa_command/x1":{"data":{"data":{"status":"OFF"},"subpath":"x1"}}}`},
		"a payload of null":            {"/x1", `{"payload": null}`, `{"alexa_command/x1":{"data":{"data":null,"subpath":"x1"}}}`},
		"subtopics":                    {"", `{"payload": 1, "subtopics": ["x1", "row/2"]}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}},"alexa_command/row/2":{"data":{"data":1,"subpath":"row/2"}}}`},
		"subtopics, a slash":           {"/", `{"payload": 1, "subtopics": ["x1"]}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}}}`},
		"subtopics of a path":          {"/row", `{"payload": 1, "subtopics": ["1", "2"]}`, `{"alexa_command/row/1":{"data":{"data":1,"subpath":"row/1"}},"alexa_command/row/2":{"data":{"data":1,"subpath":"row/2"}}}`},
		"subtopics of a path, a slash": {"/row/", `{"payload": 1, "subtopics": ["1"]}`, `{"alexa_command/row/1":{"data":{"data":1,"subpath":"row/1"}}}`},
		"a subtopic named twice":       {"", `{"payload": 1, "subtopics": ["x1", "x1"]}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}}}`},
		"subtopics of null":            {"/x1", `{"payload": 1, "subtopics": null}`, `{"alexa_command/x1":{"data":{"data":1,"subpath":"x1"}}}`},
		"an escaped path":              {"/%C3%BC%2F1", `{"payload": 1}`, `{"alexa_command/ü/1":{"data":{"data":1,"subpath":"ü/1"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.put("/api/in/alexa_command"+c.path, c.body)
			r.t = t
			r.is(http.StatusOK, c.want)
		})
	}
}

func TestRelayInNamesEveryMistake(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct {
		path, body string
		mistakes   []string // pointer and detail
	}{
		"no body":                  {"/x1", "", []string{"not a JSON object"}},
		"no JSON":                  {"/x1", "{payload: 1}", []string{"not JSON"}},
		"an array":                 {"/x1", "[1]", []string{"not a JSON object"}},
		"wrong UTF-8":              {"/x1", "{\"payload\": \"\xff\"}", []string{"not UTF-8"}},
		"nested too deep":          {"/x1", `{"payload": ` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", []string{"nested deeper"}},
		"no payload":               {"/x1", `{}`, []string{"/payload required"}},
		"an empty list":            {"/x1", `{"payload": 1, "subtopics": []}`, []string{"/subtopics an empty list"}},
		"subtopics that are none":  {"/x1", `{"payload": 1, "subtopics": {"a": 1}}`, []string{"/subtopics not a list"}},
		"too many subtopics":       {"/x1", `{"payload": 1, "subtopics": ["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, []string{"/subtopics 1001 subtopics"}},
		"strangers and everything": {"/x1", `{"subtopics": ["a/#", "", "b//c", "+", "$x", "ok", "a\u0000b"], "payloads": 1}`, []string{"/payload required", "/payloads no such member", "/subtopics/0 malformed topic", "/subtopics/1 malformed topic", "/subtopics/2 malformed topic", "/subtopics/3 malformed topic", "/subtopics/4 malformed topic", "/subtopics/6 malformed topic"}},
		"a wildcard":               {"/%23", `{"payload": 1}`, []string{"malformed topic"}},
		"a plus":                   {"/+", `{"payload": 1}`, []string{"malformed topic"}},
		"a dollar":                 {"/$x", `{"payload": 1}`, []string{"malformed topic"}},
		"an empty level":           {"//m1", `{"payload": 1}`, []string{"malformed topic"}},
		"NUL":                      {"/a%00b", `{"payload": 1}`, []string{"malformed topic"}},
		"a path of wrong UTF-8":    {"/a%ffb", `{"payload": 1}`, []string{"malformed topic"}},
		"a long path":              {"/" + strings.Repeat("a", 2000), `{"payload": 1}`, []string{"malformed topic"}},
		"a wrong escape":           {"/a%zzb", `{"payload": 1}`, []string{"not well escaped"}},
	} {
		t.Run(name, func(t *testing.T) {
			var r response
			if strings.Contains(c.path, "%zz") { // net/http would not send it
				r = s.raw(t, "PUT /api/in/x"+c.path+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nConnection: close\r\n\r\n"+c.body)
			} else {
				r = s.put("/api/in/alexa_command"+c.path, c.body)
				r.t = t
			}
			p := r.problem(http.StatusBadRequest)
			if len(p.Errors) != len(c.mistakes) {
				t.Errorf("%d mistakes, want %d: %s", len(p.Errors), len(c.mistakes), r.body)
			}
			for i, want := range c.mistakes[:min(len(p.Errors), len(c.mistakes))] {
				if got := strings.TrimSpace(p.Errors[i].Pointer + " " + p.Errors[i].Detail); !strings.Contains(got, want) {
					t.Errorf("mistake %d: %q, want %q", i, got, want)
				}
			}
		})
	}
}

func TestRelayInHasNullForATopicThatDoesNotAnswer(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 400 * time.Millisecond })
	s.component(hook.Commands, "half", func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		if r.Subpath == "b" {
			<-ctx.Done()
			return ctx.Err()
		}
		w.Send(json.RawMessage(`{"successful":["sp_g3"]}`), json.RawMessage(`{"sp_g4":"timeout"}`))
		return nil
	})
	begin := time.Now()
	r := s.put("/api/in/half", `{"payload": {"status": 1}, "subtopics": ["a", "b"]}`)
	r.is(http.StatusGatewayTimeout, `{"half/a":{"data":{"successful":["sp_g3"]},"error":{"sp_g4":"timeout"}},"half/b":null}`)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	s.put("/api/in/half/a", `{"payload": {"status": 1}}`).is(http.StatusOK, `{"half/a":{"data":{"successful":["sp_g3"]},"error":{"sp_g4":"timeout"}}}`)
}

func TestRelayInTellsWhatBecameOfEachTopic(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 400 * time.Millisecond })
	s.component(hook.Commands, "half", func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		switch r.Subpath {
		case "a":
			w.Send(json.RawMessage(`{"successful":["sp_g3"]}`), nil)
		case "late":
			<-ctx.Done()
			return ctx.Err()
		default: // parts that are none
			for range 3 {
				if err := w.Part(ctx, json.RawMessage(`{}`)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	const bad = `{"error":"the answer makes no sense: a part of it is not an array"}`
	s.put("/api/in/half", `{"payload": 1, "subtopics": ["a", "bad"]}`).is(http.StatusBadGateway, `{"half/a":{"data":{"successful":["sp_g3"]}},"half/bad":`+bad+`}`)
	s.put("/api/in/half", `{"payload": 1, "subtopics": ["bad", "late", "a"]}`).is(http.StatusGatewayTimeout, `{"half/bad":`+bad+`,"half/late":null,"half/a":{"data":{"successful":["sp_g3"]}}}`)
	s.put("/api/in/half", `{"payload": 1, "subtopics": ["bad", "bad2"]}`).problem(http.StatusBadGateway, "makes no sense")
}

func TestRelayOut(t *testing.T) {
	s := start(t)
	s.component(hook.Queries, "ask", func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		switch r.Subpath {
		case "array":
			w.Send(json.RawMessage(`[{"bn":"sp_g3/power","bu":"W"},{"t":1593599018.0395682,"v":0}]`), nil)
		case "object":
			w.Send(json.RawMessage(`{"position":1}`), nil)
		case "both":
			w.Send(json.RawMessage(`[1]`), json.RawMessage(`"half of it"`))
		case "nothing":
			w.Send(nil, nil)
		case "mistake":
			return errors.New("operation: no such operation; n: not a number")
		case "old/mistake":
			return errors.New("Error parsing query: Invalid operation 'x'")
		case "broken":
			return errors.New("Error getting the ranking: no such id")
		case "later":
			return errors.New("InfluxDB does not answer, try again")
		case "parts":
			for i := range 5 {
				if err := w.Part(ctx, json.RawMessage(fmt.Sprintf(`[{"v":%d},{"v":%d}]`, 2*i, 2*i+1))); err != nil {
					return err
				}
			}
		case "torn":
			if err := w.Part(ctx, json.RawMessage(`[1]`)); err != nil {
				return err
			}
			if err := w.Part(ctx, json.RawMessage(`[2]`)); err != nil {
				return err
			}
			return errors.New("the disk is gone")
		default:
			return echo(ctx, r, w)
		}
		return nil
	})
	for name, c := range map[string]struct {
		path   string
		status int
		want   string
	}{
		"a SenML array":            {"/array", 200, `[{"bn":"sp_g3/power","bu":"W"},{"t":1593599018.0395682,"v":0}]`},
		"a trailing slash":         {"/array/", 200, `[{"bn":"sp_g3/power","bu":"W"},{"t":1593599018.0395682,"v":0}]`},
		"another value":            {"/object", 200, `{"data":{"position":1}}`},
		"data and error":           {"/both", 200, `{"data":[1],"error":"half of it"}`},
		"neither":                  {"/nothing", 200, `{}`},
		"a mistake":                {"/mistake", 400, `{"error":"operation: no such operation; n: not a number"}`},
		"a mistake in the old way": {"/old/mistake", 400, `{"error":"Error parsing query: Invalid operation 'x'"}`},
		"an error":                 {"/broken", 502, `{"error":"Error getting the ranking: no such id"}`},
		"an error that passes":     {"/later", 503, `{"error":"InfluxDB does not answer, try again"}`},
		"an answer in parts":       {"/parts", 200, `[{"v":0},{"v":1},{"v":2},{"v":3},{"v":4},{"v":5},{"v":6},{"v":7},{"v":8},{"v":9}]`},
		"parameters":               {"/id/echo-dot-12313?ordered=high-to-low&n=1&from=1.5", 200, `{"data":{"data":{"from":"1.5","n":"1","ordered":"high-to-low"},"subpath":"id/echo-dot-12313"}}`},
		"a parameter given twice":  {"/x?id=a&id=b", 200, `{"data":{"data":{"id":"a,b"},"subpath":"x"}}`},
		"an empty parameter":       {"/x?id=&n", 200, `{"data":{"data":{"id":"","n":""},"subpath":"x"}}`},
		"escapes":                  {"/x?a=%22%5C+%00%3C%E2%82%AC", 200, `{"data":{"data":{"a":"\"\\ \u0000\u003c€"},"subpath":"x"}}`},
		"no subpath":               {"", 200, `{"data":{"data":{},"subpath":""}}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.get("/api/out/ask" + c.path)
			r.t = t
			r.is(c.status, c.want)
			if got := r.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %q", got)
			}
		})
	}
	t.Run("an answer that breaks off", func(t *testing.T) {
		if r, err := s.try(http.MethodGet, "/api/out/ask/torn", ""); err == nil {
			t.Errorf("taken for whole: %d %s", r.status, r.body)
		}
	})
	for path, words := range map[string]string{
		"/api/out/ask/%23": "malformed topic", "/api/out/ask//x": "malformed topic", "/api/out/ask/x?a=%ff": "not UTF-8", "/api/out/ask/x?=1": "without a name",
		"/api/out/ask/x?" + strings.Repeat("a=&", 101): "101 parameters",
	} {
		s.get(path).problem(http.StatusBadRequest, words)
	}
}

func TestRelayOutInNanoseconds(t *testing.T) {
	s := start(t, func(c *api.Config) { c.IoToad.Nanoseconds = true })
	s.component(hook.Queries, "ask", func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		for range map[string]int{"one": 1, "parts": 2}[r.Subpath] {
			if err := w.Part(ctx, json.RawMessage(`[{"bn":"power","bt":1.5e3},{"t":1593599018.0395682,"v":0.5},{"t":-0.0000000001},{"t":"x"},{"t":1e999}]`)); err != nil {
				return err
			}
		}
		return nil
	})
	const want = `{"bn":"power","bt":1500000000000},{"t":1593599018039568200,"v":0.5},{"t":0},{"t":"x"},{"t":1e999}`
	s.get("/api/out/ask/one").is(http.StatusOK, "["+want+"]")
	s.get("/api/out/ask/parts").is(http.StatusOK, "["+want+","+want+"]")
}

func TestASilentComponentIsNamed(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 200 * time.Millisecond })
	for path, component := range map[string]string{
		"/api/out/nobody/x": "nobody", "/api/v1/readings?measurement=power": "influx_query", "/api/v1/ledger": "ledger_query", "/api/v1/quarantine": "ledger_query",
	} {
		if p := s.get(path).problem(http.StatusGatewayTimeout, "did not answer within 200ms"); p.Component != component {
			t.Errorf("%s: component %q, want %q", path, p.Component, component)
		}
	}
	s.do(http.MethodPost, "/api/v1/quarantine/x/replay", "").problem(http.StatusGatewayTimeout, "ledger_query")
}

func TestAnAnswerWhosePartsStopIsBrokenOff(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 300 * time.Millisecond })
	stopped := make(chan error, 1)
	s.component(hook.Queries, "ask", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		for range 2 {
			if err := w.Part(ctx, json.RawMessage(`[1]`)); err != nil {
				return err
			}
		}
		<-ctx.Done()
		stopped <- ctx.Err()
		return ctx.Err()
	})
	if r, err := s.try(http.MethodGet, "/api/out/ask", ""); err == nil {
		t.Errorf("taken for whole: %d %s", r.status, r.body)
	}
}

func TestAnswersOfOthersAndGarbageAreNotOurs(t *testing.T) {
	s := start(t)
	link := bus.NewLink(bus.Options{URL: s.broker.URL, ClientID: "rude", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "query/rude/#", func(m bus.Message) {
			e, err := bus.Decode(m.Payload)
			if err != nil {
				t.Error(err)
				return
			}
			for _, answer := range []bus.Message{
				{Topic: e.ResponseTopic + "x", Payload: []byte(`{"data":[1]}`)},
				{Topic: e.ResponseTopic, Payload: []byte(`{"id":"` + e.ID + `","response_topic":"secret","data":"mine"}`)},
				{Topic: e.ResponseTopic, Payload: []byte(`{"data":[2]}`)},
			} {
				if m.Topic == "query/rude/garbage" {
					answer.Payload = []byte("\x1f\x8bgarbage")
				}
				if err := s.link.Send(answer); err != nil {
					t.Error(err)
				}
			}
		})
	}}, quiet)
	background(t, link.Run)
	if err := link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.get("/api/out/rude/x").is(http.StatusOK, `{"data":"mine"}`)
	s.get("/api/out/rude/garbage").is(http.StatusBadGateway, "")
	strays := regexp.MustCompile(`(?m)^wattline_api_strays_total [2-4]$`) // a third answer comes too late or not
	await(t, "strays are counted", func() bool { return strays.Match(s.get("/metrics").body) })
}
