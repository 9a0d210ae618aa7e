package alerting_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/contract"
)

// What waits for the disk is older than what somebody asks for meanwhile, and must
// not be written over it.
func TestAnAcknowledgementOutlivesADiskThatWasFull(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	a, err := alerting.Drive(alerting.DefaultConfig(), t.TempDir(), nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	down := func() {
		now = now.Add(time.Minute)
		a.Answer(signals.Answers{Store: &signals.Store{}})
	}
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		down()
	}
	if p := a.Do("alerts", contract.RegistryRequest{Verb: "acknowledge", Key: firing(t, a)[0].ID}).Problem; p == nil || p.Kind != contract.NotNow {
		t.Fatalf("acknowledged without a disk: %v", p)
	}
	all := firing(t, a)
	if len(all) != 1 || all[0].State != contract.Firing {
		t.Fatalf("after a refused acknowledgement there fires %+v", all)
	}
	id := all[0].ID
	if err := a.Mend(); err != nil {
		t.Fatal(err)
	}
	if p := a.Do("alerts", contract.RegistryRequest{Verb: "acknowledge", Key: id, Who: "ada"}).Problem; p != nil {
		t.Fatal(p)
	}
	a.Pass()
	var kept contract.Alert
	if err := json.Unmarshal(a.Do("alerts", contract.RegistryRequest{Verb: "get", Key: id}).Content, &kept); err != nil {
		t.Fatal(err)
	}
	if kept.State != contract.Acknowledged || kept.Hushed == nil || kept.Hushed.Who != "ada" {
		t.Errorf("kept as %s, hushed %+v", kept.State, kept.Hushed)
	}
}

// deaf is an Alertmanager that is not there.
type deaf struct{}

func (deaf) Run(context.Context, func() []contract.Alert) error { return nil }
func (deaf) Poke()                                              {}
func (deaf) Try(context.Context, contract.Alert) error          { return nil }
func (deaf) Status() notify.Status                              { return notify.Status{Failing: 1} }

func TestAnAlertmanagerThatIsAwayIsAReceiverThatFails(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	a, err := alerting.Drive(alerting.DefaultConfig(), t.TempDir(), nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	a.TellState(deaf{})
	for range 11 * 60 {
		now = now.Add(time.Second)
		a.Pass()
	}
	if all := firing(t, a); all[0].Rule != "receiver-failing" {
		t.Errorf("%+v", all)
	}
}

// firing are the alerts that fire, written or not.
func firing(t *testing.T, a *alerting.Driven) []contract.Alert {
	t.Helper()
	all := a.Firing()
	if len(all) == 0 {
		t.Fatal("nothing fires")
	}
	return all
}
