package influxd_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

// startChild runs another program on the directory and gives it with the
// process id of its influxd.
func startChild(t *testing.T, cfg influxd.Config) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "WATTLINE_TEST_CHILD_DIR="+cfg.Dir, "WATTLINE_TEST_CHILD_BINARY="+cfg.Binary)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	var pid int
	if _, err := fmt.Sscanf(line, "pid %d", &pid); err != nil {
		t.Fatalf("the child says %q", line)
	}
	return cmd, pid
}

func TestInfluxdDiesWithItsProgram(t *testing.T) {
	cfg := influxtest.Config(t)
	cmd, pid := startChild(t, cfg)
	_ = cmd.Process.Kill()
	waitFor(t, "an end of influxd", func() bool { return !alive(pid) })
	mustStart(t, cfg, quiet)
}

func TestTwoProgramsOnOneDirectory(t *testing.T) {
	cfg := influxtest.Config(t)
	cmd, pid := startChild(t, cfg)
	_, err := influxd.Start(t.Context(), cfg, quiet)
	if want := fmt.Sprintf("process %d runs InfluxDB on %s", cmd.Process.Pid, cfg.Dir); !errors.Is(err, influxd.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want ErrInUse and %q", err, want)
	}
	if !alive(pid) {
		t.Error("the other's influxd was ended")
	}
}

// startOrphan runs influxd as a supervisor does, but so that it outlives
// everybody, and gives its process.
func startOrphan(t *testing.T, cfg influxd.Config) *exec.Cmd {
	t.Helper()
	s := mustStart(t, cfg, quiet) // makes the configuration and the user
	s.Close()
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "influxd.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), cfg.Binary, "run", "-config", filepath.Join(cfg.Dir, "influxdb.conf"))
	cmd.ExtraFiles = []*os.File{lock}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // somebody must take its exit status, as init does
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		waitFor(t, "an end of the orphan", func() bool { return !alive(cmd.Process.Pid) })
	})
	return cmd
}

// writeRecord names a process as the one that holds the directory.
func writeRecord(t *testing.T, dir string, pid int, change uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var started uint64
	if _, err := fmt.Sscan(strings.Fields(string(text[bytes.LastIndexByte(text, ')'):]))[20], &started); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "influxd.pid"), fmt.Appendf(nil, "%d %d\n", pid, started+change), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOrphanIsEndedAndReplaced(t *testing.T) {
	for name, hung := range map[string]bool{"that listens to SIGTERM": false, "that hangs": true} {
		t.Run(name, func(t *testing.T) {
			cfg := influxtest.Config(t)
			orphan := startOrphan(t, cfg)
			writeRecord(t, cfg.Dir, orphan.Process.Pid, 0)
			cfg.StopTimeout = time.Hour // to end by itself
			if hung {
				_ = orphan.Process.Signal(syscall.SIGSTOP)
				cfg.StopTimeout = time.Second
			}
			cfg.StartTimeout = 20 * time.Second
			s := mustStart(t, cfg, quiet)
			if alive(orphan.Process.Pid) {
				t.Error("the orphan is alive")
			}
			if status, body := mustQuery(t, s, s.Token(), "SHOW DATABASES"); status != http.StatusOK {
				t.Errorf("status %d: %s", status, body)
			}
		})
	}
}

func TestStrangersAreLeftAlone(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string, pid int){
		"no record":     func(_ *testing.T, dir string, _ int) { _ = os.Remove(filepath.Join(dir, "influxd.pid")) },
		"id used again": func(t *testing.T, dir string, pid int) { writeRecord(t, dir, pid, 1) },
		"record of nonsense": func(_ *testing.T, dir string, _ int) {
			_ = os.WriteFile(filepath.Join(dir, "influxd.pid"), []byte("-1 x"), 0o600)
		},
		"record of process 1": func(_ *testing.T, dir string, _ int) {
			_ = os.WriteFile(filepath.Join(dir, "influxd.pid"), []byte("1 0"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := influxtest.Config(t)
			cfg.StopTimeout = time.Second
			orphan := startOrphan(t, cfg)
			prepare(t, cfg.Dir, orphan.Process.Pid)
			_, err := influxd.Start(t.Context(), cfg, quiet)
			if !errors.Is(err, influxd.ErrInUse) || !strings.Contains(err.Error(), "fuser") {
				t.Errorf("got %v, want ErrInUse and how to find the process", err)
			}
			if !alive(orphan.Process.Pid) {
				t.Error("a process that is not on record was ended")
			}
		})
	}
}
