package outbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/edge/outbox"
)

// movedAside lists what the outbox took for damaged.
func movedAside(t *testing.T, r *rig) []string {
	t.Helper()
	matches, err := filepath.Glob(r.options.Path + ".damaged-*")
	if err != nil {
		t.Fatal(err)
	}
	return matches
}

// A whole file must not be taken for a damaged one because the system is short
// of something for a moment: the next start finds it as it was.
func TestAShortageAtTheStartIsNoDamage(t *testing.T) {
	r := newRig(t)
	r.accept(100)
	r.Abandon()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := outbox.Open(r.options, quiet)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("without descriptors: %v", err)
	}
	if aside := movedAside(t, r); len(aside) != 0 {
		t.Errorf("moved aside: %v", aside)
	}
	r.open()
	if s := r.Stats(); s.Readings != 100 || s.Damaged != "" {
		t.Errorf("afterwards: %+v", s)
	}
}

// A file of another user's is kept for a person to look at, and readings go on.
func TestAFileThatMayNotBeOpenedIsMovedAside(t *testing.T) {
	r := newRig(t)
	r.accept(100)
	r.Abandon()
	if err := os.Chmod(r.options.Path, 0); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(r.options.Path)
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may open anything: be nobody, on this thread
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	r.open()
	if aside := movedAside(t, r); len(aside) != 1 || r.Stats().Damaged != filepath.Base(aside[0]) {
		t.Errorf("moved aside: %v, stats %+v", aside, r.Stats())
	}
	r.accept(3)
	if s := r.Stats(); s.Readings != 3 {
		t.Errorf("stats %+v", s)
	}
}
