package alerting_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Those who are told a state are told of an end for as long as others, however late
// the readings came that say so.
func TestAnEndThatWasLearnedLateIsToldAsLongAsOthers(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	a, err := alerting.Drive(alerting.DefaultConfig(), t.TempDir(), nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	if p := a.Do("rules", contract.RegistryRequest{Verb: "import", Content: []byte(`{"text":"rules: [{name: high, severity: warning, signal: power, when: {above: 100}, summary: x}]"}`)}).Problem; p != nil {
		t.Fatal(p)
	}
	measured := func(ago time.Duration, watts float64) {
		text := fmt.Sprintf(`{"id":"x","data":[{"n":"sp_f1.g0/power","u":"W","t":%d,"v":%g}]}`, now.Add(-ago).Unix(), watts)
		a.Hear(bus.Message{Topic: "data/agent/influx_data/sp", Payload: []byte(text)})
		a.Pass()
	}
	measured(0, 200)
	now = now.Add(10 * time.Hour) // in which the source has no way to the cloud
	measured(9*time.Hour, 50)
	states := func() (all []contract.AlertState) {
		for _, alert := range a.Current() {
			all = append(all, alert.State)
		}
		return all
	}
	for range 4 {
		if got := states(); len(got) != 1 || got[0] != contract.Resolved {
			t.Fatalf("told %v, want that it is over", got)
		}
		now = now.Add(time.Minute)
		a.Pass()
	}
	now = now.Add(time.Minute)
	a.Pass()
	if got := states(); len(got) != 0 {
		t.Errorf("told %v still", got)
	}
}

// The first reading after a start is judged by what was told of its place before it,
// not only from the next second on.
func TestTheFirstReadingAfterAStartIsOfAPlaceThatIsKnown(t *testing.T) {
	now, dir := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), t.TempDir()
	start := func() *alerting.Driven {
		a, err := alerting.Drive(alerting.DefaultConfig(), dir, nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for topic, text := range map[string]string{
			"registry/site": `{"name":"x","default_floor":1,"time_zone":"UTC"}`, "registry/gateways/edge-f1": `{"gateway":"edge-f1","floor":1}`,
			"registry/places/sp_f1.g0": `{"device":"sp_f1.g0","gateway":"edge-f1","max_power_w":1000}`,
		} {
			a.Hear(bus.Message{Topic: topic, Payload: []byte(text), Retained: true})
		}
		return a
	}
	draws := func(a *alerting.Driven, watts int) {
		now = now.Add(time.Second)
		text := fmt.Sprintf(`{"id":"x","data":[{"n":"sp_f1.g0/power","u":"W","t":%d,"v":%d}]}`, now.Unix(), watts)
		a.Hear(bus.Message{Topic: "data/edge-f1/influx_data/sp", Payload: []byte(text)})
	}
	a := start()
	if p := a.Do("rules", contract.RegistryRequest{Verb: "import", Content: []byte(`{"text":"rules: [{name: high, severity: warning, signal: power, when: {above_max_power: 1}, summary: x}]"}`)}).Problem; p != nil {
		t.Fatal(p)
	}
	draws(a, 1200)
	if n := len(a.Firing()); n != 1 {
		t.Fatalf("%d alerts fire, want 1", n)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = start()
	t.Cleanup(func() { _ = a.Close() })
	draws(a, 10)
	if n := len(a.Firing()); n != 0 {
		t.Errorf("%d alerts fire still", n)
	}
}
