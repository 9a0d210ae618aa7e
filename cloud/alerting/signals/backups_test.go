package signals_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/signals"
)

func TestTheAgeOfBackupsIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   map[string]float64
	}{
		"there are some":   {`{"content": {"enabled": true, "age_hours": 37.5, "verified_age_hours": 250}}`, map[string]float64{"site.backup_age": 37.5, "site.backup_verified_age": 250}},
		"none are set up":  {`{"content": {"enabled": false, "age_hours": 7, "verified_age_hours": 7}}`, map[string]float64{"site.backup_age": 0, "site.backup_verified_age": 0}},
		"a problem":        {`{"problem": {"kind": "not_now", "detail": "no"}}`, map[string]float64{}},
		"no answer at all": {`[]`, map[string]float64{}},
	} {
		asked := newComponent(t)
		asked.says("query/backup/status", c.answer, "")
		q := signals.NewQuestions(func() bool { return true }, slog.New(slog.DiscardHandler))
		got := map[string]float64{}
		for _, s := range signals.New(slog.New(slog.DiscardHandler)).TakeBackup(q.AskBackup(t.Context(), asked), 1) {
			got[s.Signal] = s.Value
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestABackupThatIsNowhereIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := newComponent(t)
		q := signals.NewQuestions(func() bool { return true }, slog.New(slog.DiscardHandler))
		for range 20 { // ten minutes
			if b := q.AskBackup(t.Context(), asked); b != nil {
				t.Errorf("%+v", b)
			}
			time.Sleep(signals.AskEvery)
		}
		if n := asked.asked["query/backup/status"]; n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}
