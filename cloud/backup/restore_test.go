package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/influx"
)

// linesOf are the lines of a database whose time is in a range.
func linesOf(all map[string]string, database string, from, to time.Time) (some []string) {
	for line := range strings.Lines(all[database]) {
		var at int64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:], &at); err != nil {
			panic(err)
		}
		if at >= from.UnixNano() && at < to.UnixNano() {
			some = append(some, line)
		}
	}
	return some
}

func TestOneDatabaseOfOneTimeIsBroughtBackIntoARunningOne(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	day := s.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -5)
	s.store(day.Add(20*time.Hour), 600, time.Minute) // over midnight
	s.write("other", fmt.Sprintf("x value=1 %d\n", day.UnixMicro()))
	s.run(s.backups(dir), false)
	want := points(t, s.influx)
	from, to := day.Add(23*time.Hour), day.Add(25*time.Hour)
	// Somebody has spoilt two hours, and there is something new.
	if err := s.influx.Exec(t.Context(), "sp", fmt.Sprintf("DELETE WHERE time >= %d AND time < %d", from.UnixNano(), to.UnixNano())); err != nil {
		t.Fatal(err)
	}
	s.write("sp", fmt.Sprintf("power,id=new value=7 %d\n", day.UnixMicro()))
	o := restore.Options{Shelf: shelfOf(t, dir), Influx: s.influx, Data: s.data, Log: discard, Databases: []string{"sp"}, From: from, To: to}
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, restore.ErrNotEmpty) || !strings.Contains(err.Error(), "-merge") {
		t.Errorf("without a word: %v", err)
	}
	o.Merge, o.DryRun = true, true
	dry, err := restore.Run(t.Context(), o)
	if err != nil || dry.Days != 2 || len(dry.Files) > 0 || len(linesOf(points(t, s.influx), "sp", from, to)) > 0 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	o.DryRun = false
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := points(t, s.influx)
	if diff := cmp.Diff(linesOf(want, "sp", from, to), linesOf(got, "sp", from, to)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(got["sp"], "power,id=new value=7 ") {
		t.Error("what was new is gone")
	}
}

func TestTheBackupOfATimeIsBroughtBack(t *testing.T) {
	_, dir, all := history(t)
	for name, c := range map[string]struct {
		wanted shelf.Wanted
		want   int
	}{
		"newest": {shelf.Wanted{}, 3}, "by id": {shelf.Wanted{ID: all[1].ID}, 1},
		"at its time": {shelf.Wanted{At: all[2].Started}, 2}, "before the next": {shelf.Wanted{At: all[3].Started.Add(-time.Minute)}, 2},
	} {
		o, _ := empty(t, dir)
		o.Wanted, o.DryRun = c.wanted, true
		if r, err := restore.Run(t.Context(), o); err != nil || r.Manifest.ID != all[c.want].ID {
			t.Errorf("%s: %v, %+v", name, err, r.Manifest)
		}
	}
	for _, w := range []shelf.Wanted{{ID: "20200101T000000Z-00000000"}, {At: all[0].Started.AddDate(-1, 0, 0)}} {
		o, _ := empty(t, dir)
		o.Wanted = w
		if _, err := restore.Run(t.Context(), o); !errors.Is(err, shelf.ErrNoBackup) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestWhatIsWholeOfADamagedBackupCanBeBroughtBack(t *testing.T) {
	s := newSite(t)
	s.settle()
	dir := filepath.Join(t.TempDir(), "store")
	for i := range 3 {
		s.store(s.now.AddDate(0, 0, -3-i), 50, time.Minute)
	}
	m := s.run(s.backups(dir), false)
	var bad form.Day
	for _, d := range m.Days {
		if d.Group == "readings" {
			bad = d
		}
	}
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(bad.File.Name()))); err != nil {
		t.Fatal(err)
	}
	o, db := empty(t, dir)
	if _, err := restore.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "-skip-damaged") || !strings.Contains(err.Error(), m.ID) {
		t.Errorf("without a word: %v", err)
	}
	if left := points(t, db); len(left) > 0 {
		t.Errorf("%d databases were made", len(left))
	}
	o.SkipDamaged = true
	r, err := restore.Run(t.Context(), o)
	if err != nil || len(r.Damaged) != 1 || r.Damaged[0] != bad.Key() || r.Points != m.Points()-bad.Points() {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(objects(t, s.data), objects(t, o.Data)); diff != "" {
		t.Error(diff)
	}
}

// reluctant is an InfluxDB that cannot at times.
type reluctant struct {
	restore.Influx
	left int
}

func (r *reluctant) Write(ctx context.Context, database string, lines []byte) error {
	if r.left--; r.left >= 0 {
		return &influx.Error{Op: "write", Status: 503}
	}
	return r.Influx.Write(ctx, database, lines)
}

func TestAnInfluxDBThatCannotAtTheMomentIsWaitedFor(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	s.store(s.now.AddDate(0, 0, -3), 50, time.Minute)
	s.run(s.backups(dir), false)
	o, db := empty(t, dir)
	o.Influx = &reluctant{db, 2}
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(points(t, s.influx), points(t, db)); diff != "" {
		t.Error(diff)
	}
}

// The notes of an earlier attempt are no proof: the database may be another.
func TestNotesOfAnotherDatabaseAreNotBelieved(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	for i := range 3 {
		s.store(s.now.AddDate(0, 0, -3-i), 50, time.Minute)
	}
	m := s.run(s.backups(dir), false)
	o, db := empty(t, dir)
	var notes strings.Builder
	for _, d := range m.Days {
		fmt.Fprintf(&notes, "%s %s\n", d.Key(), d.File.Object)
	}
	if err := os.MkdirAll(filepath.Join(o.Data, "backup"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Data, "backup", "restore-"+m.ID+".journal"), []byte(notes.String()+"half a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := restore.Run(t.Context(), o)
	if err != nil || r.Resumed != len(m.Days) {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(points(t, s.influx), points(t, db)); diff != "" {
		t.Error(diff)
	}
}
