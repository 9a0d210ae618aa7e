package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// spool is where files grow before they go into the store.
const spool = "spool"

// Influx is the database that is copied. Its times are in nanoseconds.
type Influx interface {
	export.Querier
	Ping(ctx context.Context) (version string, err error)
}

// Feed tells what was added to the ledger; *ledger.Feed is one.
type Feed interface {
	Start(ctx context.Context, from device.Micros) (json.RawMessage, error)
	Next(ctx context.Context, position json.RawMessage, most int) ([]contract.Added, json.RawMessage, error)
}

// States gives the files of the roles, each as it was at one moment. What cannot
// be given is an error, but a role that has no file gives none.
type States interface {
	Each(ctx context.Context, secrets bool, take func(role, path string, secret bool, content io.Reader) error) error
}

// Options are what a backup works with.
type Options struct {
	Store  store.Store
	Influx Influx
	Feed   Feed
	States States
	// Data is the site's data directory; below it are the notes of backups.
	Data string
	// Site is asked at each backup, and shown to people who look for one.
	Site    func(ctx context.Context) (contract.Site, error)
	Version string // of the program
	Log     *slog.Logger
	// Now is the wall clock; nil: the real one.
	Now func() time.Time
}

// Backup makes the backups of a site, one at a time.
type Backup struct {
	Options
	config Config
	keys   *form.Keys
	shelf  shelf.Shelf

	mu       sync.Mutex // protects progress
	progress Progress
}

// Progress is how far a run is.
type Progress struct {
	Doing   string    `json:"doing"` // in words; "" when nothing runs
	Started time.Time `json:"started"`
	// Days that were read and are to be read; Points and Bytes that were.
	Done   int   `json:"days_done"`
	Days   int   `json:"days"`
	Points int64 `json:"points"`
	Bytes  int64 `json:"bytes"`
	// New are the files that the store did not have, and what they take.
	New      int   `json:"new_files"`
	NewBytes int64 `json:"new_bytes"`
}

// New prepares backups; it touches nothing yet.
func New(cfg Config, o Options) (*Backup, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	keys, err := form.ParseRecipients(cfg.Recipients)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Backup{Options: o, config: cfg, keys: keys, shelf: shelf.Shelf{Store: o.Store}}, nil
}

// Progress tells how far the present run is, or the last one came. Safe for
// concurrent use.
func (b *Backup) Progress() Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.progress
}

func (b *Backup) note(change func(p *Progress)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.progress)
}

func (b *Backup) doing(what string) { b.note(func(p *Progress) { p.Doing = what }) }

// Run makes a backup. full reads every day, whether it has changed or not. When it
// fails, the backups before are as they were, and what was already copied need not
// be copied again.
func (b *Backup) Run(ctx context.Context, full bool) (*form.Manifest, error) {
	release, err := b.Store.Lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("make a backup: %w", err)
	}
	defer release()
	b.note(func(p *Progress) { *p = Progress{Doing: "looking at what there is", Started: b.Now()} })
	defer b.doing("")
	site, err := b.Site(ctx)
	if err != nil {
		return nil, fmt.Errorf("make a backup: %w", err)
	}
	home, err := b.claim(ctx, site.Name)
	if err != nil {
		return nil, fmt.Errorf("make a backup: %w", err)
	}
	r, err := b.begin(ctx, home, site, full)
	if err != nil {
		return nil, fmt.Errorf("make a backup: %w", err)
	}
	defer os.RemoveAll(r.spool)
	if err := r.run(ctx); err != nil {
		return nil, fmt.Errorf("make a backup: %w", err)
	}
	home.Damaged = nil
	return r.manifest, home.Save(b.Data)
}

// claim makes sure that the store is this site's, and the one it was.
func (b *Backup) claim(ctx context.Context, name string) (Home, error) {
	home, isNew, err := LoadHome(b.Data)
	if err != nil {
		return home, err
	}
	marker, err := b.shelf.Marker(ctx)
	known := home.Stores[b.Store.String()]
	switch {
	case errors.Is(err, store.ErrMissing) && known != "":
		return home, fmt.Errorf("the store %s is empty, and it was not before: is its disk mounted? To begin it anew, delete %s from %s", b.Store, known, filepath.Join(b.Data, Folder, homeFile))
	case errors.Is(err, store.ErrMissing):
		// Who we are is kept first: a store whose site nobody knows is of no use.
		if err := home.Save(b.Data); err != nil {
			return home, err
		}
		marker = form.Marker{Format: form.Version, Store: draw(8), Site: home.Site, Name: name, Since: b.Now().UTC()}
		if err := b.shelf.Mark(ctx, marker); err != nil {
			return home, err
		}
	case err != nil:
		return home, err
	case marker.Site != home.Site:
		said := "take another directory for this site"
		if isNew {
			said += ", or, if it is the same site, restore it first, or adopt the store with wattline-cloud backup -adopt"
		}
		return home, fmt.Errorf("%w: %s has the backups of %q since %s; %s", shelf.ErrOtherSite, b.Store, marker.Name, marker.Since.Format(time.DateOnly), said)
	}
	home.Stores[b.Store.String()] = marker.Store
	return home, home.Save(b.Data)
}

// Adopt makes the store this site's own, whose notes of it were lost.
func (b *Backup) Adopt(ctx context.Context) (form.Marker, error) {
	marker, err := b.shelf.Marker(ctx)
	if err != nil {
		return marker, fmt.Errorf("adopt the store: %w", err)
	}
	home, _, err := LoadHome(b.Data)
	if err != nil {
		return marker, err
	}
	home = home.Renew(marker.Site)
	home.Stores[b.Store.String()] = marker.Store
	return marker, home.Save(b.Data)
}

