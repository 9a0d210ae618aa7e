package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

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
