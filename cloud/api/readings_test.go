package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

func TestReadings(t *testing.T) {
	s := start(t)
	s.component(hook.Queries, "influx_query", func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		var asked map[string]string
		if err := json.Unmarshal(r.Data, &asked); err != nil {
			return err
		}
		if r.Subpath != "sp/power" {
			w.Send(json.RawMessage(fmt.Sprintf(`[{"measurement":%q,"points":[]}]`, r.Subpath)), nil)
			return nil
		}
		switch asked["type"] {
		case "mistakes":
			return errors.New(`operation: "x" is none of count mean; from: not a time; really; "so odd"...: unknown`)
		case "away":
			return errors.New("InfluxDB does not answer, try again")
		case "broken":
			return errors.New("InfluxDB refuses the query: who knows")
		case "nothing":
			return w.Part(ctx, json.RawMessage("[]"))
		case "asked":
			data, err := json.Marshal([]contract.Series{{Measurement: string(r.Data), Points: []contract.Point{}}})
			w.Send(data, nil)
			return err
		}
		parts := []string{
			`[{"measurement":"power","unit":"W","group":{"id":"sp_g3"},"points":[{"t":1790000000.123456,"v":12.5},{"t":1790000010,"v":null}]},` +
				`{"measurement":"power","unit":"W","group":{"id":"sp_g4","floor":"2"},"points":[{"t":1790000000,"v":1e-09}]}]`,
			`[{"measurement":"power","unit":"W","group":{"id":"sp_g4","floor":"2"},"points":[{"t":1790000010,"v":100000000,"id":"sp_g4"}]}]`,
		}
		if asked["format"] == "senml" {
			parts = []string{`[{"bn":"power"}]`, `[{"n":"sp_g3/power","t":1,"v":2}]`}
		}
		for _, part := range parts {
			if err := w.Part(ctx, json.RawMessage(part)); err != nil {
				return err
			}
		}
		return nil
	})
	const path = "/api/v1/readings?measurement=power"
	s.get(path).is(http.StatusOK, `{"series":[`+
		`{"measurement":"power","unit":"W","group":{"id":"sp_g3"},"points":[{"time":"2026-09-21T14:13:20.123456Z","value":12.5},{"time":"2026-09-21T14:13:30Z","value":null}]},`+
		`{"measurement":"power","unit":"W","group":{"floor":"2","id":"sp_g4"},"points":[{"time":"2026-09-21T14:13:20Z","value":1e-09},{"time":"2026-09-21T14:13:30Z","value":100000000,"id":"sp_g4"}]}]}`)
	r := s.get(path+"&tz=Europe/Madrid", "Accept", "text/csv")
	r.is(http.StatusOK, strings.ReplaceAll(`time,measurement,unit,id,type,floor,row,column,value
2026-09-21T16:13:20.123456+02:00,power,W,sp_g3,,,,,12.5
2026-09-21T16:13:30+02:00,power,W,sp_g3,,,,,
2026-09-21T16:13:20+02:00,power,W,sp_g4,,2,,,1e-09
2026-09-21T16:13:30+02:00,power,W,sp_g4,,2,,,100000000`, "\n", "\r\n"))
	if got := r.header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Errorf("content type %q", got)
	}
	r = s.get(path, "Accept", "application/senml+json")
	r.is(http.StatusOK, `[{"bn":"power"},{"n":"sp_g3/power","t":1,"v":2}]`)
	if got := r.header.Get("Content-Type"); got != "application/senml+json" {
		t.Errorf("content type %q", got)
	}
	s.get(path+"&type=nothing").is(http.StatusOK, `{"series":[]}`)
	s.get(path+"&type=nothing", "Accept", "text/csv").is(http.StatusOK, "time,measurement,unit,id,type,floor,row,column,value")
	s.get("/api/v1/readings?measurement=status&database=other").is(http.StatusOK, `{"series":[{"measurement":"other/status","points":[]}]}`)
	s.get(path+"&type=asked&from=2026-01-01T00:00:00+02:00&to=5&every=1h&group_by=device,floor").is(http.StatusOK,
		`{"series":[{"measurement":"{\"every\":\"1h\",\"format\":\"series\",\"from\":\"2026-01-01T00:00:00+02:00\",\"group_by\":\"device,floor\",\"to\":\"5\",\"type\":\"asked\"}","points":[]}]}`)

	p := s.get(path+"&type=mistakes").problem(http.StatusBadRequest, "none of count mean")
	if len(p.Errors) != 3 || p.Errors[0].Parameter != "operation" || p.Errors[1].Detail != "not a time; really" || p.Errors[2].Parameter != "so odd" {
		t.Errorf("%+v", p.Errors)
	}
	s.get(path+"&type=away").problem(http.StatusServiceUnavailable, "InfluxDB does not answer")
	s.get(path+"&type=broken").problem(http.StatusBadGateway, "who knows")
	s.get(path, "Accept", "image/png").problem(http.StatusNotAcceptable, "text/csv")
	for query, words := range map[string]string{
		"": "required", "?measurement=a/b": "letters, digits", "?measurement=%23": "letters, digits", "?measurement=power&format=senml": "no such parameter",
		"?measurement=power&database=a%2Fb": "letters, digits", "?measurement=power&measurement=x": "more than once",
	} {
		s.get("/api/v1/readings"+query).problem(http.StatusBadRequest, words)
	}
}

func TestLedgerAndQuarantineArePassedOn(t *testing.T) {
	s := start(t).invents()
	answer := func(_ context.Context, r hook.Request, w *hook.Answer) error {
		if strings.Contains(string(r.Data), "unknown") {
			return errors.New("id: nothing of that name is in quarantine")
		}
		w.Send(json.RawMessage(`{"subpath":"`+r.Subpath+`","asked":`+string(r.Data)+`}`), nil)
		return nil
	}
	s.component(hook.Queries, "ledger_query", answer)
	s.component(hook.Commands, "ledger_query", answer)
	s.get("/api/v1/ledger?gateway=edge-f1&from=1").is(http.StatusOK, `{"subpath":"","asked":{"from":"1","gateway":"edge-f1"}}`)
	s.get("/api/v1/quarantine?limit=5&source=edge-f1&cursor=x").is(http.StatusOK, `{"subpath":"quarantine","asked":{"cursor":"x","limit":"5","source":"edge-f1"}}`)
	s.do(http.MethodPost, "/api/v1/quarantine/a/replay", `{"source":"edge-f1"}`).is(http.StatusOK, `{"subpath":"replay","asked":{"id":"a","source":"edge-f1"}}`)
	s.do(http.MethodPost, "/api/v1/quarantine/a%2Fb/replay", "").is(http.StatusOK, `{"subpath":"replay","asked":{"id":"a/b"}}`)
	s.do(http.MethodPost, "/api/v1/quarantine/unknown/replay", "{}").problem(http.StatusBadRequest, "nothing of that name")
	s.do(http.MethodPost, "/api/v1/quarantine/a/replay", `{"x":1}`).problem(http.StatusBadRequest, "/x")
	s.get("/api/v1/ledger?floor=1").problem(http.StatusBadRequest, "floor")
}
