// Package store keeps the files of backups: in a directory, which may be a disk of
// its own or a mounted share.
//
// A file is there whole or not at all, and is never changed. Put returns nil only
// when the file is on the disk and was read back with the bytes that went in, for
// disks and shares say yes to what they have not kept.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// ErrMissing is what a file is that is not there.
var ErrMissing = fs.ErrNotExist

// ErrBusy means that somebody else works with the store.
var ErrBusy = errors.New("another backup, prune or restore works with it")

// ErrLied means that the store said yes and kept something else.
var ErrLied = errors.New("the store did not keep what it said it had kept")

// Info is what a listing says of a file.
type Info struct {
	Name     string
	Bytes    int64
	Modified time.Time // by the store's clock
}

// Store keeps files. Names are of lower-case letters, digits and ./_-, with
// slashes. Safe for concurrent use.
type Store interface {
	// Put keeps a file of so many bytes, instead of the one that has the name.
	Put(ctx context.Context, name string, size int64, content io.Reader) error
	// Open reads a file; one that is not there is an error that wraps ErrMissing.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List gives the files whose names begin with prefix, in any order.
	List(ctx context.Context, prefix string, each func(Info) error) error
	// Delete removes a file; it is no error if it is not there.
	Delete(ctx context.Context, name string) error
	// Lock keeps others from changing the store until release is called. Its
	// error wraps ErrBusy where they do.
	Lock(ctx context.Context) (release func(), err error)
	// String says where it is, without secrets.
	String() string
}

var plainName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*$`)

// checkName refuses names that lead elsewhere.
func checkName(name string) error {
	if len(name) > 250 || !plainName.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("%.100q is no name of a file in a store", name)
	}
	return nil
}

// Read gives a small file, of at most limit bytes.
func Read(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	r, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", name, limit)
	}
	return text, nil
}
