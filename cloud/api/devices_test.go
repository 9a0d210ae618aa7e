package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/bus"
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
