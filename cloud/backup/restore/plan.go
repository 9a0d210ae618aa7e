package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
)

// plan is what is going to be done.
type plan struct {
	*Options
	report  *Report
	days    []form.Day
	states  []form.State
	journal *journal
}

// plan looks at what is there, and refuses what would destroy it.
func (o *Options) plan(ctx context.Context, r *Report, bad map[string]bool) (*plan, error) {
	p := &plan{Options: o, report: r}
	for _, d := range o.days(r.Manifest) {
		if bad[d.File.Object] {
			r.Damaged = append(r.Damaged, d.Key())
			continue
		}
		p.days = append(p.days, d)
		r.Points += d.Points()
	}
	for _, s := range o.states(r.Manifest) {
		if bad[s.File.Object] {
			r.Damaged = append(r.Damaged, s.Path)
			continue
		}
		p.states = append(p.states, s)
		r.Files = append(r.Files, s.Target())
	}
	r.Days = len(p.days)
	if err := p.sameSite(); err != nil {
		return nil, err
	}
	if err := p.readable(ctx); err != nil {
		return nil, err
	}
	var err error
	if p.journal, err = readJournal(o.Data, r.Manifest.ID); err != nil {
		return nil, err
	}
	if err := p.statesThere(ctx); err != nil {
		return nil, err
	}
	return p, p.emptyDatabases(ctx)
}

// sameSite refuses the backup of another site where there is one.
func (p *plan) sameSite() error {
	if p.Data == "" || len(p.states) == 0 {
		return nil
	}
	home, isNew, err := backup.LoadHome(p.Data)
	if err != nil || isNew || home.Site == p.report.Manifest.Site {
		return err
	}
	return fmt.Errorf("%s has another site than the backup, which is of %q: restore into an empty data directory", p.Data, p.report.Manifest.SiteInfo.Name)
}

// readable makes sure that the key fits, before anything is touched.
func (p *plan) readable(ctx context.Context) error {
	if len(p.report.Manifest.Encrypted) == 0 {
		return nil
	}
	files := (&form.Manifest{Days: p.days, States: p.states}).Files()
	if len(files) == 0 {
		return nil
	}
	content, closer, err := p.Shelf.Open(ctx, files[0], p.report.Manifest, p.Keys)
	if err != nil {
		return fmt.Errorf("%w (it was encrypted for %v)", err, p.report.Manifest.Encrypted)
	}
	content.Close()
	return closer.Close()
}

// emptyDatabases refuses databases that have points already.
func (p *plan) emptyDatabases(ctx context.Context) error {
	if p.Merge || p.journal.begun() {
		return nil
	}
	var names []string
	for _, d := range p.days {
		if !slices.Contains(names, d.Database) {
			names = append(names, d.Database)
		}
	}
	for _, name := range names {
		full := false
		err := p.Influx.Query(ctx, name, "SHOW MEASUREMENTS LIMIT 1", func(string, map[string]string, []string, [][]any) error {
			full = true
			return nil
		})
		if err != nil && !isMissing(err) {
			return err
		}
		if full {
			return fmt.Errorf("%w, in the database %s: with -merge those of the backup are added, and where both have a point the backup's values count", ErrNotEmpty, name)
		}
	}
	return nil
}

// statesThere refuses files that are there and differ, or that somebody uses.
func (p *plan) statesThere(ctx context.Context) error {
	for _, s := range p.states {
		same, err := p.isSame(ctx, s)
		if err != nil {
			return err
		}
		if !same && !p.Replace {
			return fmt.Errorf("%w: %s: with -replace it is put aside under another name", ErrThere, p.path(s))
		}
	}
	return nil
}

func (p *plan) path(s form.State) string {
	return filepath.Join(p.Data, filepath.FromSlash(s.Target()))
}

// isSame tells whether a file is there as it should be, or not at all.
func (p *plan) isSame(ctx context.Context, s form.State) (bool, error) {
	f, err := os.Open(p.path(s))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return false, fmt.Errorf("%w (%s is open)", ErrRuns, p.path(s))
	}
	content := form.File{Object: s.File.Plain, Bytes: s.File.PlainBytes}
	if s.IsSealed() {
		text, err := p.unsealed(ctx, s)
		if err != nil {
			return false, err
		}
		sum := sha256.Sum256(text)
		content = form.File{Object: hex.EncodeToString(sum[:]), Bytes: int64(len(text))}
	}
	err = content.Check(f)
	if errors.Is(err, form.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

func (p *plan) do(ctx context.Context) (err error) {
	if err := p.journal.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.journal.close()) }()
	if err := p.newLife(); err != nil {
		return err
	}
	said := time.Now()
	for i, d := range p.days {
		if p.journal.has(d) {
			p.report.Resumed++
			continue
		}
		if err := p.day(ctx, d); err != nil {
			return fmt.Errorf("%s: %w; what was brought back stays, run it again to go on", d.Key(), err)
		}
		if err := p.journal.add(d); err != nil {
			return err
		}
		if time.Since(said) > time.Second {
			said = time.Now()
			p.say("%d of %d days", i+1, len(p.days))
		}
	}
	if err := p.recount(ctx); err != nil {
		return err
	}
	for _, s := range p.states {
		if err := p.state(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
	}
	return p.journal.finish()
}

// newLife tells backups to come that no day is as it was.
func (p *plan) newLife() error {
	if p.Data == "" {
		return nil
	}
	home, _, err := backup.LoadHome(p.Data)
	if err != nil {
		return err
	}
	site := ""
	if len(p.states) > 0 {
		site = p.report.Manifest.Site
	}
	return home.Renew(site).Save(p.Data)
}

// state puts a file of a role in place.
func (p *plan) state(ctx context.Context, s form.State) error {
	same, err := p.isSame(ctx, s)
	if err != nil {
		return err
	}
	path := p.path(s)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		if same {
			return nil
		}
		aside := fmt.Sprintf("%s.before-restore-%d", path, time.Now().UnixNano())
		if err := backup.Place(path, aside); err != nil {
			return err
		}
		p.say("%s is put aside as %s", path, aside)
	}
	content, done, err := p.content(ctx, s)
	if err != nil {
		return err
	}
	defer done()
	grown, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return err
	}
	defer os.Remove(grown.Name()) // gone by then, unless something failed
	_, err = io.Copy(grown, content)
	if err == nil {
		err = grown.Sync()
	}
	if err = errors.Join(err, grown.Close()); err != nil {
		return err
	}
	return backup.Place(grown.Name(), path)
}

// content is that of a file as it belongs on the disk.
func (p *plan) content(ctx context.Context, s form.State) (r io.Reader, done func(), err error) {
	content, closer, err := p.Shelf.Open(ctx, s.File, p.report.Manifest, p.Keys)
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		content.Close()
		_ = closer.Close()
	}
	if !s.IsSealed() {
		return content, done, nil
	}
	if r, err = p.Keys.OpenSecret(content); err != nil {
		done()
		return nil, nil, err
	}
	return r, done, nil
}

// maxSecret bounds a secret file in memory.
const maxSecret = 1 << 20

func (p *plan) unsealed(ctx context.Context, s form.State) ([]byte, error) {
	r, done, err := p.content(ctx, s)
	if err != nil {
		return nil, err
	}
	defer done()
	return io.ReadAll(io.LimitReader(r, maxSecret))
}

// isMissing tells a database that is not there.
func isMissing(err error) bool {
	missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err)
	return ok && missing.DatabaseMissing()
}
