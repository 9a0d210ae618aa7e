package duty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/trial"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

// Maker makes backups; *backup.Backup is one.
type Maker interface {
	Run(ctx context.Context, full bool) (*form.Manifest, error)
	Progress() backup.Progress
}

// Options are what the role works with.
type Options struct {
	// Maker is nil where no backups are set up.
	Maker Maker
	Shelf shelf.Shelf
	Prune func(ctx context.Context) (shelf.Pruned, error)
	Trial func(ctx context.Context) (trial.Result, error)
	Data  string // directory
	// Next tells when the next backup and the next trial are; may be nil.
	Next    func() (made, tried time.Time)
	Metrics *metrics.Registry // may be nil
	Log     *slog.Logger
	// Now is the wall clock; nil: the real one.
	Now func() time.Time
}

// Duty is the role. Safe for concurrent use.
type Duty struct {
	o             Options
	made, tried   chan struct{} // somebody asks for it
	runs, failed  *metrics.Counter
	trials, wrong *metrics.Counter
	busy          chan struct{} // holds a value while something is done

	mu    sync.Mutex // protects the fields below
	notes notes
	full  bool
	doing string
}

// notes are what outlives the role.
type notes struct {
	Since    device.Micros `json:"since"` // that backups are set up
	Last     *Outcome      `json:"last,omitempty"`
	Good     *Outcome      `json:"good,omitempty"`
	Tried    *Outcome      `json:"tried,omitempty"`
	Verified *Outcome      `json:"verified,omitempty"`
}

// Outcome is how a backup or a trial went.
type Outcome struct {
	Backup string        `json:"backup,omitempty"`
	Began  device.Micros `json:"began"`
	Ended  device.Micros `json:"ended"`
	Days   int           `json:"days,omitempty"`
	Points int64         `json:"points,omitempty"`
	// New are the bytes that the store did not have.
	New   int64  `json:"new_bytes,omitempty"`
	Error string `json:"error,omitempty"`
	Note  string `json:"note,omitempty"`
}

const notesFile = "duty.json"

// New reads what is known from before.
func New(o Options) (*Duty, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Duty{
		o: o, made: make(chan struct{}, 1), tried: make(chan struct{}, 1), busy: make(chan struct{}, 1),
		runs:   o.Metrics.Counter("wattline_backup_runs_total", "Backups that were begun."),
		failed: o.Metrics.Counter("wattline_backup_failed_total", "Backups that failed."),
		trials: o.Metrics.Counter("wattline_backup_trials_total", "Trial restores that were begun."),
		wrong:  o.Metrics.Counter("wattline_backup_trials_failed_total", "Trial restores that failed."),
	}
	if o.Maker == nil {
		return d, nil
	}
	text, err := os.ReadFile(d.path())
	if err == nil {
		err = json.Unmarshal(text, &d.notes)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.Log.Error("what was known of backups cannot be read; it begins anew", slog.String("file", d.path()), slog.Any("err", err))
		d.notes = notes{}
	}
	if d.notes.Since == 0 {
		d.notes.Since = device.MicrosOf(o.Now())
		if err := d.save(); err != nil {
			return nil, err
		}
	}
	o.Metrics.GaugeFunc("wattline_backup_age_seconds", "Time since the newest good backup, or since backups were set up.", func() float64 { return d.age(d.good()) })
	o.Metrics.GaugeFunc("wattline_backup_verified_age_seconds", "Time since a backup was last restored for trial, or since backups were set up.", func() float64 { return d.age(d.verified()) })
	o.Metrics.GaugeFunc("wattline_backup_days", "Days that the present backup, or the last one, has to read.", func() float64 { return float64(o.Maker.Progress().Days) })
	o.Metrics.GaugeFunc("wattline_backup_days_done", "Days that it has read.", func() float64 { return float64(o.Maker.Progress().Done) })
	o.Metrics.GaugeFunc("wattline_backup_new_bytes", "Bytes that it has put into the store.", func() float64 { return float64(o.Maker.Progress().NewBytes) })
	return d, nil
}

func (d *Duty) path() string { return filepath.Join(d.o.Data, backup.Folder, notesFile) }

// save writes the notes; the caller holds mu, or is alone.
func (d *Duty) save() error {
	text, err := json.MarshalIndent(d.notes, "", "  ")
	if err == nil {
		err = backup.WriteFile(d.path(), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note how backups went: %w", err)
	}
	return nil
}

func (d *Duty) note(change func(n *notes)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.notes)
	if err := d.save(); err != nil {
		d.o.Log.Error("it is not kept how a backup went", slog.Any("err", err))
	}
}

