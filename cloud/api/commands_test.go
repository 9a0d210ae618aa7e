package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

func TestRelayOfADevice(t *testing.T) {
	s := start(t)
	s.register()
	asked := make(chan contract.SwitchRequest, 1)
	outcome := make(chan contract.Outcome, 1)
	s.component(hook.Commands, "sp_command", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		var request contract.SwitchRequest
		if err := json.Unmarshal(r.Data, &request); err != nil {
			return err
		}
		asked <- request
		on := request.On
		result := contract.Result{Device: mustID(t, r.Subpath), Outcome: <-outcome, Detail: "because", Gateway: "edge-f1", On: &on}
		switch string(result.Outcome) {
		case "busy":
			return errors.New("sp_command is busy, try again")
		case "wrong":
			return errors.New("deadline_s: too long")
		case "empty":
			w.Send(json.RawMessage(`{"id":"c1","results":[]}`), nil)
			return nil
		case "garbage":
			w.Send(json.RawMessage(`[1]`), nil)
			return nil
		}
		data, err := json.Marshal(contract.SwitchAnswer{ID: "c1", Results: []contract.Result{result}})
		w.Send(data, nil)
		return err
	})
	for want, status := range map[contract.Outcome]int{
		contract.Confirmed: 200, contract.DryRun: 200, contract.Refused: 423, contract.Stale: 409, contract.Superseded: 409, contract.Mismatch: 502,
		contract.Unreachable: 503, contract.Expired: 504, contract.Unknown: 504, contract.NoSuchPlace: 404,
		"busy": 503, "wrong": 400, "empty": 502, "garbage": 502, "strange": 502,
	} {
		t.Run(string(want), func(t *testing.T) {
			outcome <- want
			r := s.put("/api/v1/devices/sp_f1.g3/relay", `{"on": true, "reason": "night", "deadline_s": 2.5}`)
			r.t = t
			request := <-asked
			if !strings.HasPrefix(request.Who, "api 127.0.0.1") {
				t.Errorf("who %q", request.Who)
			}
			request.Who = ""
			if diff := cmp.Diff(contract.SwitchRequest{On: true, Reason: "night", DeadlineSeconds: 2.5}, request); diff != "" {
				t.Error(diff)
			}
			if status == http.StatusOK {
				r.is(status, fmt.Sprintf(`{"command":"c1","device":"sp_g3","outcome":%q,"detail":"because","on":true,"gateway":"edge-f1"}`, want))
				return
			}
			p := r.problem(status)
			if known := len(want) > 0 && status != 400 && want != "busy" && want != "empty" && want != "garbage" && want != "strange"; known &&
				(p.Outcome != string(want) || p.Device != "sp_g3" || p.Command != "c1" || p.Gateway != "edge-f1" || p.Detail != string(want)+": because") {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestSwitchNamesEveryMistake(t *testing.T) {
	s := start(t)
	s.register()
	for name, c := range map[string]struct {
		method, path, body, pointers string
		status                       int
	}{
		"nothing":           {"PUT", "/devices/sp_g3/relay", `{}`, "/on", 400},
		"everything wrong":  {"PUT", "/devices/sp_g3/relay", `{"on":"yes","reason":7,"deadline_s":"soon","dry_run":1,"of":1}`, "/on /reason /dry_run /deadline_s /of", 400},
		"no deadline":       {"PUT", "/devices/sp_g3/relay", `{"on":true,"deadline_s":0}`, "/deadline_s", 400},
		"a huge deadline":   {"PUT", "/devices/sp_g3/relay", `{"on":true,"deadline_s":1e308}`, "/deadline_s", 400},
		"a larger deadline": {"PUT", "/devices/sp_g3/relay", `{"on":true,"deadline_s":1e999}`, "/deadline_s", 400},
		"a long reason":     {"PUT", "/devices/sp_g3/relay", `{"on":true,"reason":"` + strings.Repeat("x", 257) + `"}`, "/reason", 400},
		"no place":          {"PUT", "/devices/sp_g4/relay", `{"on":true}`, "", 404},
		"no id":             {"PUT", "/devices/g4/relay", `{"on":true}`, "", 400},
		"no selection":      {"POST", "/commands", `{"on":true}`, "/select", 400},
		"an empty one":      {"POST", "/commands", `{"on":true,"select":{}}`, "/select", 400},
		"one that is none":  {"POST", "/commands", `{"on":true,"select":7}`, "/select", 400},
		"all wrong":         {"POST", "/commands", `{"select":{"ids":["x","sp_g3"],"floor":"2","row":-1,"column":1.5,"type":"W","colour":1}}`, "/on /select/floor /select/row /select/column /select/type /select/ids/0 /select/colour", 400},
		"no ids":            {"POST", "/commands", `{"on":true,"select":{"ids":[]}}`, "/select/ids", 400},
		"row, no floor":     {"POST", "/commands", `{"on":true,"select":{"row":1}}`, "/select/floor", 400},
		"column, no floor":  {"POST", "/commands", `{"on":true,"select":{"column":1,"type":"w"}}`, "/select/floor", 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do(c.method, "/api/v1"+c.path, c.body)
			r.t = t
			p := r.problem(c.status)
			var got []string
			for _, m := range p.Errors {
				if m.Pointer != "" {
					got = append(got, m.Pointer)
				}
			}
			if strings.Join(got, " ") != c.pointers {
				t.Errorf("mistakes at %v, want %s: %s", got, c.pointers, r.body)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	s := start(t)
	s.register()
	s.component(hook.Commands, "sp_command", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		if r.Subpath != "select" {
			return errors.New("topic: " + r.Subpath)
		}
		var request contract.SwitchRequest
		if err := json.Unmarshal(r.Data, &request); err != nil {
			return err
		}
		text, err := json.Marshal(request.Select)
		if err != nil {
			return err
		}
		data, err := json.Marshal(contract.SwitchAnswer{ID: "c1", Results: []contract.Result{
			{Device: mustID(t, "sp_g3"), Outcome: contract.DryRun, Detail: string(text)}, {Device: mustID(t, "sp_g4"), Outcome: contract.NoSuchPlace},
		}})
		w.Send(data, nil)
		return err
	})
	r := s.do(http.MethodPost, "/api/v1/commands", `{"select": {"floor": 2, "row": 1, "type": "w", "ids": ["sp_g3"]}, "on": false, "dry_run": true}`)
	r.is(http.StatusOK, `{"id":"c1","results":[{"device":"sp_g3","outcome":"dry run","detail":"{\"ids\":[\"sp_g3\"],\"floor\":2,\"row\":1,\"type\":\"w\"}"},{"device":"sp_g4","outcome":"no such place"}]}`)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://elsewhere.example"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}} {
		s.do(http.MethodPost, "/api/v1/commands", `{"select": {"floor": 2}, "on": false}`, header...).problem(http.StatusForbidden, "another site")
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", s.url}} {
		s.do(http.MethodPost, "/api/v1/commands", `{"select": {"floor": 2}, "on": false}`, header...).is(http.StatusOK, "")
	}
}

func TestASwitchWithoutAnswerIsUnknown(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 200 * time.Millisecond })
	s.register()
	p := s.put("/api/v1/devices/sp_g3/relay", `{"on": true}`).problem(http.StatusGatewayTimeout, "it may have happened")
	if p.Outcome != "unknown" || p.Device != "sp_g3" || p.Component != "sp_command" {
		t.Errorf("%+v", p)
	}
	p = s.do(http.MethodPost, "/api/v1/commands", `{"on": true, "select": {"floor": 2}}`).problem(http.StatusGatewayTimeout, "it may have happened")
	if p.Outcome != "unknown" {
		t.Errorf("%+v", p)
	}
}

func TestAGroupIsWaitedForAsLongAsItsPausesTake(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 200 * time.Millisecond })
	s.register()
	s.publish(bus.GatewaysInfoPrefix+"edge-f2", contract.GatewayInfo{Gateway: "edge-f2", Floor: 2, StaggerMillis: 5000}, true)
	s.component(hook.Commands, "sp_command", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		select {
		case <-time.After(600 * time.Millisecond):
		case <-ctx.Done():
		}
		w.Send(json.RawMessage(`{"id":"c1","results":[]}`), nil)
		return nil
	})
	for body, want := range map[string]int{
		`{"on": true, "select": {"floor": 2, "row": 1}}`:                                http.StatusOK,
		`{"on": true, "select": {"ids": ["sp_f2.g3", "sp_f2.p0"]}}`:                     http.StatusOK,
		`{"on": true, "select": {"ids": ["sp_f2.g3"]}}`:                                 http.StatusGatewayTimeout,
		`{"on": true, "select": {"floor": 2, "type": "g"}}`:                             http.StatusGatewayTimeout,
		`{"on": true, "select": {"floor": 1}}`:                                          http.StatusGatewayTimeout,
		`{"on": false, "select": {"floor": 2, "row": 1}}`:                               http.StatusGatewayTimeout,
		`{"on": false, "select": {"floor": 2, "row": 1, "column": 1}, "dry_run": true}`: http.StatusGatewayTimeout,
	} {
		if got := s.do(http.MethodPost, "/api/v1/commands", body); got.status != want {
			t.Errorf("%s: %d, want %d", body, got.status, want)
		}
	}
	s.do(http.MethodPost, "/api/v1/commands", `{"on": true, "select": {"floor": 2}, "deadline_s": 300.5}`).problem(http.StatusBadRequest, "at most 300")
}
