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
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

func ids(t *testing.T, r response) (got []string, next string) {
	t.Helper()
	var page struct {
		Items []struct{ ID string }
		Next  *string
	}
	r.json(&page).is(http.StatusOK, "")
	for _, item := range page.Items {
		got = append(got, item.ID)
	}
	if page.Next != nil {
		next = *page.Next
	}
	return got, next
}

func TestDevices(t *testing.T) {
	s := start(t)
	s.get("/api/v1/devices").problem(http.StatusServiceUnavailable, "registry has not been heard")
	s.register()
	for query, want := range map[string]string{
		"?floor=2":                    "sp_f2.g3 sp_f2.p0 sp_f2.w.r0.c0 sp_f2.w.r0.c1 sp_f2.w.r1.c0 sp_f2.w.r1.c1",
		"?floor=1&type=w":             "sp_w.r0.c0 sp_w.r0.c1 sp_w.r1.c0 sp_w.r1.c1",
		"?type=g,p&floor=1,3":         "sp_g3 sp_p0 sp_f3.g3 sp_f3.p0",
		"?row=1&column=0":             "sp_w.r1.c0 sp_f2.w.r1.c0 sp_f3.w.r1.c0",
		"?row=0,1&column=1&floor=3":   "sp_f3.w.r0.c1 sp_f3.w.r1.c1",
		"?gateway=edge-f3&type=g":     "sp_f3.g3",
		"?gateway=edge-f9":            "",
		"?type=x":                     "",
		"?limit=2":                    "sp_g3 sp_p0",
		"?floor=-1":                   "",
		"?floor=99999999999999999999": "", // a mistake, below
	} {
		if strings.Contains(query, "999") {
			s.get("/api/v1/devices"+query).problem(http.StatusBadRequest, "floor", "not a whole number")
			continue
		}
		got, _ := ids(t, s.get("/api/v1/devices"+query))
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	p := s.get("/api/v1/devices?floor=x&limit=0&cursor=%21&type=&colour=red&limit=2").problem(http.StatusBadRequest)
	if len(p.Errors) != 6 {
		t.Errorf("mistakes: %+v", p.Errors)
	}
}

func TestDevicesByPages(t *testing.T) {
	s := start(t)
	s.register()
	all, _ := ids(t, s.get("/api/v1/devices"))
	var got []string
	cursor := ""
	for pages := 0; ; pages++ {
		path := "/api/v1/devices?limit=5"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		page, next := ids(t, s.get(path))
		got = append(got, page...)
		if cursor = next; cursor == "" || pages > 10 {
			break
		}
		if pages == 0 { // what a cursor points to may go, and more may come before it
			s.publish(bus.PlacesPrefix+page[len(page)-1], nil, true)
			await(t, "it is gone", func() bool { return s.get("/api/v1/devices/"+page[len(page)-1]).status == http.StatusNotFound })
		}
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeviceByEitherSpelling(t *testing.T) {
	s := start(t)
	s.register()
	for _, id := range []string{"sp_w.r1.c0", "sp_f1.w.r1.c0"} {
		s.get("/api/v1/devices/"+id).is(http.StatusOK, `{"id":"sp_w.r1.c0","device_type":"sp","type":"w","floor":1,"row":1,"column":0,"label":"Desk","gateway":"edge-f1","plug":{"driver":"hs110","address":"127.1.0.1","mac":"AC:84:C6:59:D9:A1"}}`)
	}
	s.get("/api/v1/devices/sp_f2.g3/").is(http.StatusOK, "")
	if p := s.get("/api/v1/devices/sp_f4.g3").problem(http.StatusNotFound, "no place sp_f4.g3"); p.Device != "sp_f4.g3" {
		t.Errorf("device %q", p.Device)
	}
	s.get("/api/v1/devices/nonsense").problem(http.StatusBadRequest, "malformed device id")
	s.get("/api/v1/devices/sp_g3?x=1").problem(http.StatusBadRequest, "no such parameter")
	s.get("/api/v1/devices/"+strings.Repeat("%00", 100)).problem(http.StatusBadRequest, "malformed device id")
}

func TestStateIsTheNewestReading(t *testing.T) {
	s := start(t)
	s.register()
	s.get("/api/v1/devices/sp_g3/state").problem(http.StatusNotFound, "no reading")
	pack := func(at string, watts float64) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`[{"bn":"sp_g3/","bt":%s,"n":"power","u":"W","v":%g},{"n":"status","u":"/","v":1},{"n":"suspect","vs":"voltage 0"}]`, at, watts))
	}
	s.publish(bus.StateTopic("edge-f1", "sp_g3"), pack("1790000000.25", 12.5), true)
	const want = `{"device":"sp_g3","gateway":"edge-f1","gateway_online":false,"time":"2026-09-21T14:13:20.25Z","on":true,"values":{"power":{"value":12.5,"unit":"W"},"status":{"value":1,"unit":"/"},"suspect":{"value":"voltage 0"}}}`
	await(t, "the state is heard", func() bool { return s.get("/api/v1/devices/sp_g3/state").status == http.StatusOK })
	s.get("/api/v1/devices/sp_f1.g3/state").is(http.StatusOK, want)
	r := s.get("/api/v1/devices/sp_g3/state", "Accept", "application/senml+json")
	r.is(http.StatusOK, string(pack("1790000000.25", 12.5)))
	if got := r.header.Get("Content-Type"); got != "application/senml+json" {
		t.Errorf("content type %q", got)
	}
	s.get("/api/v1/devices/sp_g3/state", "Accept", "text/html").problem(http.StatusNotAcceptable)

	// The place had another gateway once, whose state was never cleared; and
	// garbage changes nothing.
	s.publish(bus.StateTopic("edge-f9", "sp_g3"), pack("1690000000", 1), true)
	s.publish(bus.StateTopic("edge-f8", "sp_g3"), json.RawMessage(`{"a":1}`), true)
	s.publish(bus.StateTopic("edge-f1", "sp_f1.p0"), pack("1790000001", 2), true)
	await(t, "the last is heard", func() bool { return s.get("/api/v1/devices/sp_p0/state").status == http.StatusOK })
	s.get("/api/v1/devices/sp_g3/state").is(http.StatusOK, want)
	s.publish(bus.StateTopic("edge-f1", "sp_g3"), nil, true)
	await(t, "the state is cleared", func() bool {
		return strings.Contains(string(s.get("/api/v1/devices/sp_g3/state").body), "edge-f9")
	})
}

