package wording_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestHeadlineNamesTheGravestAndCountsTheRest(t *testing.T) {
	gateway := contract.Alert{Severity: contract.Critical, Floor: new(2), Subject: "edge-f2", Summary: "Gateway edge-f2 is offline. Its plugs are neither read nor switched."}
	plug := contract.Alert{Severity: contract.Warning, Summary: "The plug at Desk 7 on floor 1 is not reached.", Floor: new(1)}
	for name, c := range map[string]struct {
		items   []notify.Item
		omitted int
		want    string
	}{
		"one":                     {[]notify.Item{{Event: notify.Began, Alert: gateway}}, 0, "Critical: Gateway edge-f2 is offline, floor 2 – Main Street"},
		"the floor is said once":  {[]notify.Item{{Event: notify.Began, Alert: plug}}, 0, "Warning: The plug at Desk 7 on floor 1 is not reached – Main Street"},
		"gravest, in any order":   {[]notify.Item{{Event: notify.Began, Alert: plug}, {Event: notify.Began, Alert: gateway}}, 3, "Critical: Gateway edge-f2 is offline, floor 2 (+4 more) – Main Street"},
		"what fires before over":  {[]notify.Item{{Event: notify.Over, Alert: gateway}, {Event: notify.Flaps, Alert: plug}}, 0, "Warning, comes and goes: The plug at Desk 7 on floor 1 is not reached (1 over) – Main Street"},
		"more and over":           {[]notify.Item{{Event: notify.Still, Alert: gateway}, {Event: notify.Began, Alert: plug}, {Event: notify.Over, Alert: plug}}, 0, "Still critical: Gateway edge-f2 is offline, floor 2 (+1 more, 1 over) – Main Street"},
		"all over":                {[]notify.Item{{Event: notify.Over, Alert: gateway}, {Event: notify.Over, Alert: plug}}, 0, "Over: Gateway edge-f2 is offline, floor 2 (+1 more) – Main Street"},
		"over before it was told": {[]notify.Item{{Event: notify.Was, Alert: plug}}, 0, "Over already: The plug at Desk 7 on floor 1 is not reached – Main Street"},
		"nothing but losses":      {nil, 7, "Alerts: 7 not listed – Main Street"},
		"no summary":              {[]notify.Item{{Event: notify.Began, Alert: contract.Alert{Rule: "flat-line", Subject: "sp_g3"}}}, 0, "Info: flat-line sp_g3 – Main Street"},
		"a trial":                 {[]notify.Item{{Event: notify.Trials, Alert: contract.Alert{Summary: "Messages arrive."}}}, 0, "Trial: Messages arrive – Main Street"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wording.Headline(notify.Message{Site: "Main Street", Items: c.items, Omitted: c.omitted}); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestNamesCannotBreakLines(t *testing.T) {
	evil := "Desk\r\nBcc: all@example.org\u2028\u202e\x00\xff 7"
	m := notify.Message{Site: evil, Items: []notify.Item{{Event: notify.Began, Alert: contract.Alert{
		Severity: contract.Severity(evil), Summary: evil, Label: evil, Subject: evil, Unit: evil, Value: new(float64),
	}}}}
	a := m.Items[0].Alert
	for _, text := range []string{wording.Headline(m), wording.Where(a), wording.Value(a)} {
		if strings.ContainsAny(text, "\r\n\x00\u2028\u202e") || !utf8.ValidString(text) {
			t.Errorf("%q has characters that control", text)
		}
	}
}

func TestPlacesAndTimesAreForPeople(t *testing.T) {
	for want, a := range map[string]contract.Alert{
		"Desk 7 (sp_f2.w.r1.c1), floor 2": {Subject: "sp_f2.w.r1.c1", Label: "Desk 7", Floor: new(2)},
		"edge-f2, floor 2":                {Subject: "edge-f2", Label: "edge-f2", Floor: new(2)},
		"":                                {Subject: "site"},
	} {
		if got := wording.Where(a); got != want {
			t.Errorf("where = %q, want %q", got, want)
		}
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// The hour that a night has twice.
	first := device.MicrosOf(time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC))
	for at, want := range map[device.Micros]string{first: "Sun 25 Oct 2026, 02:30 CEST", first.Add(time.Hour): "Sun 25 Oct 2026, 02:30 CET"} {
		if got := wording.When(at, zone); got != want {
			t.Errorf("when = %q, want %q", got, want)
		}
	}
	if got, want := wording.Shorten("überall ist es warm", 9), "überall…"; got != want {
		t.Errorf("short = %q, want %q", got, want)
	}
}
