package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/provisioning/flash/fat"
	"github.com/wattline/wattline/shared/config"
)

// Options say which image to make.
type Options struct {
	Base string // .img, .img.xz or .img.gz
	Out  string // must not be there unless Overwrite
	// Edge finds the program for a processor, "" where the image does not show its
	// own.
	Edge func(Arch) (string, error)
	// Box is what goes in. Without a join token in it Join is asked for one, when
	// nothing else can be wrong any more.
	Box       Box
	Join      func(context.Context) (config.Secret, error)
	Overwrite bool
	// Force takes an image that does not look as if it had cloud-init.
	Force bool
}

// Step is what [Image] is doing.
type Step string

// The steps, in order.
const (
	Copying  Step = "copying"
	Seeding  Step = "seeding"
	Checking Step = "checking"
)

// Result tells what was made.
type Result struct {
	System string // what the base image is, in words
	Arch   Arch   // of the program
	Size   int64  // of the image in bytes
	Seed   int64  // of the files put into it
}

// Image makes an SD-card image. progress, which may be nil, is told the step and
// the bytes done of it; of copying, the bytes of the base file.
//
// Mistakes of the options give an error before anything is written. An output is
// there under its name only after success; the end of ctx counts as a failure.
// [ErrNotImage], [ErrNoSeed], [ErrNotEdge] and [fat.ErrFull] are the classes of
// what can be wrong with the files.
func Image(ctx context.Context, o Options, progress func(step Step, done, total int64)) (r Result, err error) {
	if progress == nil {
		progress = func(Step, int64, int64) {}
	}
	if err := o.Box.validate(o.Join != nil); err != nil {
		return r, err
	}
	b, err := openBase(o.Base)
	if err != nil {
		return r, err
	}
	defer b.file.Close()
	if err := vacant(o.Out, b.file, o.Overwrite); err != nil {
		return r, err
	}
	err = replacing(o.Out, func(f *os.File) error {
		if err := room(f, b); err != nil {
			return err
		}
		r, err = o.make(ctx, b, f, progress)
		return err
	})
	if err != nil {
		return Result{}, explain(o.Out, err)
	}
	return r, nil
}

// make fills f.
func (o Options) make(ctx context.Context, b *base, f *os.File, progress func(Step, int64, int64)) (r Result, err error) {
	want, size, err := b.copyTo(ctx, f, func(done, total int64) { progress(Copying, done, total) })
	if err != nil {
		return r, err
	}
	progress(Seeding, 0, 1)
	l := newLayer(f, size)
	list, err := partitions(l, size)
	if err != nil {
		return r, err
	}
	v, s, err := findBoot(l, list, o.Force)
	if err != nil {
		return r, err
	}
	program, err := o.Edge(s.arch)
	if err != nil {
		return r, err
	}
	edge, arch, err := readEdge(program, s.arch)
	if err != nil {
		return r, err
	}
	files, err := seed(ctx, o.Box, o.Join, edge, arch)
	if err != nil {
		return r, err
	}
	if err := put(v, s, files); err != nil {
		return r, err
	}
	if err := l.flush(); err != nil {
		return r, err
	}
	if err := f.Sync(); err != nil {
		return r, err
	}
	progress(Seeding, 1, 1)
	// What is synced can be dropped, so that it is read from the disk.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err := l.verify(ctx, want, func(done, total int64) { progress(Checking, done, total) }); err != nil {
		return r, err
	}
	r = Result{System: s.name, Arch: arch, Size: size}
	for _, file := range files {
		r.Seed += int64(len(file.content))
	}
	return r, reread(f, size, list, o.Force, files)
}

// put writes the seed into the boot partition.
func put(v *fat.Volume, s system, files []file) error {
	var need int64
	for _, f := range files {
		need += v.Size(int64(len(f.content)))
	}
	now := time.Now()
	for _, f := range files {
		if err := v.Put(f.name, f.content, now); err != nil {
			if errors.Is(err, fat.ErrFull) {
				return fmt.Errorf("%w; the seed takes %d bytes in all: use a base image with a larger boot partition, or a seed (--seed) instead of an image", err, need)
			}
			return err
		}
	}
	if s.label {
		return v.SetLabel(seedLabel)
	}
	return nil
}

// reread opens the image anew and reads the seed as a box would.
func reread(f *os.File, size int64, list []partition, force bool, files []file) error {
	v, _, err := findBoot(newLayer(f, size), list, force)
	if err != nil {
		return fmt.Errorf("read the finished image: %w", err)
	}
	for _, want := range files {
		got, err := v.ReadFile(want.name, maxEdge)
		if err != nil {
			return fmt.Errorf("read the finished image: %w", err)
		}
		if !bytes.Equal(got, want.content) {
			return fmt.Errorf("%s in the finished image: %w", want.name, errDiffers)
		}
	}
	return nil
}

// vacant sees to it that the output costs nobody anything.
func vacant(out string, base *os.File, overwrite bool) error {
	info, err := os.Stat(out)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("output: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("output %s: it is no file; write the image to a file, then the file to the card", out)
	}
	if is, err := base.Stat(); err == nil && os.SameFile(info, is) {
		return fmt.Errorf("output %s: it is the base image", out)
	}
	if !overwrite {
		return fmt.Errorf("output %s: %w; --overwrite replaces it", out, os.ErrExist)
	}
	return nil
}

// replacing lets fill write a new file beside name, and gives it that name when it
// is whole and on the disk. After an error nothing of it is left.
func replacing(name string, fill func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.part")
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err // its name is nobody's
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// room says at once that the output does not fit, where the base tells its size.
func room(f *os.File, b *base) error {
	var disk unix.Statfs_t
	if b.packed {
		return nil
	}
	if err := unix.Fstatfs(int(f.Fd()), &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < b.used() { //nolint:gosec,unconvert // a disk's size; Bsize has 32 bits on ARM
		return fmt.Errorf("%w: %d bytes are free, the image takes %d", syscall.ENOSPC, free, b.used())
	}
	return nil
}

// used is what the base takes on its disk: holes stay holes.
func (b *base) used() int64 {
	var s unix.Stat_t
	if unix.Fstat(int(b.file.Fd()), &s) != nil {
		return b.size
	}
	return min(b.size, s.Blocks*diskSector)
}

// explain adds the cure to what the system says.
func explain(out string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("make %s: %w: free some room there, or write to another disk; nothing was left behind", out, err)
	}
	return fmt.Errorf("make %s: %w", out, err)
}
