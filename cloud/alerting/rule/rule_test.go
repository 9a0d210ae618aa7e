package rule_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/rule"
)

func TestTheDefaultsAreWithoutMistakes(t *testing.T) {
	f := rule.Defaults()
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := len(f.Rules); got != 30 {
		t.Errorf("%d rules", got)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back rule.File
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, back); d != "" {
		t.Errorf("JSON changes them:\n%s", d)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	f := rule.Defaults()
	f.Rules[0].Summary, f.Rules[1].Summary = `{label}: "yes", # no`, "- on"
	text, err := rule.Write(f)
	if err != nil {
		t.Fatal(err)
	}
	back, err := rule.Read(text, "rules.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if d := cmp.Diff(f, back); d != "" {
		t.Errorf("YAML changes them:\n%s", d)
	}
}

// Who adds a rule of the pages to a file that was exported must not stumble over
// its indentation.
func TestWhatIsExportedIsWrittenAsThePagesAre(t *testing.T) {
	text, err := rule.Write(rule.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "  - name: mine\n    severity: info\n    signal: power\n    when: {above: 1}\n    for: 1h30m\n    summary: a\n"...)
	f, err := rule.Read(text, "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(f.Rules), len(rule.Defaults().Rules)+1; got != want {
		t.Errorf("%d rules, want %d", got, want)
	}
	for _, d := range []struct {
		d    time.Duration
		want string
	}{{0, "0s"}, {30 * time.Second, "30s"}, {10 * time.Minute, "10m"}, {48 * time.Hour, "48h"}, {90 * time.Minute, "1h30m"}, {time.Hour + 10*time.Second, "1h0m10s"}} {
		if got, _ := rule.Duration(d.d).MarshalText(); string(got) != d.want {
			t.Errorf("%v is written %s, want %s", d.d, got, d.want)
		}
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	_, err := rule.Read([]byte(`
calendars:
  Work: {days: [mon, funday], from: "07:00", to: "07:00", holidays: [Easter]}
rules:
  - {name: "Over Power", severity: bad, signal: power, when: {above: 1, below: 2}, summary: ""}
  - {name: x, severity: info, signal: gateway.onlin, when: {equals: 0}, summary: "{who}"}
  - {name: x, severity: info, signal: plug.firmware, when: {above: 1}, summary: a, hours: sometimes}
  - {name: y, severity: info, signal: power, when: {inside: [3, 1]}, summary: a, hours: inside nowhere, covered_by: [z]}
  - {name: v, severity: info, signal: power, when: {absent: true}, summary: a, remind: 1s}
  - {name: w, severity: info, signal: site.disk, select: {floors: [1], types: [W]}, when: {above: 1, clear: 2}, summary: a}
  - {name: a, severity: info, signal: power, when: {below: 1, clear: 0.5}, summary: a, covered_by: [b]}
  - {name: b, severity: info, signal: power, when: {equals: .inf}, summary: a, covered_by: [a]}
`), "rules.yaml")
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"25 mistakes", "calendars.Work (line 3): want a lower-case", `"funday"`, "the same time as to", `"Easter"`,
		`rules[0].name (line 5): "Over Power"`, "rules[0].severity", "2 conditions (above, below)", "rules[0].summary (line 5): missing",
		`rules[1].signal (line 6): "gateway.onlin" is no fact`, "{who} cannot", `rules[2].name (line 7): "x" is that of rules[1]`,
		"a text, which can only be changed", "rules[2].hours", "rules[3].when.inside (line 8): want two numbers", `no calendar "nowhere"`,
		`no rule "z"`, "absent needs a time", "remind (line 9): 1s is under", "devices, types and except say nothing",
		"floors and gateways say nothing", `"W" is no place type`, "2 is above 1", "0.5 is below 1", "a covers itself over other rules",
		"want a number",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestACalendarKnowsItsDays(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	office := rule.Calendar{Days: []string{"mon", "tue", "wed", "thu", "fri"}, From: 7 * 60, To: 19 * 60, Holidays: []string{"12-25", "2026-05-14"}}
	night := rule.Calendar{Days: []string{"fri"}, From: 22 * 60, To: 6 * 60}
	whole := rule.Calendar{Days: []string{"sun"}, To: 24 * 60}
	for _, c := range []struct {
		calendar rule.Calendar
		at       string
		want     bool
	}{
		{office, "2026-11-23 07:00", true},
		{office, "2026-11-23 06:59", false},
		{office, "2026-11-23 19:00", false},
		{office, "2026-11-22 12:00", false},
		{office, "2026-12-25 12:00", false},
		{office, "2027-12-24 12:00", true},
		{office, "2026-05-14 12:00", false},
		{office, "2027-05-14 12:00", true},
		{night, "2026-11-27 23:00", true},
		{night, "2026-11-28 05:59", true},
		{night, "2026-11-28 06:00", false},
		{night, "2026-11-27 05:00", false},
		{whole, "2026-10-25 02:30", true},
		{whole, "2026-03-29 23:59", true},
		{whole, "2026-03-30 00:00", false}, // days of 25 and 23 hours
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", c.at, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.calendar.Within(at); got != c.want {
			t.Errorf("%s of %v to %v: %v", c.at, c.calendar.From, c.calendar.To, got)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add("rules:\n  - {name: x, severity: info, signal: power, when: {above: 1}, for: 10m, summary: \"{label}\"}\n")
	f.Add("calendars: {office: {days: [mon], from: \"07:00\", to: \"24:00\", holidays: [12-25]}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := rule.Read([]byte(text), "rules.yaml")
		if err != nil {
			return
		}
		out, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		var back rule.File
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if err := back.Validate(); err != nil {
			t.Fatalf("not valid any more: %v", err)
		}
		for _, c := range back.Calendars {
			c.Within(time.Unix(0, 0))
		}
	})
}
