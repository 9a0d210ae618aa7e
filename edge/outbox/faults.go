package outbox

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"
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
