package mail_test

import (
	"fmt"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var noon = device.MicrosOf(time.Date(2026, 10, 5, 12, 15, 0, 0, time.UTC))

func gatewayOffline() contract.Alert {
	a := contract.Alert{
		ID: "gateway-offline/edge-f2/1", Rule: "gateway-offline", Severity: contract.Critical, Subject: "edge-f2", Gateway: "edge-f2",
		Floor: new(2), Label: "Box by the lift", State: contract.Firing, Since: noon.Add(-12 * time.Minute), Fired: noon.Add(-10 * time.Minute),
		Value: new(float64), Unit: "/", Summary: "Gateway edge-f2 is offline. Its plugs are neither read nor switched.",
		Advice: "Look for power and network at the box of floor 2.", CoversMore: 20,
	}
	for n := range 100 {
		a.Covers = append(a.Covers, fmt.Sprintf("sp_f2.w.r%d.c%d", n/10, n%10))
	}
	return a
}

func overPower() contract.Alert {
	watts := 2431.7
	return contract.Alert{
		ID: "over-power/sp_f1.g3/1", Rule: "over-power", Severity: contract.Warning, Subject: "sp_f1.g3", Gateway: "edge-f1", Floor: new(1),
		Label: "Küche <Süd>", State: contract.Firing, Since: noon.Add(-90 * time.Second), Value: &watts, Unit: "W",
		Summary: "Küche <Süd> (sp_f1.g3) draws 2432 W, more than the 2000 W that it may.", Advice: "Look what is plugged in there.",
	}
}

func over(a contract.Alert) contract.Alert {
	a.State, a.Ended = contract.Resolved, noon.Add(67*time.Minute)
	return a
}

// alarm is what most messages are like.
func alarm() notify.Message {
	backup := contract.Alert{ID: "backup-unverified/site/1", Rule: "backup-unverified", Severity: contract.Info, Subject: "site", Since: noon.Add(-50 * time.Hour), Summary: "No backup was restored for trial for 12 days."}
	gone := overPower()
	gone.Since, gone.Ended = noon.Add(-3*time.Hour), noon.Add(-20*time.Minute)
	return notify.Message{
		Key: "post-7f3a-000012", Receiver: "facility", Site: "Main Street", At: noon, Link: "https://wattline.example.org/alerts",
		Items: []notify.Item{
			{Event: notify.Began, Alert: gatewayOffline()},
			{Event: notify.Flaps, Alert: overPower()},
			{Event: notify.Began, Alert: backup},
			{Event: notify.Over, Alert: gone},
		},
		Omitted: 3,
	}
}

func recovery() notify.Message {
	return notify.Message{
		Key: "post-7f3a-000013", Receiver: "facility", Site: "Main Street", At: noon.Add(68 * time.Minute), Link: "https://wattline.example.org/alerts",
		Items: []notify.Item{{Event: notify.Over, Alert: over(gatewayOffline())}, {Event: notify.Was, Alert: over(overPower())}},
	}
}
