package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// firing is an alert as the api tells it.
func firing(subject string, since time.Time, more string) string {
	at := since.UTC().Format(time.RFC3339)
	return fmt.Sprintf(`{"id":"plug-unreachable/%s/1700000000000000","rule":"plug-unreachable","severity":"warning","device":%q,"floor":2,"label":"Sala Goya",`+
		`"state":"firing","since":%q,"fired":%q,"summary":"The plug at Sala Goya is not reached."%s}`, subject, subject, at, at, more)
}

func TestAlertsAreATableOfWhatFires(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /api/v1/alerts": `200 {"items":[],"next":null}`})
	c.run(t, "alerts").wants(t, exitDone, "Nothing fires.\n", "")
	c.run(t, "alerts", "list", "--floor", "2").wants(t, exitDone, "Nothing of that fires.\n", "")
	c.run(t, "alerts", "--json").wants(t, exitDone, "[]\n", "")
	c.run(t, "alerts", "frobnicate").wants(t, exitUsage, "", "there is no `alerts frobnicate`; `wattline help alerts`")
	c.answers["GET /api/v1/alerts"] = "200 " + fmt.Sprintf(`{"items":[%s,%s],"next":null}`,
		firing("sp_f2.g3", time.Now().Add(-125*time.Minute), `,"covers":["a","b"],"covers_more":3,"flapping":true`),
		firing("sp_f2.g4", time.Now().Add(-10*24*time.Hour-time.Hour), `,"hushed":{"who":"ana","at":"2026-01-01T00:00:00Z"}`))
	got := c.run(t, "alerts")
	want := "AGE    SEVERITY  WHAT                                                                              WHERE                HUSHED       ALERT\n" +
		"2h05m  warning   The plug at Sala Goya is not reached. Explains 5 others. It comes and goes.       Sala Goya (floor 2)               plug-unreachable/sp_f2.g3\n" +
		"10d    warning   The plug at Sala Goya is not reached.                                             Sala Goya (floor 2)  seen by ana  plug-unreachable/sp_f2.g4\n"
	if squeeze(got.stdout) != squeeze(want) || got.code != exitDone {
		t.Errorf("%d\n%s\nwant\n%s", got.code, got.stdout, want)
	}
}

func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestAnAlertIsNamedByWhatTheTableShows(t *testing.T) {
	const id = "plug-unreachable%2Fsp_f2.g3%2F1700000000000000"
	c := newCloud(t, map[string]string{
		"GET /api/v1/alerts":              "200 " + fmt.Sprintf(`{"items":[%s],"next":null}`, firing("sp_f2.g3", time.Now(), "")),
		"GET /api/v1/alerts/" + id:        "200 " + firing("sp_f2.g3", time.Now(), ""),
		"POST /api/v1/alerts/acknowledge": "200 " + fmt.Sprintf(`{"changed":1,"items":[%s]}`, firing("sp_f2.g3", time.Now(), "")),
		"POST /api/v1/alerts/snooze":      `200 {"changed":0,"items":[]}`,
		"POST /api/v1/alerts/wake":        `200 {"changed":1}`,
	})
	c.run(t, "alerts", "show", "plug-unreachable/sp_f2.g3").wants(t, exitDone, "Sala Goya", "")
	c.run(t, "alerts", "show", "plug-unreachable/sp_f2.g3/1700000000000000").wants(t, exitDone, "Sala Goya", "")
	c.run(t, "alerts", "show", "plug-unreachable/sp_f2.g9").wants(t, exitNotDone, "", "there is no alert plug-unreachable/sp_f2.g9: `wattline alerts` lists")
	c.run(t, "alerts", "show", "sp_f2.g9").wants(t, exitUsage, "", "names no alert")
	c.asked = nil
	c.run(t, "alerts", "ack", "plug-unreachable/sp_f2.g3/1700000000000000", "--reason", "seen").wants(t, exitDone, "plug-unreachable/sp_f2.g3 is acknowledged.\n", "")
	c.run(t, "alerts", "ack", "--rule", "left-on", "--floor", "2", "--dry-run").wants(t, exitDone, "Dry run, nothing was changed: plug-unreachable/sp_f2.g3 is acknowledged.\n", "")
	c.run(t, "alerts", "wake", "--gateway", "edge-f2").wants(t, exitDone, "1 alerts are awake again.\n", "")
	want := []asked{
		{Method: "POST", Path: "/api/v1/alerts/acknowledge", Body: `{"id":"plug-unreachable/sp_f2.g3/1700000000000000","reason":"seen"}`, Type: "application/json"},
		{Method: "POST", Path: "/api/v1/alerts/acknowledge", Query: "dry_run=true", Body: `{"filter":{"floor":"2","rule":"left-on"}}`, Type: "application/json"},
		{Method: "POST", Path: "/api/v1/alerts/wake", Body: `{"filter":{"gateway":"edge-f2"}}`, Type: "application/json"},
	}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	c.asked = nil
	c.run(t, "alerts", "snooze", "--rule", "x", "--until", "2026-12-01T08:00:00+01:00").wants(t, exitDone, "Nothing of that fires.\n", "")
	if got := c.asked[0].Body; got != `{"filter":{"rule":"x"},"until":"2026-12-01T08:00:00+01:00"}` {
		t.Errorf("asked %s", got)
	}
}

