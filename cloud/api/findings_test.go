package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

func TestFiltersThatFitNothingAreNamed(t *testing.T) {
	s := start(t)
	s.register()
	s.component(hook.Queries, "influx_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		if strings.Contains(string(r.Data), `"measurement":"none"`) {
			w.Send(nil, nil)
			return nil
		}
		w.Send(json.RawMessage(`[{"measurement":"power","points":[{"t":1,"v":2}]}]`), nil)
		return nil
	})
	const series = `{"series":[{"measurement":"power","points":[{"time":"1970-01-01T00:00:01Z","value":2}]}]`
	for parameters, want := range map[string]string{
		"": series + "}",
		"&id=sp_g3,sp_f2.w.r0.c0&floor=1,2&type=w": series + "}",
		"&id=sp_g77&floor=9&type=x":                series + `,"warnings":["id: no place sp_g77 is registered; what it has is history","floor: no place is registered on floor 9 (1 is the default)","type: no place of type x is registered"]}`,
	} {
		s.get("/api/v1/readings?measurement=power"+parameters).is(http.StatusOK, want)
	}
}

func TestASelectionThatMatchesNothingIsNotFound(t *testing.T) {
	s := start(t)
	s.register()
	asked := make(chan struct{}, 10)
	s.component(hook.Commands, "sp_command", func(context.Context, hook.Request, *hook.Answer) error {
		asked <- struct{}{}
		return nil
	})
	for _, sel := range []string{`{"floor":9}`, `{"type":"x"}`, `{"floor":2,"row":7}`} {
		s.do(http.MethodPost, "/api/v1/commands", `{"on":false,"select":`+sel+`}`).problem(http.StatusNotFound, "matches no registered place")
	}
	if len(asked) > 0 {
		t.Error("sp_command was asked")
	}
}

// A row that is switched on takes the pauses between its plugs; IoToad's clients
// hear of it as those of /api/v1 do.
func TestARelayedGroupIsWaitedForAsLongAsItTakes(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 200 * time.Millisecond })
	s.register()
	for _, id := range []string{"sp_w.r5.c0", "sp_w.r5.c1", "sp_w.r5.c2", "sp_f2.w.r5.c0"} {
		s.place(id, "edge-f1")
	}
	s.publish(bus.GatewaysInfoPrefix+"edge-f1", contract.GatewayInfo{Gateway: "edge-f1", Floor: 1, StaggerMillis: 200}, true)
	s.component(hook.Commands, "sp_command", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		select {
		case <-time.After(400 * time.Millisecond):
			w.Send(json.RawMessage(`{"successful":[]}`), nil)
		case <-ctx.Done():
		}
		return nil
	})
	await(t, "the group is known to take its time", func() bool {
		return s.put("/api/in/sp_command/row/5", `{"payload":{"status":"on"}}`).status == http.StatusOK
	})
	for path, want := range map[string]int{
		"row/5": 200, "floor/1/row/5": 200, "floor/1": 200, "type/w": 200, "floor/1/type/w": 200,
		"floor/2/row/5": 504, "sp_w.r5.c0": 504, "column/7": 504, "nonsense/5": 504, "row/x": 504,
	} {
		if r := s.put("/api/in/sp_command/"+path, `{"payload":{"status":1}}`); r.status != want {
			t.Errorf("%s: %d, want %d", path, r.status, want)
		}
	}
}

func TestTheRelaySaysWhoSends(t *testing.T) {
	s := start(t)
	s.component(hook.Commands, "sp_command", echo)
	for payload, want := range map[string]string{
		`{"status":1}`:                      `"data":{"status":1,"who":"api 127.0.0.1"}`,
		`{"status":1,"who":"boss"}`:         `"data":{"status":1,"who":"api 127.0.0.1"}`,
		`"{\"status\":0,\"who\":\"boss\"}"`: `"data":{"status":0,"who":"api 127.0.0.1"}`,
		`{"on":true,"Who":"boss"}`:          `"data":{"Who":"boss","on":true,"who":"api 127.0.0.1"}`,
		`"{\"status\":1,\"status\":0}"`:     `"data":"{\"status\":1,\"status\":0}"`,
		`[1]`:                               `"data":[1]`,
		`"nonsense"`:                        `"data":"nonsense"`,
	} {
		r := s.put("/api/in/sp_command/sp_g1", `{"payload":`+payload+`}`)
		if r.status != http.StatusOK || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s, want %s", payload, r.status, r.body, want)
		}
	}
}
