package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// unfinished is where files grow; what a kill leaves there is removed by
	// whoever locks the store next.
	unfinished = ".unfinished"
	lockFile   = ".lock"
)

// Dir is a store in a directory. Its files are readable by their owner alone.
type Dir struct{ root string }

// OpenDir opens the store in a directory, and makes the directory where only its
// last part is missing: a path of which more is missing is taken for a disk that
// is not mounted.
func OpenDir(root string) (*Dir, error) {
	d := NewDir(root)
	return d, d.check()
}

// NewDir is OpenDir for later: whether the directory is there shows when it is
// locked or listed.
func NewDir(root string) *Dir { return &Dir{root: root} }

func (d *Dir) check() error {
	root := d.root
	err := os.Mkdir(root, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("open the store %s: %w; is its disk mounted?", root, err)
	}
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		return fmt.Errorf("open the store %s: %w", root, err)
	}
	return nil
}

// String is the path.
func (d *Dir) String() string { return d.root }

func (d *Dir) path(name string) (string, error) {
	return filepath.Join(d.root, filepath.FromSlash(name)), checkName(name)
}

// Put implements Store: it writes beside, syncs, reads back, and renames.
func (d *Dir) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	path, err := d.path(name)
	if err == nil {
		err = d.put(ctx, path, size, content)
	}
	if err != nil {
		return fmt.Errorf("keep %s in %s: %w", name, d.root, inWords(err))
	}
	return nil
}

func (d *Dir) put(ctx context.Context, path string, size int64, content io.Reader) error {
	growing := filepath.Join(d.root, unfinished)
	for _, dir := range []string{growing, filepath.Dir(path)} {
		if err := d.makeAll(dir); err != nil {
			return err
		}
	}
	temporary := filepath.Join(growing, rand.Text())
	defer os.Remove(temporary) // gone by then, unless something failed
	sum, err := write(temporary, size, &pacer{ctx, content})
	if err != nil {
		return err
	}
	if err := compare(ctx, temporary, size, sum); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeAll makes a directory below the root, and those above it, for good.
func (d *Dir) makeAll(dir string) error {
	if dir == d.root {
		return nil
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := d.makeAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// pacer ends a copy when its context does.
type pacer struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call
	from io.Reader
}

func (p *pacer) Read(b []byte) (int, error) {
	if err := context.Cause(p.ctx); err != nil {
		return 0, err
	}
	return p.from.Read(b)
}

func write(path string, size int64, content io.Reader) (sum []byte, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	hashed := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, hashed), content)
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes, not %d", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	return hashed.Sum(nil), errors.Join(err, f.Close())
}

// compare reads a file again, from the disk where the system lets us.
func compare(ctx context.Context, path string, size int64, sum []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	forget(f)
	hashed := sha256.New()
	n, err := io.Copy(hashed, &pacer{ctx, f})
	if err != nil {
		return err
	}
	if n != size || string(hashed.Sum(nil)) != string(sum) {
		return ErrLied
	}
	return nil
}

// syncDir makes what was renamed or made in a directory last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Open implements Store.
func (d *Dir) Open(_ context.Context, name string) (io.ReadCloser, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", name, d.root, err)
	}
	forget(f)
	return f, nil
}

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string, each func(Info) error) error {
	if err := d.check(); err != nil {
		return err
	}
	begin := d.root
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		begin = filepath.Join(d.root, filepath.FromSlash(prefix[:i]))
	}
	err := filepath.WalkDir(begin, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile, or never begun
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case entry.IsDir() && path != d.root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), "."):
			return nil
		}
		name, err := filepath.Rel(d.root, path)
		if err != nil || !strings.HasPrefix(filepath.ToSlash(name), prefix) {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return each(Info{Name: filepath.ToSlash(name), Bytes: info.Size(), Modified: info.ModTime()})
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", d.root, err)
	}
	return nil
}

// Delete implements Store.
func (d *Dir) Delete(_ context.Context, name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s from %s: %w", name, d.root, err)
	}
	return nil
}

// Lock implements Store, by a lock that ends with the process that holds it, and
// removes what a killed one left unfinished.
func (d *Dir) Lock(context.Context) (release func(), err error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.root, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store %s: %w", d.root, inWords(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("lock the store %s: %w", d.root, err)
	}
	d.sweep()
	return func() { _ = f.Close() }, nil
}

// sweep removes what is unfinished for an hour: with a share, somebody may write
// there in spite of the lock.
func (d *Dir) sweep() {
	left, err := os.ReadDir(filepath.Join(d.root, unfinished))
	if err != nil {
		return
	}
	for _, entry := range left {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(filepath.Join(d.root, unfinished, entry.Name()))
		}
	}
}

func inWords(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk is full: make room, or keep fewer backups: %w", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the disk can only be read: %w", err)
	default:
		return err
	}
}