func TestMistakesWithAlertsSayWhatToDo(t *testing.T) {
	c := newCloud(t, nil)
	for line, want := range map[string]string{
		"alerts ack":                                      "want either alerts",
		"alerts ack a/b/1700000000 --rule x":              "want either alerts",
		"alerts snooze a/b/1700000000":                    "want either --for, as 2h or 7d, or --until",
		"alerts snooze a/b/1700000000 --for 2h --until 1": "want either --for",
		"alerts snooze a/b/1700000000 --for soon":         `--for: "soon" is no time such as 30m, 2h or 7d`,
		"alerts snooze a/b/1700000000 --for NaNd":         "--for:",
		"alerts snooze a/b/1700000000 --for -2h":          "--for:",
		"alerts snooze a/b/1700000000 --until then":       "--until:",
		"alerts history --from lately":                    "--from:",
		"alerts rules show":                               "want the name of one rule",
		"alerts rules enable":                             "want the names of rules",
		"alerts rules import":                             "want one file",
		"alerts rules import /no/such/file.yaml":          "no such file",
		"alerts rules import -":                           "standard input is empty",
		"alerts maintenance add":                          "want either --for, as 4h, or --to",
		"alerts maintenance add --for 4h --floor first":   "--floor:",
		"alerts maintenance add --for 4h":                 "--reason is required",
		"alerts maintenance remove":                       "want the ids of maintenance windows",
		"alerts test":                                     "want one receiver",
	} {
		c.run(t, strings.Fields(line)...).wants(t, exitUsage, "", want)
	}
	if len(c.asked) > 0 {
		t.Errorf("asked %v", c.asked)
	}
}

func TestRulesAreSwitchedAsTheyAre(t *testing.T) {
	c := newCloud(t, map[string]string{
		"GET /api/v1/alerts/rules":                  `200 {"items":[{"name":"left-on","severity":"info","signal":"power","when":{"above":30,"clear":20},"for":"1h0m0s"},{"name":"x","off":true,"severity":"info","signal":"y","when":{"absent":true}}],"next":null}`,
		"GET /api/v1/alerts/rules/x":                `200 {"name":"x","off":true,"when":{"above":1.50}}`,
		"PUT /api/v1/alerts/rules/x":                `200 {"name":"x"}`,
		"DELETE /api/v1/alerts/rules/x":             `204 `,
		"GET /api/v1/alerts/rules.yaml":             "200 rules: []\n",
		"PUT /api/v1/alerts/rules.yaml":             `200 {"added":["n"],"changed":["c"],"deleted":["d"],"calendars_changed":false}`,
		"GET /api/v1/alerts/statistics":             `200 {"items":[{"rule":"x","severity":"info","alerts":12,"firing":1,"seconds":7500,"longest_seconds":3600}],"next":null}`,
		"GET /api/v1/alerts/receivers":              `200 {"items":[{"name":"office","kind":"email","from":"warning","waiting":2,"in_flight":false,"failing_since":"2026-11-01T08:00:00Z","last_error":"refused","unreached":{"b@example.org":"550 no","a@example.org":"550 no"}}],"next":null}`,
		"POST /api/v1/alerts/receivers/office/test": `204 `,
	})
	if got := squeeze(c.run(t, "alerts", "rules").stdout); got != "RULE ON SEVERITY SIGNAL WHEN FOR left-on on info power above 30, clear 20 1h x off info y absent" {
		t.Errorf("%s", got)
	}
	c.run(t, "alerts", "rules", "list", "--json").wants(t, exitDone, `"name": "left-on"`, "")
	c.asked = nil
	c.run(t, "alerts", "rules", "enable", "x", "--reason", "again").wants(t, exitDone, "x is on.\n", "")
	want := asked{Method: "PUT", Path: "/api/v1/alerts/rules/x", Query: "reason=again", Body: `{"name":"x","off":false,"when":{"above":1.50}}`, IfMatch: `"7"`, Type: "application/json"}
	if diff := cmp.Diff(want, c.asked[1]); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	c.run(t, "alerts", "rules", "disable", "x", "--dry-run").wants(t, exitDone, "Dry run, nothing was changed: x is off.\n", "")
	c.run(t, "alerts", "rules", "delete", "x", "--yes").wants(t, exitDone, "x is deleted.\n", "")
	c.run(t, "alerts", "statistics", "--from", "30d").wants(t, exitDone, "2h05m", "")
	if q := c.asked[len(c.asked)-1].Query; !strings.HasPrefix(q, "from=20") {
		t.Errorf("asked for %s", q)
	}
	c.run(t, "alerts", "receivers").wants(t, exitDone, "failing since ", "")
	c.run(t, "alerts", "receivers").wants(t, exitDone, "a@example.org, b@example.org", "")
	c.run(t, "alerts", "test", "office").wants(t, exitDone, "on its way", "")

	file := filepath.Join(t.TempDir(), "rules.yaml")
	c.run(t, "alerts", "rules", "export", "--out", file).wants(t, exitDone, "", "10 bytes")
	c.run(t, "alerts", "rules", "export").wants(t, exitDone, "rules: []\n", "")
	c.run(t, "alerts", "rules", "import", file, "--dry-run", "--if-revision", "9").wants(t, exitDone, "- d\n~ c\n+ n\nDry run, nothing was changed: The rules of "+file, "")
	last := c.asked[len(c.asked)-1]
	if last.Body != "rules: []\n" || last.Query != "dry_run=true" || last.IfMatch != `"9"` || last.Type != "application/yaml" {
		t.Errorf("asked %+v", last)
	}
	c.answers["PUT /api/v1/alerts/rules.yaml"] = `400 {"status":400,"detail":"2 mistakes","errors":[{"line":3,"field":"rules[0].when","detail":"bad"},{"line":9,"detail":"worse"}]}`
	c.run(t, "alerts", "rules", "import", file).wants(t, exitNotDone, "", file+": 2 mistakes\n  line 3, rules[0].when: bad\n  line 9: worse\n")
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxRules+1), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "alerts", "rules", "import", large).wants(t, exitUsage, "", "is larger than")
}

