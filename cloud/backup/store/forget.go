package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget asks the system to drop what it remembers of a file, so that reading it
// reads the disk. It is advice: nothing depends on it.
func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
