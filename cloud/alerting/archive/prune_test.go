package archive_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestWhoDidWhatIsKeptAsLongAsAlerts(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	t.Cleanup(archive.Bound(20, 4))
	day := func(n int) device.Micros { return device.Micros(n) * 86400 * 1e6 }
	for n := range 40 {
		who := contract.Audited{At: day(20 * n), Who: "ada", What: "import rules"}
		if err := a.Keep(nil, func(tx *bbolt.Tx) error { return archive.Audit(tx, who) }); err != nil {
			t.Fatal(err)
		}
	}
	prune := func(days int) (left []contract.Audited) {
		t.Helper()
		for more, rounds := true, 0; more; rounds++ {
			var err error
			if more, err = a.Prune(time.Unix(int64(days)*86400, 0)); err != nil || rounds > 20 {
				t.Fatal(rounds, err)
			}
		}
		left, _, err := a.Audited(archive.AuditFilter{}, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	if left := prune(410); len(left) != 20 || left[19].At != day(400) {
		t.Errorf("%d entries are left, the oldest of %v, want the newest 20", len(left), left[len(left)-1].At.Time())
	}
	if left := prune(1001); len(left) != 9 || left[8].At != day(620) {
		t.Errorf("%d entries are left, the oldest of %v, want the 9 of the last 400 days", len(left), left[len(left)-1].At.Time())
	}
}

// What is damaged is left out; all else is there.
func TestADamagedEntryTakesNoOtherAway(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	for n := 1; n <= 3; n++ {
		keep(t, a, alert(n, "sp_g1", contract.Firing))
	}
	if _, err := a.SetRules(rule.Defaults(), contract.Audited{Who: "ada", At: 1}); err != nil {
		t.Fatal(err)
	}
	if err := a.Remember([]engine.Remembered{{Rule: "x"}}); err != nil {
		t.Fatal(err)
	}
	if err := a.DB().Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("alerts"))
		k, _ := b.Cursor().First()
		if err := b.Put(k, []byte(`{"id": "high/sp`)); err != nil {
			return err
		}
		if err := tx.Bucket([]byte("windows")).Put([]byte("w"), []byte("{")); err != nil {
			return err
		}
		if err := tx.Bucket([]byte("audit")).Put([]byte("00000000x"), []byte("{")); err != nil {
			return err
		}
		return tx.Bucket([]byte("state")).Put([]byte("engine"), []byte("["))
	}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]archive.Filter{"all": {}, "what fires": {Firing: true}} {
		if page, _, err := a.List(f, "", 0); err != nil || ids(page) != "high/sp_g1/3 high/sp_g1/2" {
			t.Errorf("%s: %s, %v", name, ids(page), err)
		}
	}
	if s, err := a.Statistics(archive.Filter{}); err != nil || len(s) != 1 || s[0].Alerts != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if all, err := a.Recall(); err != nil || len(all) != 1 {
		t.Errorf("%d are recalled, %v", len(all), err)
	}
	if all, err := a.Windows(0); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if all, _, err := a.Audited(archive.AuditFilter{}, "", 0); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// A gateway is told from the site by what the alert says, not by its name.
func TestAnAlertOfAGatewayThatIsCalledSiteIsRecalledAsItsOwn(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "alerting.db"))
	one := alert(1, "site", contract.Firing)
	one.Gateway = "site"
	keep(t, a, one)
	all, err := a.Recall()
	if err != nil || len(all) != 1 || all[0].Gateway != "site" {
		t.Errorf("%+v, %v", all, err)
	}
}