func TestMaintenanceHasABeginAndAnEnd(t *testing.T) {
	c := newCloud(t, map[string]string{
		"GET /api/v1/alerts/maintenance":       `200 {"items":[{"id":"m1","select":{"floors":[2]},"from":"2026-12-01T07:00:00Z","to":"2026-12-01T09:00:00Z","who":"ana","reason":"sockets"},{"id":"m2","from":"2026-12-01T07:00:00Z","to":"2026-12-01T09:00:00Z"}],"next":null}`,
		"POST /api/v1/alerts/maintenance":      `201 {"id":"m3","to":"2026-12-01T09:00:00Z"}`,
		"DELETE /api/v1/alerts/maintenance/m1": `204 `,
	})
	c.run(t, "alerts", "maintenance").wants(t, exitDone, "floors 2", "")
	c.run(t, "alerts", "maintenance", "list").wants(t, exitDone, "the whole site", "")
	c.run(t, "alerts", "maintenance", "add", "--floor", "2,-1", "--device", "sp_f2.g3,sp_f2.g4", "--from", "2026-12-01T07:00:00Z", "--for", "2h", "--reason", "sockets").wants(t, exitDone, "remove m3", "")
	last := c.asked[len(c.asked)-1]
	if last.Body != `{"from":"2026-12-01T07:00:00Z","reason":"sockets","select":{"devices":["sp_f2.g3","sp_f2.g4"],"floors":[2,-1]},"to":"2026-12-01T09:00:00Z"}` {
		t.Errorf("asked %s", last.Body)
	}
	c.run(t, "alerts", "maintenance", "add", "--to", "2026-12-01T09:00:00Z", "--reason", "x").wants(t, exitDone, "", "")
	if got := c.asked[len(c.asked)-1].Body; got != `{"reason":"x","select":{},"to":"2026-12-01T09:00:00Z"}` {
		t.Errorf("asked %s", got)
	}
	c.run(t, "alerts", "maintenance", "remove", "m1", "m9").wants(t, exitNotDone, "The window m1 is over.", "m9: ")
	if r := c.run(t, "alerts", "maintenance", "add", "--for", "2h", "--reason", "sockets", "--dry-run"); strings.Contains(r.stdout, "m3") {
		t.Errorf("a window that is not made can be ended: %s", r.stdout)
	}
}

func TestSpansAndTimes(t *testing.T) {
	for text, want := range map[string]time.Duration{"30m": 30 * time.Minute, "7d": 7 * 24 * time.Hour, "0.5d": 12 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := span(text); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "1e99d", "Infd", "NaNd", "0s", "-5m", "1w", "999999999h"} {
		if got, err := span(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
	now := time.Date(2026, 11, 8, 12, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]string{
		"2h": "2026-11-08T09:00:00Z", "2026-11-01": "2026-11-01T00:00:00+01:00", "1700000000.5": "1700000000.5", "2026-11-01T08:00:00+01:00": "2026-11-01T08:00:00+01:00",
	} {
		if got, err := moment(text, now, true); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
	for d, want := range map[time.Duration]string{5 * time.Second: "5s", 61 * time.Second: "1m", 26 * time.Hour: "1d2h", 100 * time.Hour: "4d", -time.Hour: "0s"} {
		if got := lasting(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
