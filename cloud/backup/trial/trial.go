// Package trial restores a backup into an InfluxDB that is there for this only, and
// compares what comes out with what went in: a backup that was never restored is a
// hope.
package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
)

// Scratch starts an empty InfluxDB in a directory; stop ends it.
type Scratch func(ctx context.Context, dir string) (db restore.Influx, stop func(), err error)

// Options are what a trial works with.
type Options struct {
	Shelf   shelf.Shelf
	Keys    *form.Keys
	Scratch Scratch
	// Dir is made for the trial and removed after it, with all below it.
	Dir string
	Log *slog.Logger
	// Free tells how many bytes are free below a directory; nil: asks the system.
	Free func(dir string) (int64, error)
	Say  func(string) // may be nil
}

// ErrDiffers means that a restored backup is not what was copied.
var ErrDiffers = errors.New("the restored readings are not those that were copied")

// Result is what a trial found.
type Result struct {
	Backup string        `json:"backup"`
	Days   int           `json:"days"`
	Points int64         `json:"points"`
	Took   time.Duration `json:"-"`
	// Damaged are objects of the backup that are not what was written.
	Damaged []string `json:"damaged,omitempty"`
	// Differ are days that came back as something else, in words.
	Differ []string `json:"differ,omitempty"`
}

// Run restores the newest backup and reads every day again: counts, times and
// digests of each measurement must be those of the manifest. The newest backup
// itself must be whole; a trial does not fall back.
func Run(ctx context.Context, o Options) (r Result, err error) {
	begin := time.Now()
	entries, err := o.Shelf.Entries(ctx)
	if err != nil {
		return r, fmt.Errorf("trial restore: %w", err)
	}
	if len(entries) == 0 {
		return r, fmt.Errorf("trial restore: %w", shelf.ErrNoBackup)
	}
	r.Backup = entries[len(entries)-1].ID
	if err := os.RemoveAll(o.Dir); err != nil { // what a kill left
		return r, fmt.Errorf("trial restore: %w", err)
	}
	if err := o.examine(ctx, entries[len(entries)-1], &r); err != nil {
		return r, fmt.Errorf("trial restore of %s: %w", r.Backup, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	db, stop, err := o.Scratch(ctx, o.Dir)
	if err != nil {
		return r, fmt.Errorf("trial restore: start an InfluxDB for it: %w", err)
	}
	defer stop()
	report, err := restore.Run(ctx, restore.Options{
		Shelf: o.Shelf, Keys: o.Keys, Influx: db, Wanted: shelf.Wanted{ID: r.Backup}, Log: o.Log, Say: o.Say,
	})
	if err != nil {
		return r, fmt.Errorf("trial restore: %w", err)
	}
	r.Days, r.Points = report.Days, report.Points
	if err := r.compare(ctx, db, report.Manifest); err != nil {
		return r, fmt.Errorf("trial restore: %w", err)
	}
	if r.Took = time.Since(begin); len(r.Differ) > 0 {
		return r, fmt.Errorf("trial restore of %s: %w: %d days, the first: %s", r.Backup, ErrDiffers, len(r.Differ), r.Differ[0])
	}
	return r, nil
}

// Of what a trial takes, at most, roughly: InfluxDB needs a third of it.
const (
	bytesPerPoint = 16
	bytesAtLeast  = 256 << 20
)

// examine reads the files of the backup, and makes sure that there is room: a trial
// must not fill the disk of those who work.
func (o *Options) examine(ctx context.Context, e form.Entry, r *Result) error {
	m, err := o.Shelf.Manifest(ctx, e)
	if err != nil {
		return err
	}
	bad, err := o.Shelf.Check(ctx, m.Files(), nil)
	if err != nil {
		return err
	}
	for _, d := range bad {
		r.Damaged = append(r.Damaged, d.File.Object)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d files are damaged or missing, the first: %w", len(bad), bad[0].Err)
	}
	free := o.Free
	if free == nil {
		free = freeBelow
	}
	room, err := free(filepath.Dir(o.Dir))
	if need := m.Points()*bytesPerPoint + bytesAtLeast; err == nil && room < need {
		err = fmt.Errorf("%w: it takes up to %d MB below %s, and %d MB are free", ErrNoRoom, need>>20, filepath.Dir(o.Dir), room>>20)
	}
	return err
}

// ErrNoRoom means that a trial might fill the disk.
var ErrNoRoom = errors.New("there is no room for a trial")

func freeBelow(dir string) (int64, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look how much room %s has: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil //nolint:gosec // disks of 8 exabytes are not made
}

// compare reads all days of the manifest from a database that has nothing else.
func (r *Result) compare(ctx context.Context, db export.Querier, m *form.Manifest) error {
	schemas := make(map[string][]export.Measurement)
	for _, d := range m.Days {
		if _, known := schemas[d.Database]; !known {
			schema, err := export.Schema(ctx, db, d.Database)
			if err != nil {
				return err
			}
			schemas[d.Database] = schema
		}
		from, to, err := d.Date.Bounds()
		if err != nil {
			return err
		}
		wanted := slices.DeleteFunc(slices.Clone(schemas[d.Database]), func(x export.Measurement) bool {
			return !slices.ContainsFunc(d.Parts, func(p form.Part) bool { return p.Measurement == x.Name })
		})
		parts, err := export.Day(ctx, db, d.Database, wanted, from, to, io.Discard, nil)
		if err != nil {
			return err
		}
		if !slices.Equal(parts, d.Parts) {
			r.Differ = append(r.Differ, fmt.Sprintf("%s: %+v, want %+v", d.Key(), parts, d.Parts))
		}
	}
	return nil
}