func beat(gateway string, epoch contract.Epoch, at time.Time) contract.Status {
	since := device.Micros(1790000000_000000)
	return contract.Status{
		Gateway: gateway, Online: true, Epoch: epoch, Version: "v1", ConfigVersion: 7, Sequence: 41, BootID: "b", Time: device.MicrosOf(at),
		Clock: contract.ClockStatus{Set: true}, Outbox: contract.OutboxStatus{Readings: 5, Batches: 1, Bytes: 100, Oldest: &since},
		Plugs: contract.PlugsStatus{Configured: 6, Reachable: 5, Problems: []contract.PlugProblem{{Device: device.ID{}, Reason: "offline", Since: since}}},
	}
}

func TestGateways(t *testing.T) {
	s := start(t)
	s.register()
	s.get("/api/v1/gateways/edge-f2").is(http.StatusOK, `{"id":"edge-f2","label":"Floor","floor":2,"online":false,"heard":null,"places":6,"config_version_wanted":7,"status":null}`)
	s.get("/api/v1/gateways/edge-f9").problem(http.StatusNotFound, "no gateway edge-f9")
	status := beat("edge-f2", 9, time.Now().Add(-2*time.Second))
	status.Plugs.Problems[0].Device = mustID(t, "sp_f2.g3")
	s.publish(bus.StatusTopic("edge-f2"), status, true)
	type view struct {
		Online bool
		Heard  *time.Time
		Status struct {
			Epoch string
			Clock struct {
				Skew *float64 `json:"skew_s"`
			}
			Outbox struct {
				Readings int
				Oldest   time.Time
			}
			Plugs struct {
				Problems []struct{ Device, Reason string }
			}
		}
	}
	var g view
	await(t, "it is online", func() bool { s.get("/api/v1/gateways/edge-f2").json(&g); return g.Online })
	if g.Heard == nil || time.Since(*g.Heard) > time.Minute || g.Status.Clock.Skew == nil || *g.Status.Clock.Skew > -1.9 || *g.Status.Clock.Skew < -5 ||
		g.Status.Outbox.Readings != 5 || g.Status.Outbox.Oldest.Unix() != 1790000000 || g.Status.Epoch != "0000000000000009" || g.Status.Plugs.Problems[0].Device != "sp_f2.g3" {
		t.Errorf("%+v", g)
	}
	if !strings.Contains(string(s.get("/api/v1/devices/sp_f2.g3").body), `"problem":{"reason":"offline","since":"2026-09-21T14:13:20Z"}`) {
		t.Error("the device does not tell its problem")
	}
	// The will of an earlier run counts for nothing, that of this run does.
	s.publish(bus.StatusTopic("edge-f2"), contract.Status{Epoch: 8}, true)
	stranger := beat("edge-x", 1, time.Now())
	stranger.Plugs.Problems = nil
	s.publish(bus.StatusTopic("edge-x"), stranger, true)
	await(t, "a stranger is heard", func() bool { return s.get("/api/v1/gateways/edge-x").status == http.StatusOK })
	if s.get("/api/v1/gateways/edge-f2").json(&g); !g.Online {
		t.Error("offline by the will of an earlier run")
	}
	s.publish(bus.StatusTopic("edge-f2"), contract.Status{Epoch: 9}, true)
	await(t, "it is offline", func() bool { s.get("/api/v1/gateways/edge-f2").json(&g); return !g.Online })
	if g.Status.Outbox.Readings != 5 {
		t.Errorf("the will wiped what was known: %+v", g)
	}
	got, next := ids(t, s.get("/api/v1/gateways?limit=3"))
	if strings.Join(got, " ") != "edge-f1 edge-f2 edge-f3" || next == "" {
		t.Errorf("first page %v %q", got, next)
	}
	if got, next = ids(t, s.get("/api/v1/gateways?limit=3&cursor="+next)); strings.Join(got, " ") != "edge-x" || next != "" {
		t.Errorf("second page %v %q", got, next)
	}
	s.get("/api/v1/gateways?floor=1").problem(http.StatusBadRequest, "floor")
}

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
		"": "required", "?measurement=a/b": "not letters", "?measurement=%23": "not letters", "?measurement=power&format=senml": "no such parameter",
		"?measurement=power&database=a%2Fb": "not lower-case", "?measurement=power&measurement=x": "more than once",
	} {
		s.get("/api/v1/readings"+query).problem(http.StatusBadRequest, words)
	}
}

func TestLedgerAndQuarantineArePassedOn(t *testing.T) {
	s := start(t)
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

func TestTheHouseIsLearnedAgainAfterABrokersDeath(t *testing.T) {
	s := start(t)
	s.register()
	s.broker.Kill()
	await(t, "the loss shows", func() bool { return s.get("/readyz").status == http.StatusServiceUnavailable })
	s.get("/healthz").is(http.StatusOK, "")
	if got, _ := ids(t, s.get("/api/v1/devices")); len(got) != 18 {
		t.Errorf("%d places while the broker is away", len(got))
	}
	begin := time.Now()
	s.get("/api/out/ask/x").problem(http.StatusServiceUnavailable, "broker")
	s.put("/api/in/ask/x", `{"payload":1}`).problem(http.StatusServiceUnavailable, "broker")
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("took %v to say so", took)
	}
	s.broker.Start()
	await(t, "the api is back", func() bool { return s.get("/readyz").status == http.StatusOK })
	s.component(hook.Queries, "ask", echo)
	s.get("/api/out/ask/x").is(http.StatusOK, "")
	s.place("sp_g9", "edge-f1")
	await(t, "a new place is heard", func() bool { return s.get("/api/v1/devices/sp_g9").status == http.StatusOK })
}
