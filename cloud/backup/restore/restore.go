package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
)

// Errors that a person can do something about.
var (
	ErrNotEmpty = errors.New("there are readings already")
	ErrThere    = errors.New("there are files already")
	ErrRuns     = errors.New("the cloud runs on this data directory: stop it first")
)

// Influx is the database that gets the days. Its times are in nanoseconds.
type Influx interface {
	export.Querier
	Write(ctx context.Context, database string, lines []byte) error
}

// Options say what is brought back, and where to.
type Options struct {
	Shelf  shelf.Shelf
	Keys   *form.Keys // to decrypt with; nil where nothing is encrypted
	Influx Influx     // nil: no days
	Data   string     // data directory; "": no files of roles
	Wanted shelf.Wanted
	// Databases are those that are brought back; none means all. From and To
	// bound the times of readings, To exclusive; zero means no bound. With any of
	// these there are no files of roles, and no ledger.
	Databases []string
	From, To  time.Time
	// Merge allows databases that have readings: those of the backup are added,
	// and where both have a point the backup's values count.
	Merge bool
	// Replace allows files of roles that are there and differ; they are kept
	// beside, under another name.
	Replace bool
	// SkipDamaged brings back what is whole of a backup that is damaged.
	SkipDamaged bool
	DryRun      bool
	Log         *slog.Logger
	// Say, if not nil, is told of each step in words.
	Say func(text string)
}

// Report says what was done, or in a dry run would be.
type Report struct {
	Manifest *form.Manifest
	// PassedOver are newer backups that are damaged, with the reason.
	PassedOver []string
	Damaged    []string // files that were left out
	Days       int
	Points     int64
	Expired    int      // writes with points that the database no longer keeps
	Files      []string // of roles
	Resumed    int      // days that an earlier attempt had brought back
}

// part tells whether only some readings are wanted.
func (o *Options) part() bool {
	return len(o.Databases) > 0 || !o.From.IsZero() || !o.To.IsZero()
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, args...))
	}
}

// Run brings a backup back. The caller sees to it that nobody else writes to the
// data directory.
func Run(ctx context.Context, o Options) (Report, error) {
	report, err := o.run(ctx)
	if err != nil {
		return report, fmt.Errorf("restore from %s: %w", o.Shelf.Store, err)
	}
	return report, nil
}

func (o *Options) run(ctx context.Context) (r Report, err error) {
	release, err := o.Shelf.Store.Lock(ctx)
	if err != nil {
		return r, err
	}
	defer release()
	bad, err := o.choose(ctx, &r)
	if err != nil {
		return r, err
	}
	plan, err := o.plan(ctx, &r, bad)
	if err != nil || o.DryRun {
		return r, err
	}
	return r, plan.do(ctx)
}

// choose finds the newest backup that is whole.
func (o *Options) choose(ctx context.Context, r *Report) (bad map[string]bool, err error) {
	entries, err := o.Shelf.Entries(ctx)
	if err != nil {
		return nil, err
	}
	candidates, err := o.Wanted.Candidates(entries)
	if err != nil {
		return nil, err
	}
	var first *form.Manifest // that can be read at all
	var firstBad map[string]bool
	for _, e := range candidates {
		m, err := o.Shelf.Manifest(ctx, e)
		if err != nil && !errors.Is(err, form.ErrDamaged) {
			return nil, err
		}
		if err != nil {
			o.passOver(r, e.ID, err)
			continue
		}
		bad, err := o.examine(ctx, m)
		if err != nil {
			return nil, err
		}
		if len(bad) == 0 {
			r.Manifest = m
			o.say("%s of %s is whole: %d days, %d points, %d files of roles", m.ID, m.Started.Format(time.RFC3339), len(m.Days), m.Points(), len(m.States))
			return nil, nil
		}
		o.passOver(r, e.ID, fmt.Errorf("%d files are damaged or missing, the first: %w", len(bad), bad[0].Err))
		if first == nil {
			first, firstBad = m, objects(bad)
		}
	}
	if first == nil || !o.SkipDamaged {
		return nil, fmt.Errorf("no backup is whole:\n  %s\nwhat is whole of the newest can be brought back with -skip-damaged", strings.Join(r.PassedOver, "\n  "))
	}
	o.say("%s is brought back without what is damaged", first.ID)
	r.Manifest, r.PassedOver = first, nil
	return firstBad, nil
}

func (o *Options) passOver(r *Report, id string, err error) {
	r.PassedOver = append(r.PassedOver, fmt.Sprintf("%s: %v", id, err))
	o.say("%s is damaged (%v)", id, err)
}

func objects(bad []shelf.Damage) map[string]bool {
	set := make(map[string]bool, len(bad))
	for _, b := range bad {
		set[b.File.Object] = true
	}
	return set
}

// examine reads all files that are wanted of a backup.
func (o *Options) examine(ctx context.Context, m *form.Manifest) ([]shelf.Damage, error) {
	wanted := *m
	wanted.Days, wanted.States = o.days(m), o.states(m)
	files := wanted.Files()
	o.say("checking the %d files of %s", len(files), m.ID)
	return o.Shelf.Check(ctx, files, nil)
}

// days are the wanted ones: readings first, then the rest of Wattline's own, then
// the ledger.
func (o *Options) days(m *form.Manifest) []form.Day {
	if o.Influx == nil {
		return nil
	}
	var list []form.Day
	for _, d := range m.Days {
		if o.wants(d) {
			list = append(list, d)
		}
	}
	rank := func(d form.Day) int { return slices.Index([]string{"records", "ledger"}, d.Group) }
	slices.SortStableFunc(list, func(a, b form.Day) int { return rank(a) - rank(b) })
	return list
}

func (o *Options) wants(d form.Day) bool {
	from, to, err := d.Date.Bounds()
	switch {
	case err != nil:
		return false
	case !o.part():
		return true
	case len(o.Databases) > 0 && !slices.Contains(o.Databases, d.Database):
		return false
	case d.Group != "readings" && !slices.Contains(o.Databases, d.Database):
		return false
	}
	return (o.From.IsZero() || o.From.Before(to)) && (o.To.IsZero() || o.To.After(from))
}

func (o *Options) states(m *form.Manifest) []form.State {
	if o.part() || o.Data == "" {
		return nil
	}
	return m.States
}
