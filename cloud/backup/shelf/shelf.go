// Package shelf knows the backups of a store: whose they are, which there are,
// what they need, whether it is still what was written, and which may go.
package shelf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/store"
)

const maxMarker = 64 << 10

// Errors that a person can do something about.
var (
	ErrNoBackup  = errors.New("there is no backup")
	ErrOtherSite = errors.New("the store belongs to another site")
)

// Shelf is a store of backups. Safe for concurrent use.
type Shelf struct{ Store store.Store }

// Marker says whose the store is; a store that was never used is an error that
// wraps [store.ErrMissing].
func (s Shelf) Marker(ctx context.Context) (form.Marker, error) {
	var m form.Marker
	text, err := store.Read(ctx, s.Store, form.MarkerName, maxMarker)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Site == "" {
		return m, fmt.Errorf("%s in %s: %w: it does not say whose the store is (%w)", form.MarkerName, s.Store, form.ErrDamaged, err)
	}
	if m.Format > form.Version {
		return m, fmt.Errorf("the store %s has format %d, and this program knows up to %d: use a newer Wattline", s.Store, m.Format, form.Version)
	}
	return m, nil
}

// Mark makes the store that of a site.
func (s Shelf) Mark(ctx context.Context, m form.Marker) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the marker: %w", err)
	}
	text = append(text, '\n')
	return s.put(ctx, form.MarkerName, text)
}

func (s Shelf) put(ctx context.Context, name string, content []byte) error {
	return s.Store.Put(ctx, name, int64(len(content)), strings.NewReader(string(content)))
}

// Entries lists the backups, the oldest first, good or not.
func (s Shelf) Entries(ctx context.Context) ([]form.Entry, error) {
	var list []form.Entry
	err := s.Store.List(ctx, form.ManifestPrefix, func(i store.Info) error {
		if e, ok := form.ParseEntry(i.Name); ok {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b form.Entry) int { return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// Manifest reads that of a backup.
func (s Shelf) Manifest(ctx context.Context, e form.Entry) (*form.Manifest, error) {
	r, err := s.Store.Open(ctx, e.Name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return e.Decode(r)
}

// Add keeps a manifest, and with it the backup is there.
func (s Shelf) Add(ctx context.Context, m *form.Manifest) (form.Entry, error) {
	name, stored, err := m.Encode()
	if err != nil {
		return form.Entry{}, err
	}
	e, ok := form.ParseEntry(name)
	if !ok {
		return e, fmt.Errorf("%q is no name of a backup", name)
	}
	if err := s.put(ctx, name, stored); err != nil {
		return e, err
	}
	_, err = s.Manifest(ctx, e) // what cannot be read back is no backup
	return e, err
}

// Objects tells how long the files are that are there, by the names of objects.
func (s Shelf) Objects(ctx context.Context) (map[string]int64, error) {
	sizes := make(map[string]int64)
	err := s.Store.List(ctx, form.ObjectPrefix, func(i store.Info) error {
		sizes[i.Name[strings.LastIndexByte(i.Name, '/')+1:]] = i.Bytes
		return nil
	})
	return sizes, err
}

// Damage is a file that is not what it should be.
type Damage struct {
	File form.File
	Err  error
}

// Check reads files from the store and compares them, and gives those that are
// missing or damaged. Its error is about the store: nothing can be said then.
// done, if not nil, is told of each file.
func (s Shelf) Check(ctx context.Context, files []form.File, done func(form.File)) (bad []Damage, err error) {
	for _, f := range files {
		err := s.check(ctx, f)
		switch {
		case errors.Is(err, form.ErrDamaged), errors.Is(err, store.ErrMissing):
			bad = append(bad, Damage{f, err})
		case err != nil:
			return bad, fmt.Errorf("check the files in %s: %w", s.Store, err)
		}
		if done != nil {
			done(f)
		}
	}
	return bad, nil
}

func (s Shelf) check(ctx context.Context, f form.File) error {
	r, err := s.Store.Open(ctx, f.Name())
	if err != nil {
		return err
	}
	defer r.Close()
	return f.Check(&untilDone{ctx, r})
}

// untilDone ends a long read with its context.
type untilDone struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// Open reads the content of a file.
func (s Shelf) Open(ctx context.Context, f form.File, m *form.Manifest, keys *form.Keys) (*form.Opened, io.Closer, error) {
	r, err := s.Store.Open(ctx, f.Name())
	if err != nil {
		return nil, nil, err
	}
	o, err := f.Open(&untilDone{ctx, r}, len(m.Encrypted) > 0, keys)
	if err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return o, r, nil
}

// Wanted says which backup is meant: the one with the id, else the newest of those
// made until At, else the newest.
type Wanted struct {
	ID string
	At time.Time
}

// Candidates lists the backups that fit, the best first: what is after the first
// is what to fall back to. There is no falling back from an id.
func (w Wanted) Candidates(entries []form.Entry) (list []form.Entry, err error) {
	for _, e := range slices.Backward(entries) {
		if (w.ID == "" || e.ID == w.ID) && (w.At.IsZero() || !e.Time.After(w.At)) {
			list = append(list, e)
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case w.ID != "":
		return nil, fmt.Errorf("%w %s: list them with -list", ErrNoBackup, w.ID)
	case !w.At.IsZero() && len(entries) > 0:
		return nil, fmt.Errorf("%w of %s or before: the oldest is of %s", ErrNoBackup, w.At.Format(time.RFC3339), entries[0].Time.Format(time.RFC3339))
	default:
		return nil, ErrNoBackup
	}
}

// Short is how people are told of an object.
func Short(object string) string { return object[:min(12, len(object))] }
