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
