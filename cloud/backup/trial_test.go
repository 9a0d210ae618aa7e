package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/trial"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

// forgetful is an InfluxDB that says yes, and has one write less than it was given
// or another value.
type forgetful struct {
	restore.Influx
	spoil func(lines string) string
}

func (f forgetful) Write(ctx context.Context, database string, lines []byte) error {
	if database == "sp" {
		lines = []byte(f.spoil(string(lines)))
	}
	return f.Influx.Write(ctx, database, lines)
}

func TestATrialShowsThatABackupComesBack(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	for i := range 3 {
		s.store(s.now.AddDate(0, 0, -3-i), 100, time.Minute)
	}
	m := s.run(s.backups(dir), false)
	as := func(spoil func(string) string) trial.Options {
		return trial.Options{
			Shelf: shelfOf(t, dir), Dir: filepath.Join(t.TempDir(), "trial"), Log: discard,
			Scratch: func(ctx context.Context, dir string) (restore.Influx, func(), error) {
				cfg := influxtest.Config(t)
				cfg.Dir = dir
				d, err := influxd.Start(ctx, cfg, discard)
				if err != nil {
					return nil, nil, err
				}
				return forgetful{connect(t, &influxtest.Server{URL: d.URL(), Token: d.Token()}, influx.InNanoseconds()), spoil}, d.Close, nil
			},
		}
	}
	same := as(func(lines string) string { return lines })
	got, err := trial.Run(t.Context(), same)
	if err != nil || got.Backup != m.ID || got.Points != m.Points() || got.Days != len(m.Days) {
		t.Errorf("%+v, %v; the backup is %s with %d points", got, err, m.ID, m.Points())
	}
	if _, err := os.Stat(same.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left of it: %v", err)
	}
	if _, err := trial.Run(t.Context(), as(func(lines string) string { return strings.Replace(lines, "=3.5 ", "=4.5 ", 1) })); !errors.Is(err, trial.ErrDiffers) || !strings.Contains(err.Error(), "sp/readings/") {
		t.Errorf("with another value: %v", err)
	}
	if _, err := trial.Run(t.Context(), as(func(lines string) string { return lines[strings.IndexByte(lines, '\n')+1:] })); err == nil || !strings.Contains(err.Error(), "has less than the backup") {
		t.Errorf("with a point less: %v", err)
	}
	crowded := same
	crowded.Free = func(string) (int64, error) { return 300 << 20 / 2, nil }
	if _, err := trial.Run(t.Context(), crowded); !errors.Is(err, trial.ErrNoRoom) {
		t.Errorf("without room: %v", err)
	}
	object := filepath.Join(dir, filepath.FromSlash(m.Days[0].File.Name()))
	content, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1 // as disks forget; its length says nothing
	if err := os.WriteFile(object, content, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = trial.Run(t.Context(), same)
	if err == nil || !strings.Contains(err.Error(), "damaged") || !slices.Equal(got.Damaged, []string{m.Days[0].File.Object}) {
		t.Errorf("of a damaged backup: %v, %v", err, got.Damaged)
	}
	// What is known to be damaged is copied again.
	if err := backup.MarkDamaged(s.data, got.Damaged); err != nil {
		t.Fatal(err)
	}
	s.run(s.backups(dir), false)
	if _, err := trial.Run(t.Context(), same); err != nil {
		t.Errorf("after another backup: %v", err)
	}
}