func (d *Duty) good() *Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notes.Good
}

func (d *Duty) verified() *Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notes.Verified
}

// age is how long ago something was, in seconds; what never was counts since
// backups were set up.
func (d *Duty) age(o *Outcome) float64 {
	d.mu.Lock()
	since := d.notes.Since
	d.mu.Unlock()
	if o != nil {
		since = o.Ended
	}
	return max(0, float64(device.MicrosOf(d.o.Now())-since)/1e6)
}

// LastMade is when a backup was last made; zero: never.
func (d *Duty) LastMade() time.Time { return endOf(d.good()) }

// LastTried is when one was last restored for trial; zero: never.
func (d *Duty) LastTried() time.Time { return endOf(d.verified()) }

func endOf(o *Outcome) time.Time {
	if o == nil {
		return time.Time{}
	}
	return time.UnixMicro(int64(o.Ended))
}

// Wanted is sent to when somebody asks for a backup, or for a trial.
func (d *Duty) Wanted() (made, tried <-chan struct{}) { return d.made, d.tried }

// take waits until nothing else is done.
func (d *Duty) take(ctx context.Context, doing string) error {
	select {
	case d.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.mu.Lock()
	d.doing = doing
	d.mu.Unlock()
	return nil
}

func (d *Duty) giveBack() {
	d.mu.Lock()
	d.doing = ""
	d.mu.Unlock()
	<-d.busy
}

// Make makes a backup, and deletes what is not kept any more.
func (d *Duty) Make(ctx context.Context) error {
	if err := d.take(ctx, "backup"); err != nil {
		return err
	}
	defer d.giveBack()
	d.mu.Lock()
	full := d.full
	d.full = false
	d.mu.Unlock()
	d.runs.Inc()
	out := Outcome{Began: device.MicrosOf(d.o.Now())}
	m, err := d.o.Maker.Run(ctx, full)
	if err != nil {
		d.failed.Inc()
		out.Error = err.Error()
	} else {
		out.Backup, out.Days, out.Points, out.New = m.ID, len(m.Days), m.Points(), d.o.Maker.Progress().NewBytes
		out.Note = d.prune(ctx)
	}
	out.Ended = device.MicrosOf(d.o.Now())
	d.note(func(n *notes) {
		n.Last = &out
		if err == nil {
			n.Good = &out
		}
	})
	if err != nil {
		d.o.Log.ErrorContext(ctx, "backup failed; the last good one is as it was", slog.Any("err", err))
		return err
	}
	d.o.Log.InfoContext(ctx, "backup made", slog.String("backup", out.Backup), slog.Int("days", out.Days), slog.Int64("new_bytes", out.New),
		slog.Duration("duration", time.Duration(out.Ended-out.Began)*time.Microsecond))
	return nil
}

// prune says in words what it could not do: the backup is good all the same.
func (d *Duty) prune(ctx context.Context) string {
	p, err := d.o.Prune(ctx)
	switch {
	case err != nil:
		d.o.Log.ErrorContext(ctx, "old backups were not deleted", slog.Any("err", err))
		return "old backups were not deleted: " + err.Error()
	case p.Note != "":
		d.o.Log.ErrorContext(ctx, "old backups were not deleted", slog.String("why", p.Note))
	case len(p.Gone) > 0:
		d.o.Log.InfoContext(ctx, "old backups deleted", slog.Int("backups", len(p.Gone)), slog.Int("files", p.Objects))
	}
	return p.Note
}

// Try restores the newest backup for trial.
func (d *Duty) Try(ctx context.Context) error {
	if err := d.take(ctx, "trial"); err != nil {
		return err
	}
	defer d.giveBack()
	d.trials.Inc()
	out := Outcome{Began: device.MicrosOf(d.o.Now())}
	r, err := d.o.Trial(ctx)
	out.Backup, out.Days, out.Points, out.Ended = r.Backup, r.Days, r.Points, device.MicrosOf(d.o.Now())
	if err != nil {
		d.wrong.Inc()
		out.Error = err.Error()
	}
	d.note(func(n *notes) {
		n.Tried = &out
		if err == nil {
			n.Verified = &out
		}
	})
	if err != nil {
		d.o.Log.ErrorContext(ctx, "the newest backup was not restored for trial", slog.Any("err", err))
		return err
	}
	d.o.Log.InfoContext(ctx, "backup restored for trial", slog.String("backup", out.Backup), slog.Int64("points", out.Points))
	return nil
}
