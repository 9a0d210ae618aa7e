package archive_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, name string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(name, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func alert(n int, subject string, state contract.AlertState) contract.Alert {
	floor := n % 3
	return contract.Alert{
		ID: fmt.Sprintf("high/%s/%d", subject, n), Rule: "high", Subject: subject, Gateway: "edge-f1", Floor: &floor, Severity: contract.Warning, State: state,
		Since: device.Micros(n) * 1e6, Fired: device.Micros(n) * 1e6, Ended: device.Micros(n+10) * 1e6,
	}
}

func keep(t testing.TB, a *archive.Archive, alerts ...contract.Alert) {
	t.Helper()
	var changes []engine.Change
	for _, one := range alerts {
		changes = append(changes, engine.Change{Alert: one})
	}
	if err := a.Keep(changes, func(*bbolt.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func ids(alerts []contract.Alert) string {
	var all []string
	for _, a := range alerts {
		all = append(all, a.ID)
	}
	return strings.Join(all, " ")
}

func TestListsArePagesNewestFirst(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	for n := 1; n <= 7; n++ {
		state := contract.Resolved
		if n%2 == 0 {
			state = contract.Firing
		}
		keep(t, a, alert(n, "sp_g1", state))
	}
	yes := true
	for name, c := range map[string]struct {
		filter archive.Filter
		want   string
	}{
		"all":          {archive.Filter{}, "high/sp_g1/7 high/sp_g1/6 high/sp_g1/5 | high/sp_g1/4 high/sp_g1/3 high/sp_g1/2 | high/sp_g1/1"},
		"what fires":   {archive.Filter{Firing: true}, "high/sp_g1/6 high/sp_g1/4 high/sp_g1/2"},
		"times":        {archive.Filter{From: 3e6, To: 6e6}, "high/sp_g1/5 high/sp_g1/4 high/sp_g1/3"},
		"floors":       {archive.Filter{Floors: []int{0}}, "high/sp_g1/6 high/sp_g1/3"},
		"another rule": {archive.Filter{Rule: "x"}, ""},
		"late":         {archive.Filter{Late: &yes}, ""},
		"states":       {archive.Filter{States: []contract.AlertState{contract.Resolved}}, "high/sp_g1/7 high/sp_g1/5 high/sp_g1/3 | high/sp_g1/1"},
	} {
		var pages []string
		for cursor := ""; ; {
			page, next, err := a.List(c.filter, cursor, 3)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			pages = append(pages, ids(page))
			if cursor = next; next == "" {
				break
			}
		}
		if got := strings.Join(pages, " | "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	if _, _, err := a.List(archive.Filter{}, "no cursor!", 1); !errors.Is(err, archive.ErrCursor) {
		t.Errorf("got %v", err)
	}
	s, err := a.Statistics(archive.Filter{})
	if err != nil || len(s) != 1 || s[0].Alerts != 7 || s[0].Firing != 3 || s[0].Seconds != 40 || s[0].Longest != 10 {
		t.Errorf("%+v, %v", s, err)
	}
}

// What fires is written at once, what the engine remembers now and then: the two
// are brought together.
func TestRecallFollowsTheAlerts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "alerting.db")
	a := open(t, name)
	old, begun := alert(1, "sp_g1", contract.Firing), alert(2, "sp_g2", contract.Firing)
	over := alert(3, "sp_g3", contract.Firing)
	old.Device, over.Device = id(t, "sp_g1"), id(t, "sp_g3")
	gone := over
	gone.State = contract.Resolved
	keep(t, a, old, over)
	if err := a.Remember([]engine.Remembered{
		{Rule: "high", Device: old.Device, Alert: &old, Since: 1},
		{Rule: "high", Device: over.Device, Alert: &over, Since: 3},
		{Rule: "other", Device: over.Device, Since: 4},
	}); err != nil {
		t.Fatal(err)
	}
	old.State = contract.Acknowledged
	begun.Subject, begun.Gateway = "edge-f1", "edge-f1"
	keep(t, a, old, begun, gone)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := open(t, name).Recall()
	if err != nil || len(all) != 4 {
		t.Fatalf("%d, %v", len(all), err)
	}
	if r := all[0]; r.Alert == nil || r.Alert.State != contract.Acknowledged {
		t.Errorf("the first: %+v", r)
	}
	if r := all[1]; r.Alert != nil || r.Since != 0 {
		t.Errorf("what has ended: %+v", r)
	}
	if r := all[2]; r.Since != 4 {
		t.Errorf("what is pending: %+v", r)
	}
	if r := all[3]; r.Alert == nil || r.Gateway != "edge-f1" || r.Since != begun.Since {
		t.Errorf("what has begun: %+v", r)
	}
}

func id(t testing.TB, s string) device.ID {
	t.Helper()
	d, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNothingIsKeptOfATransactionThatFails(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	full := errors.New("no space left on device")
	err := a.Keep([]engine.Change{{Alert: alert(1, "sp_g1", contract.Firing)}}, func(*bbolt.Tx) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if page, _, err := a.List(archive.Filter{}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("%v, %v", page, err)
	}
}

func TestRulesAndWindowsAreKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "alerting.db")
	a := open(t, name)
	if _, revision, err := a.Rules(); err != nil || revision != 0 {
		t.Errorf("revision %d, %v", revision, err)
	}
	for want := uint64(1); want <= 2; want++ {
		if got, err := a.SetRules(rule.Defaults(), contract.Audited{Who: "ada", At: device.Micros(want)}); err != nil || got != want {
			t.Errorf("revision %d, %v", got, err)
		}
	}
	windows := []engine.Maintenance{{ID: "a", From: 1, To: 5}, {ID: "b", From: 1, To: 50}}
	if err := a.SetWindows(windows, contract.Audited{Who: "bob", At: 3}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, name)
	file, revision, err := a.Rules()
	if err != nil || revision != 2 || len(file.Rules) != len(rule.Defaults().Rules) {
		t.Errorf("%d rules at revision %d, %v", len(file.Rules), revision, err)
	}
	left, err := a.Windows(5)
	if err != nil || len(left) != 1 || left[0].ID != "b" {
		t.Errorf("%v, %v", left, err)
	}
	who, _, err := a.Audited(archive.AuditFilter{}, "", 2)
	if err != nil || len(who) != 2 || who[0].Who != "bob" || who[1].At != 2 {
		t.Errorf("%v, %v", who, err)
	}
}

func TestTheLogIsReadInPagesAndByFilter(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	for n := range device.Micros(20) {
		who := []string{"ana", "bob"}[n%2]
		if err := a.SetWindows(nil, contract.Audited{Who: who, What: "create maintenance", Object: fmt.Sprint(n), Result: "done", At: 100 + n/2}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		filter archive.AuditFilter
		want   string
	}{
		"all":                  {archive.AuditFilter{}, "19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0"},
		"by one":               {archive.AuditFilter{Who: "ana"}, "18 16 14 12 10 8 6 4 2 0"},
		"from and to":          {archive.AuditFilter{From: 102, To: 104}, "7 6 5 4"},
		"what begins so":       {archive.AuditFilter{What: "create*", Object: "1*", Result: "done"}, "19 18 17 16 15 14 13 12 11 10 1"},
		"nothing":              {archive.AuditFilter{What: "create"}, ""},
		"from behind the last": {archive.AuditFilter{From: 200}, ""},
	} {
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for cursor := ""; ; {
				page, next, err := a.Audited(c.filter, cursor, limit)
				if err != nil || len(page) > limit {
					t.Fatal(page, err)
				}
				for _, one := range page {
					got = append(got, one.Object)
				}
				if cursor = next; next == "" {
					break
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s, %d at once: %v, want %s", name, limit, got, c.want)
			}
		}
	}
	if _, _, err := a.Audited(archive.AuditFilter{}, "no cursor!", 1); !errors.Is(err, archive.ErrCursor) {
		t.Errorf("a wrong cursor: %v", err)
	}
}

func TestOldAlertsAreForgottenAndFiringOnesNever(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	keep(t, a, alert(1, "sp_g1", contract.Firing), alert(2, "sp_g1", contract.Resolved), alert(3e8, "sp_g1", contract.Resolved))
	more, err := a.Prune(time.Unix(3e8+399*86400, 0))
	if err != nil || more {
		t.Fatal(more, err)
	}
	page, _, err := a.List(archive.Filter{}, "", 10)
	if err != nil || ids(page) != "high/sp_g1/300000000 high/sp_g1/1" {
		t.Errorf("left %s, %v", ids(page), err)
	}
}

func TestADamagedFileIsMovedAside(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "alerting.db")
	if err := os.WriteFile(name, []byte(strings.Repeat("no database ", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, name)
	keep(t, a, alert(1, "sp_g1", contract.Firing))
	aside, err := filepath.Glob(name + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Errorf("aside: %v, %v", aside, err)
	}
	if _, err := archive.Open(name, quiet); !errors.Is(err, archive.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
}

// BenchmarkRecall starts with ten thousand alerts that fire.
func BenchmarkRecall(b *testing.B) {
	a := open(b, filepath.Join(b.TempDir(), "alerting.db"))
	var alerts []contract.Alert
	var all []engine.Remembered
	for n := range 10_000 {
		one := alert(n, fmt.Sprintf("sp_g%d", n), contract.Firing)
		one.Device = id(b, one.Subject)
		alerts = append(alerts, one)
		all = append(all, engine.Remembered{Rule: "high", Device: one.Device, Alert: &one})
	}
	keep(b, a, alerts...)
	if err := a.Remember(all); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := a.Recall(); err != nil || len(got) != len(all) {
			b.Fatal(len(got), err)
		}
	}
}
