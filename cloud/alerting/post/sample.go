package post

import (
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// samples are messages that a template must cope with: one in which everything is
// there, with names that break what is not quoted, and ones in which little is.
func samples() map[string]notify.Message {
	at := device.MicrosOf(time.Date(2026, 10, 5, 12, 15, 0, 0, time.UTC))
	value, floor := 2431.7, 2
	full := contract.Alert{
		ID: "over-power/sp_f2.g3/1", Rule: "over-power", Severity: contract.Critical, Subject: "sp_f2.g3", Gateway: "edge-f2", Floor: &floor,
		Label: "The \"quiet\" room\\ <&>\n", State: contract.Firing, Since: at.Add(-time.Hour), Fired: at.Add(-time.Hour), Value: &value, Unit: "W",
		Summary: "The \"quiet\" room\\ <&>\n draws 2432 W, more than the 2000 W that it may.", Advice: "Look what is \"plugged in\" there.",
		Covers: []string{"sp_f2.w1", "sp_f2.w2"}, CoversMore: 3, Flapping: true,
		Hushed: &contract.Hushed{Who: "anna \"a\"", Reason: "known", At: at, Until: at.Add(time.Hour)},
	}
	if id, err := device.Parse(full.Subject); err == nil {
		full.Device = id
	}
	over := full
	over.State, over.Ended, over.Hushed = contract.Resolved, at, nil
	bare := contract.Alert{ID: "influxdb-down/site/1", Rule: "influxdb-down", Severity: contract.Warning, Subject: "site", State: contract.Firing, Since: at, Summary: "InfluxDB gives no answers."}
	message := func(items ...notify.Item) notify.Message {
		return notify.Message{Key: "sample", Receiver: "sample", Site: "Main \"Street\"\n", At: at, Items: items, Link: "https://wattline.example.org/alerts"}
	}
	many := message()
	for range notify.MaxItems {
		many.Items = append(many.Items, notify.Item{Event: notify.Began, Alert: full})
	}
	many.Omitted = 7
	plain := message(notify.Item{Event: notify.Trials, Alert: contract.Alert{Summary: "A trial."}})
	plain.Link, plain.Site = "", ""
	return map[string]notify.Message{
		"an alarm":             message(notify.Item{Event: notify.Began, Alert: full}, notify.Item{Event: notify.Flaps, Alert: bare}, notify.Item{Event: notify.Over, Alert: over}),
		"a recovery":           message(notify.Item{Event: notify.Over, Alert: over}, notify.Item{Event: notify.Was, Alert: over}),
		"a reminder":           message(notify.Item{Event: notify.Still, Alert: bare}),
		"a trial":              plain,
		"a message of many":    many,
		"a message of nothing": message(),
	}
}
