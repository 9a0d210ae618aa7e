package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"
)

// guard turns what bbolt does with a damaged file, panics and memory faults
// (the file is mapped, and may be shorter than it says), into errDamaged.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return do()
}

// isDamage reports whether an error of opening the file is about the file itself,
// so that another start would find the same: what bbolt says of its format and
// what it faults on (a disk that can't read a page is such a fault), and a file
// that this user may not open. EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, and EIO
// while opening or locking, say nothing about the file.
func isDamage(err error) bool {
	for _, cause := range []error{errDamaged, berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum, fs.ErrPermission} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), "file size too small") // bbolt 1.5 has no name for it
}

// isFull reports whether an error means that the disk has no room. Growing the
// file loses the cause's type in bbolt 1.5 (db.grow), so the text must do.
func isFull(err error) bool {
	if err == nil {
		return false
	}
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()) {
			return true
		}
	}
	return false
}
