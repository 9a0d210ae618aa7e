package influxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Two locks guard a directory, because two influxd on one directory do not
// notice each other and destroy it:
//
//	supervisor.lock  held by this process: another program that finds it held
//	                 stays away
//	influxd.lock     held by influxd itself, through a descriptor it inherits:
//	                 who has the first lock and finds this one held has found
//	                 an influxd whose supervisor is dead, and ends it
//
// The kernel lets go of both when their holder dies, however it dies.

// ErrInUse says that a directory belongs to another running program.
var ErrInUse = errors.New("the directory is in use")

// lockFile opens the file and locks it; ok is false where somebody else has it.
func lockFile(path string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	ok, err = tryLock(f)
	if err != nil {
		_ = f.Close()
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, ok, nil
}

func tryLock(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}

// ownPatience is how long a lock may take to come free: a program that was
// killed holds it until the kernel has cleared it away.
const ownPatience = time.Second

// lockOwn takes the lock of the supervising process and writes its id inside,
// for the message of the next one who wants it.
func lockOwn(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, ownLockFile)
	f, ok, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	if !ok {
		err = awaitLock(ctx, f, time.After(ownPatience), func() error {
			holder, _ := os.ReadFile(path)
			return fmt.Errorf("%w: process %s runs InfluxDB on %s; stop it, or choose another directory",
				ErrInUse, strings.TrimSpace(string(holder)), dir)
		})
		if err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// awaitLock returns when f is locked. When late fires it calls tooLate, whose
// error ends the wait.
func awaitLock(ctx context.Context, f *os.File, late <-chan time.Time, tooLate func() error) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if ok, err := tryLock(f); ok || err != nil {
			return err
		}
		select {
		case <-poll.C:
		case <-late:
			if err := tooLate(); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", f.Name(), context.Cause(ctx))
		}
	}
}

// lockChild takes the lock that influxd will inherit, ending an orphan that
// still has it. An orphan has grace to end by itself.
func lockChild(ctx context.Context, dir string, grace time.Duration, log *slog.Logger) (*os.File, error) {
	path := filepath.Join(dir, childLockFile)
	f, ok, err := lockFile(path)
	if err != nil || ok {
		return f, err
	}
	if err := endOrphan(ctx, dir, f, grace, log); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// endOrphan ends the influxd on record and returns when f is locked.
func endOrphan(ctx context.Context, dir string, f *os.File, grace time.Duration, log *slog.Logger) error {
	process, err := recorded(dir)
	if err != nil {
		return fmt.Errorf("%w: a process that this program did not start holds %s; end it (fuser %s names it): %w",
			ErrInUse, f.Name(), f.Name(), err)
	}
	defer process.Release() //nolint:errcheck // nothing to lose
	log.WarnContext(ctx, "influxd without a supervisor found, ending it", slog.String("component", "influxd"))
	_ = process.Signal(syscall.SIGTERM)
	return awaitLock(ctx, f, time.After(grace), func() error {
		_ = process.Signal(syscall.SIGKILL)
		return nil
	})
}

// record writes down which process influxd is. The start time tells it from a
// later process with the same id.
func record(dir string, pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, recordFile), fmt.Sprintf("%d %d\n", pid, started))
}

// recorded gives the process on record if it is still the same one.
func recorded(dir string) (*os.Process, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no influxd is on record")
	}
	if err != nil {
		return nil, err
	}
	var pid int
	var started uint64
	if _, err := fmt.Sscanf(string(text), "%d %d", &pid, &started); err != nil || pid <= 1 {
		return nil, fmt.Errorf("the record %q does not read", strings.TrimSpace(string(text)))
	}
	// The handle comes first: whatever it is checked to be, it stays that.
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	if now, err := startTime(pid); err != nil || now != started {
		_ = process.Release()
		return nil, fmt.Errorf("process %d is not the influxd on record", pid)
	}
	return process, nil
}

// startTime is field 22 of /proc/<pid>/stat, in clock ticks since boot
// (proc_pid_stat(5)). The second field is a name in parentheses that may hold
// anything.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat does not read", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
