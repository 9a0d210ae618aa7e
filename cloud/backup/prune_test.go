package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
)

func entriesAt(times ...time.Time) (list []form.Entry) {
	for i, at := range times {
		list = append(list, form.Entry{Sequence: int64(i), ID: at.Format(time.RFC3339), Time: at})
	}
	return list
}

func TestTheNewestOfEachPeriodIsKept(t *testing.T) {
	madrid, err := time.LoadLocation("Europe/Madrid")
	if err != nil {
		t.Fatal(err)
	}
	var times []time.Time
	for at := time.Date(2024, 1, 1, 2, 0, 0, 0, madrid); at.Before(time.Date(2026, 11, 24, 12, 0, 0, 0, madrid)); at = at.AddDate(0, 0, 1) {
		times = append(times, at)
	}
	kept, gone := shelf.Keep{Last: 2, Daily: 3, Weekly: 3, Monthly: 3, Yearly: 5}.Choose(entriesAt(times...), madrid)
	var got []string
	for _, e := range kept {
		got = append(got, e.Time.In(madrid).Format(time.DateOnly))
	}
	want := []string{"2024-12-31", "2025-12-31", "2026-09-30", "2026-10-31", "2026-11-15", "2026-11-22", "2026-11-23", "2026-11-24"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(kept)+len(gone) != len(times) {
		t.Errorf("%d and %d of %d", len(kept), len(gone), len(times))
	}
	if kept, _ := (shelf.Keep{Yearly: 1}).Choose(entriesAt(times[0], times[900], times[1]), madrid); len(kept) != 1 || kept[0].Sequence != 2 {
		t.Errorf("the newest by its number is not kept when clocks went back: %v", kept)
	}
}

// history makes four backups, a day apart, each with a day of its own.
func history(t *testing.T) (s *site, dir string, all []*form.Manifest) {
	t.Helper()
	s, dir = newSite(t), filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	for i := range 4 {
		s.store(s.now.Add(-time.Duration(3-i)*24*time.Hour-time.Hour), 30, time.Minute)
		s.now = s.now.Add(time.Hour)
		all = append(all, s.run(b, false))
	}
	return s, dir, all
}

func TestPruneDeletesOnlyWhatNobodyNeeds(t *testing.T) {
	_, dir, all := history(t)
	sh := shelfOf(t, dir)
	later := time.Now().Add(48 * time.Hour)
	keep := shelf.Keep{Last: 2}
	dry, err := sh.Prune(t.Context(), keep, time.UTC, later, true)
	if err != nil || len(dry.Gone) != 2 || dry.Objects == 0 {
		t.Errorf("dry: %+v, %v", dry, err)
	}
	if entries, err := sh.Entries(t.Context()); err != nil || len(entries) != 4 {
		t.Errorf("a dry run deleted something: %v, %v", entries, err)
	}
	young, err := sh.Prune(t.Context(), shelf.Keep{Last: 4}, time.UTC, time.Now(), false)
	if err != nil || young.Objects != 0 {
		t.Errorf("what may belong to a backup that is being made: %+v, %v", young, err)
	}
	done, err := sh.Prune(t.Context(), keep, time.UTC, later, false)
	if err != nil || done.Objects != dry.Objects || done.Bytes != dry.Bytes {
		t.Errorf("%+v, %v; a dry run said %+v", done, err, dry)
	}
	for _, m := range all[2:] {
		if bad, err := sh.Check(t.Context(), m.Files(), nil); err != nil || len(bad) > 0 {
			t.Errorf("%s: %v, %v", m.ID, bad, err)
		}
	}
	needed := map[string]bool{}
	for _, m := range all[2:] {
		for _, f := range m.Files() {
			needed[f.Object] = true
		}
	}
	there, err := sh.Objects(t.Context())
	if err != nil || len(there) != len(needed) {
		t.Errorf("%d files are there, %d are needed, %v", len(there), len(needed), err)
	}
}

func TestPruneDeletesNothingWhenTheNewestIsBad(t *testing.T) {
	s, dir, all := history(t)
	sh := shelfOf(t, dir)
	later, keep := time.Now().Add(48*time.Hour), shelf.Keep{Last: 1}
	path := filepath.Join(dir, filepath.FromSlash(all[3].Days[0].File.Name()))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := sh.Prune(t.Context(), keep, time.UTC, later, false); !errors.Is(err, shelf.ErrNoneGood) {
		t.Errorf("the newest is damaged: %v", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	// InfluxDB has lost nearly everything, and nobody has noticed.
	for _, name := range []string{"sp", "wattline"} {
		if err := s.influx.Exec(t.Context(), name, "DROP DATABASE "+name); err != nil {
			t.Fatal(err)
		}
	}
	s.run(s.backups(dir), true)
	p, err := sh.Prune(t.Context(), keep, time.UTC, later, false)
	if err != nil || p.Note == "" || len(p.Gone) > 0 {
		t.Errorf("the newest has next to nothing: %+v, %v", p, err)
	}
	if entries, err := sh.Entries(t.Context()); err != nil || len(entries) != 5 {
		t.Errorf("%d backups are left, %v", len(entries), err)
	}
}

func TestADamagedManifestKeepsTheFilesThatItMayNeed(t *testing.T) {
	_, dir, all := history(t)
	sh := shelfOf(t, dir)
	entries, err := sh.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, filepath.FromSlash(entries[2].Name)), 20); err != nil {
		t.Fatal(err)
	}
	before, err := sh.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := sh.Prune(t.Context(), shelf.Keep{Last: 2}, time.UTC, time.Now().Add(48*time.Hour), false)
	if err != nil || p.Note == "" {
		t.Errorf("%+v, %v", p, err)
	}
	after, err := sh.Objects(t.Context())
	if err != nil || len(after) != len(before) {
		t.Errorf("%d files are left of %d, %v", len(after), len(before), err)
	}
	if bad, err := sh.Check(t.Context(), all[3].Files(), nil); err != nil || len(bad) > 0 {
		t.Errorf("%v, %v", bad, err)
	}
}
