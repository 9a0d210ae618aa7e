package registry

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is the class of errors about a file that cannot be read.
var ErrDamaged = errors.New("the registry's file is damaged: move it away and restore it from a backup, " +
	"or make a new site with wattline-cloud init and import the last inventory that was exported")

// ErrLocked means that another process has the file open.
var ErrLocked = errors.New("the registry's file is in use by another process: is a wattline-cloud running? stop it, or ask it over REST")

// inWords tells apart why a file does not open.
func inWords(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return err
}

// guard turns what bbolt panics on, and a page that the disk does not give, into
// an error. In a file that was cut off a read faults.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%v)", ErrDamaged, p)
		}
	}()
	return do()
}

func (s *Store) checkLength() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w (it has %d bytes and should have %d)", ErrDamaged, info.Size(), tx.Size())
		}
		return nil
	})
}

// update runs a transaction. An error means that nothing has changed.
func (s *Store) update(change func(tx *bbolt.Tx) error) error {
	err := guard(func() error { return s.db.Update(change) })
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk with %s is full, make room: %w", s.path, err)
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return errors.New("the registry is stopping")
	}
	return err
}
