package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
)

// saturdays are the noons before the nights in which Berlin's clocks change in
// 2026: one without 02:30, one with two.
var saturdays = map[string]time.Time{
	"spring": time.Date(2026, 3, 28, 11, 0, 0, 0, time.UTC),
	"autumn": time.Date(2026, 10, 24, 10, 0, 0, 0, time.UTC),
}

// Seen to fail when the next day begins 24 hours later.
func TestThereIsOneDigestADayWhenTheClocksChange(t *testing.T) {
	digest := rule.Clock(2*60 + 30)
	for season, want := range map[string][]string{
		"spring": {"Sun 03:30 CEST", "Mon 02:30 CEST", "Tue 02:30 CEST"}, // 02:30 is an hour and a half after one o'clock, whatever it is called
		"autumn": {"Sun 02:30 CET", "Mon 02:30 CET", "Tue 02:30 CET"},    // the second of the two
	} {
		t.Run(season, func(t *testing.T) {
			t.Parallel()
			p, ears := newPlay(t, saturdays[season].Add(5*time.Second), highRule("high", "severity: info, when: {above: 100}"),
				notify.Receiver{Name: "a", Kind: "email", From: contract.Info, Digest: &digest, Over: true})
			for n, name := range p.places(160) {
				p.measure(200, name)
				p.strides(10*time.Minute, 5*time.Minute)
				if n%2 == 0 { // some fire on
					p.measure(10, name)
				}
				p.strides(15*time.Minute, 5*time.Minute)
			}
			var got []string
			for _, at := range ears[0].at {
				got = append(got, at.In(p.zone).Format("Mon 15:04 MST"))
			}
			if d := cmp.Diff(want, got[:min(len(got), 3)]); d != "" || len(got) != 3 {
				t.Errorf("digests (-want +got), of %v:\n%s", got, d)
			}
			for n, line := range ears[0].got {
				for _, other := range ears[0].got[:n] {
					for item := range strings.SplitSeq(line[len("02:30 "):], ", ") {
						if strings.Contains(other+",", item+",") {
							t.Errorf("told twice: %s", item)
						}
					}
				}
			}
		})
	}
}

// Seven in the morning is seven by the clock on the wall.
//
// Seen to fail when hours are those of UTC.
func TestWorkingHoursAreThoseOfTheWallWhenTheClocksChange(t *testing.T) {
	for season, saturday := range saturdays {
		t.Run(season, func(t *testing.T) {
			t.Parallel()
			p, ears := newPlay(t, saturday, `
calendars: {office: {days: [sat, sun, mon], from: "07:00", to: "19:00"}}
rules: [{name: left-on, severity: warning, signal: power, when: {above: 30}, hours: outside office, summary: "{label} draws {value}"}]`,
				notify.Receiver{Name: "a", Kind: "webhook", From: contract.Info, Over: true})
			places := p.places(1)
			for end := saturday.Add(48 * time.Hour); p.now.Before(end); {
				p.measure(100, places...)
				p.strides(5*time.Minute, 5*time.Minute)
			}
			ears[0].wants("who is told", // what is measured at the hour is told with the next tick
				"19:05 began left-on sp_f1.g0", "07:05 over left-on sp_f1.g0", "19:05 began left-on sp_f1.g0", "07:05 over left-on sp_f1.g0")
		})
	}
}