// run is one backup being made.
type run struct {
	*Backup
	manifest *form.Manifest
	basis    *form.Manifest      // unchanged days are its; nil in a full backup
	known    map[string]form.Day // days of the newest backup that can be read with the same keys
	objects  map[string]int64    // that the store has
	days     map[string]form.Day
	fresh    []form.File // written by this run
	cutoff   time.Time   // of the ledger
	pace     *export.Rate
	spool    string
}

// settled is how old an entry of the ledger is that is copied: a younger one may
// still be under way, and would be copied in part.
const settled = time.Minute

func (b *Backup) begin(ctx context.Context, home Home, site contract.Site, full bool) (*run, error) {
	now := b.Now().UTC()
	r := &run{
		Backup: b, known: make(map[string]form.Day), days: make(map[string]form.Day), cutoff: now.Add(-settled),
		pace: &export.Rate{PerSecond: b.config.PointsPerSecond}, spool: filepath.Join(b.Data, Folder, spool),
	}
	// What a killed run left there.
	if err := errors.Join(os.RemoveAll(r.spool), os.MkdirAll(r.spool, 0o700)); err != nil {
		return nil, err
	}
	version, err := b.Influx.Ping(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := b.shelf.Entries(ctx)
	if err != nil {
		return nil, err
	}
	if r.objects, err = b.shelf.Objects(ctx); err != nil {
		return nil, err
	}
	for _, object := range home.Damaged {
		delete(r.objects, object)
	}
	r.manifest = &form.Manifest{
		Format: form.Version, ID: form.NewID(now, draw(4)), Sequence: 1, Site: home.Site, Line: home.Line, SiteInfo: site, Started: now,
		Wattline: b.Version, InfluxDB: version, LedgerUntil: r.cutoff, Encrypted: b.keys.Names(),
	}
	if len(entries) > 0 {
		r.manifest.Sequence = entries[len(entries)-1].Sequence + 1
	}
	r.lookBack(ctx, entries, full)
	return r, nil
}

// lookBack finds the newest backup that can be read, whose unchanged days are
// taken over.
func (r *run) lookBack(ctx context.Context, entries []form.Entry, full bool) {
	for _, e := range slices.Backward(entries) {
		before, err := r.shelf.Manifest(ctx, e)
		if err != nil {
			r.Log.ErrorContext(ctx, "a backup cannot be read; the one before it is what this one builds on", slog.String("backup", e.ID), slog.Any("err", err))
			continue
		}
		if !slices.Equal(before.Encrypted, r.manifest.Encrypted) {
			return // what others can read is written anew
		}
		for _, d := range before.Days {
			r.known[d.Key()] = d
		}
		if before.Line != r.manifest.Line {
			r.Log.WarnContext(ctx, "the newest backup is of another life of this site, so every day is read: it was restored since, or two clouds use one store",
				slog.String("backup", before.ID))
		}
		if !full && before.Line == r.manifest.Line {
			r.basis, r.manifest.Basis, r.manifest.Surveyed = before, before.ID, before.Surveyed
		}
		return
	}
}

func (r *run) run(ctx context.Context) error {
	position, touched, err := r.begun(ctx)
	if err != nil {
		return err
	}
	if err := r.ledger(ctx, touched.entered); err != nil {
		return err
	}
	if r.lost() {
		r.Log.ErrorContext(ctx, "the ledger has less than the last backup of it: InfluxDB has lost something, or an older state was brought back; every day is read anew",
			slog.String("backup", r.basis.ID))
		r.basis, r.manifest.Basis = nil, ""
		clear(r.days)
		return r.run(ctx)
	}
	// What the ledger says by now was stored before, so that it is read below.
	if position, err = r.follow(ctx, position, touched); err != nil {
		return err
	}
	r.manifest.Position = position
	if err := r.readings(ctx, touched); err != nil {
		return err
	}
	if err := r.states(ctx); err != nil {
		return err
	}
	if err := r.leftOut(ctx); err != nil {
		return err
	}
	return r.finish(ctx)
}

// finish reads back what is new, and lets the backup be.
func (r *run) finish(ctx context.Context) error {
	r.doing("checking what was written")
	bad, err := r.shelf.Check(ctx, r.fresh, nil)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d new files are not what was written: %w", len(bad), len(r.fresh), bad[0].Err)
	}
	for _, d := range r.days {
		r.manifest.Days = append(r.manifest.Days, d)
	}
	slices.SortFunc(r.manifest.Days, compareDays)
	r.manifest.Finished = r.Now().UTC()
	_, err = r.shelf.Add(ctx, r.manifest)
	return err
}

// leftOut says what the backup does not have.
func (r *run) leftOut(ctx context.Context) error {
	add := func(format string, args ...any) {
		r.manifest.LeftOut = append(r.manifest.LeftOut, fmt.Sprintf(format, args...))
	}
	if len(r.manifest.Encrypted) == 0 {
		add("secrets: the key of the site's authority and the configuration, because the backup is not encrypted; without that key every gateway enrols again")
	}
	add("readings that gateways had not delivered by %s; they deliver them to the restored site", r.manifest.Started.Format(time.RFC3339))
	add("entries of the ledger since %s", r.cutoff.Format(time.RFC3339))
	add("readings of sources that ask for no receipt, when they came more than %v late and since the count of all days of %s", overlap, r.manifest.Surveyed.Format(time.RFC3339))
	add("InfluxDB's users, retention policies and continuous queries")
	names, err := export.Databases(ctx, r.Influx)
	if err != nil {
		return err
	}
	for _, name := range names {
		others, err := export.Policies(ctx, r.Influx, name)
		if err != nil {
			return err
		}
		for _, policy := range others {
			add("the points of %s in the retention policy %q, which is not its default", name, policy)
		}
	}
	return nil
}
