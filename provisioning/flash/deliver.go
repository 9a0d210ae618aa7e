package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	backing "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/wattline/wattline/shared/config"
)

// SeedOptions say which seed to make.
type SeedOptions struct {
	// Out is a directory, new or empty, or a file ending in .iso; ISO says which.
	Out  string
	ISO  bool
	Edge string // the program
	Arch Arch   // of the box; any where empty
	Box  Box
	Join func(context.Context) (config.Secret, error) // as in [Options]

	Overwrite bool // of an ISO
}

// Seed makes a NoCloud seed for a box that starts a system with cloud-init of its
// own: a directory, for a medium labelled CIDATA or for
// /var/lib/cloud/seed/nocloud/, or an ISO image with that label, for a virtual
// machine. What holds for the output of [Image] holds for the ISO; files of a
// directory are written one by one, and without the last, meta-data, it is no seed.
func Seed(ctx context.Context, o SeedOptions) (Result, error) {
	if err := o.Box.validate(o.Join != nil); err != nil {
		return Result{}, err
	}
	if err := o.vacant(); err != nil {
		return Result{}, err
	}
	edge, arch, err := readEdge(o.Edge, o.Arch)
	if err != nil {
		return Result{}, err
	}
	files, err := seed(ctx, o.Box, o.Join, edge, arch)
	if err != nil {
		return Result{}, err
	}
	r := Result{System: "a seed", Arch: arch}
	for _, f := range files {
		r.Seed += int64(len(f.content))
	}
	r.Size = r.Seed
	if o.ISO {
		err = writeISO(o, files)
	} else {
		err = writeDirectory(o.Out, files)
	}
	if err != nil {
		return Result{}, explain(o.Out, err)
	}
	return r, nil
}

// vacant sees to it that the output costs nobody anything.
func (o SeedOptions) vacant() error {
	info, err := os.Stat(o.Out)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("output: %w", err)
	case o.ISO && info.Mode().IsRegular() && o.Overwrite:
		return nil
	case o.ISO || !info.IsDir():
		return fmt.Errorf("output %s: %w; --overwrite replaces the file of an ISO", o.Out, os.ErrExist)
	}
	there, err := os.ReadDir(o.Out)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("%w: the directory is not empty", os.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", o.Out, err)
	}
	return nil
}

// writeDirectory writes the seed, for its owner only: it has secrets.
func writeDirectory(dir string, files []file) (err error) {
	made := os.Mkdir(dir, 0o700)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return made
	}
	defer func() {
		if err == nil {
			return
		}
		for _, f := range files {
			_ = os.Remove(filepath.Join(dir, f.name))
		}
		if made == nil {
			_ = os.Remove(dir)
		}
	}()
	for _, f := range slices.Backward(files) { // meta-data, without which it is no seed, comes last
		if err := replacing(filepath.Join(dir, f.name), func(out *os.File) error {
			_, err := out.Write(f.content)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// writeISO writes an ISO 9660 image with the label and long names (Rock Ridge).
func writeISO(o SeedOptions, files []file) error {
	work, err := os.MkdirTemp(filepath.Dir(o.Out), "."+filepath.Base(o.Out)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(work, f.name), f.content, 0o600); err != nil {
			return err
		}
	}
	return replacing(o.Out, func(out *os.File) error {
		const sector = 2048
		image, err := iso9660.Create(backing.New(out, false), 0, 0, sector, work)
		if err != nil {
			return err
		}
		// Filled up with blanks (ECMA-119, 8.4.7), which the library does not do.
		label := fmt.Sprintf("%-32s", seedLabel)
		if err := image.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label}); err != nil {
			return err
		}
		return rereadISO(out, files)
	})
}

// rereadISO compares what is in the image with what should be.
func rereadISO(out *os.File, files []file) error {
	info, err := out.Stat()
	if err != nil {
		return err
	}
	image, err := iso9660.Read(backing.New(out, true), info.Size(), 0, 0)
	if err != nil {
		return fmt.Errorf("read the finished image: %w", err)
	}
	for _, want := range files {
		got, err := image.ReadFile(want.name)
		if err != nil {
			return fmt.Errorf("read the finished image: %w", err)
		}
		if !bytes.Equal(got, want.content) {
			return fmt.Errorf("%s in the finished image: %w", want.name, errDiffers)
		}
	}
	return nil
}
