package shelf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/store"
)

// Keep is how many backups are kept: the newest ones, and the newest of so many
// days, weeks, months and years that have one. Days are those of a time zone,
// weeks begin on Monday.
type Keep struct {
	Last    int `yaml:"last"`
	Daily   int `yaml:"daily"`
	Weekly  int `yaml:"weekly"`
	Monthly int `yaml:"monthly"`
	Yearly  int `yaml:"yearly"`
}

// Validate refuses what would keep nothing.
func (k Keep) Validate() error {
	if k.Last < 0 || k.Daily < 0 || k.Weekly < 0 || k.Monthly < 0 || k.Yearly < 0 {
		return errors.New("numbers below 0")
	}
	if k.Last+k.Daily+k.Weekly+k.Monthly+k.Yearly == 0 {
		return errors.New("all of last, daily, weekly, monthly and yearly are 0: nothing would be kept")
	}
	return nil
}

// Choose splits backups, the oldest first, into those that are kept and those that
// may go. The newest is always kept.
func (k Keep) Choose(entries []form.Entry, zone *time.Location) (kept, gone []form.Entry) {
	periods := []struct {
		most int
		name func(time.Time) string
		seen map[string]bool
	}{
		{k.Daily, func(t time.Time) string { return t.Format("2006-01-02") }, map[string]bool{}},
		{k.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, " ", w) }, map[string]bool{}},
		{k.Monthly, func(t time.Time) string { return t.Format("2006-01") }, map[string]bool{}},
		{k.Yearly, func(t time.Time) string { return t.Format("2006") }, map[string]bool{}},
	}
	for i, e := range slices.Backward(entries) {
		keep := i == len(entries)-1 || len(entries)-i <= k.Last
		for _, p := range periods {
			name := p.name(e.Time.In(zone))
			if !p.seen[name] && len(p.seen) < p.most {
				p.seen[name], keep = true, true
			}
		}
		if keep {
			kept = append(kept, e)
		} else {
			gone = append(gone, e)
		}
	}
	slices.Reverse(kept)
	slices.Reverse(gone)
	return kept, gone
}

// grace is how old a file is that nobody needs before it is deleted: it may belong
// to a backup that somebody makes at this moment, in spite of the lock.
const grace = 24 * time.Hour

// Pruned is what Prune did, or would do.
type Pruned struct {
	Kept, Gone []form.Entry
	Objects    int   // files that no kept backup needs
	Bytes      int64 // that they take
	// Note says in words why less was deleted than could be.
	Note string
}

// ErrNoneGood means that no backup can be trusted, so that none is deleted.
var ErrNoneGood = errors.New("no backup was found good, so none is deleted")

// Prune deletes the backups that are not kept, and the files that no kept one
// needs. The newest backup must be good before any is deleted: all of its files
// are read. The caller holds the store's lock.
func (s Shelf) Prune(ctx context.Context, keep Keep, zone *time.Location, now time.Time, dry bool) (p Pruned, err error) {
	entries, err := s.Entries(ctx)
	if err != nil {
		return p, err
	}
	if p.Kept, p.Gone = keep.Choose(entries, zone); len(p.Kept) == 0 {
		return p, nil
	}
	newest, err := s.Manifest(ctx, p.Kept[len(p.Kept)-1])
	if err != nil {
		return p, fmt.Errorf("prune %s: %w: the newest: %w", s.Store, ErrNoneGood, err)
	}
	if len(p.Gone) > 0 {
		bad, err := s.Check(ctx, newest.Files(), nil)
		if err == nil && len(bad) > 0 {
			err = bad[0].Err
		}
		if err != nil {
			return p, fmt.Errorf("prune %s: %w: the newest: %w", s.Store, ErrNoneGood, err)
		}
		if most := s.mostPoints(ctx, p.Gone); newest.Points() < most/2 {
			p.Note = fmt.Sprintf("nothing was deleted: the newest backup has %d points, and an older one that could go has %d; has InfluxDB lost something?", newest.Points(), most)
			p.Kept, p.Gone = entries, nil
			return p, nil
		}
	}
	if !dry {
		for _, e := range p.Gone {
			if err := s.Store.Delete(ctx, e.Name); err != nil {
				return p, err
			}
		}
	}
	return p, s.sweep(ctx, &p, now, dry)
}

// mostPoints is how many the largest of some backups has.
func (s Shelf) mostPoints(ctx context.Context, entries []form.Entry) (most int64) {
	for _, e := range entries {
		if m, err := s.Manifest(ctx, e); err == nil {
			most = max(most, m.Points())
		}
	}
	return most
}

// sweep deletes files that no kept backup needs.
func (s Shelf) sweep(ctx context.Context, p *Pruned, now time.Time, dry bool) error {
	needed := make(map[string]bool)
	for _, e := range p.Kept {
		m, err := s.Manifest(ctx, e)
		if err != nil {
			p.Note = fmt.Sprintf("no file was deleted, because it cannot be told what %s needs: %v; delete %s if you give that backup up", e.ID, err, e.Name)
			return nil
		}
		for _, f := range m.Files() {
			needed[f.Name()] = true
		}
	}
	var idle []store.Info
	err := s.Store.List(ctx, form.ObjectPrefix, func(i store.Info) error {
		if !needed[i.Name] && now.Sub(i.Modified) > grace {
			idle = append(idle, i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range idle {
		if !dry {
			if err := s.Store.Delete(ctx, i.Name); err != nil {
				return err
			}
		}
		p.Objects++
		p.Bytes += i.Bytes
	}
	return nil
}
