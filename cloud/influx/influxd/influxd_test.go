package influxd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WATTLINE_TEST_CHILD_DIR"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child is another program that runs InfluxDB on dir until it is killed.
func child(dir string) {
	cfg := influxd.DefaultConfig()
	cfg.Dir, cfg.Binary = dir, os.Getenv("WATTLINE_TEST_CHILD_BINARY")
	s, err := influxd.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("pid", s.PID())
	select {}
}

// logs keeps what was logged.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func mustStart(t *testing.T, cfg influxd.Config, log *slog.Logger) *influxd.Server {
	t.Helper()
	s, err := influxd.Start(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var quiet = slog.New(slog.DiscardHandler)

// mustQuery runs a statement as token and gives status and body.
func mustQuery(t *testing.T, s *influxd.Server, token, statement string) (int, string) {
	t.Helper()
	form := url.Values{"q": {statement}, "db": {"d"}}.Encode()
	return post(t, s, token, "/query", "application/x-www-form-urlencoded", form)
}

func mustWrite(t *testing.T, s *influxd.Server, lines string) {
	t.Helper()
	if status, body := post(t, s, s.Token(), "/write?db=d", "text/plain", lines); status != http.StatusNoContent {
		t.Fatalf("write: %d %s", status, body)
	}
}

func post(t *testing.T, s *influxd.Server, token, path, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(resp.Body)
	return resp.StatusCode, answer.String()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("30 s without: %s", what)
		}
	}
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(text, []byte(") Z "))
}

func TestOnlyTheOwnerReadsAndOnlyTheTokenOpens(t *testing.T) {
	cfg := influxtest.Config(t)
	cfg.Dir = filepath.Join(cfg.Dir, `a "strange" näme\`, "influx")
	t.Setenv("INFLUXDB_HTTP_AUTH_ENABLED", "false") // of the program's surroundings: must not reach influxd
	t.Setenv("INFLUXDB_CONFIG_PATH", "/nowhere")
	s := mustStart(t, cfg, quiet)
	for name, want := range map[string]os.FileMode{".": 0o700 | os.ModeDir, "credentials": 0o600, "influxdb.conf": 0o600, "influxd.pid": 0o600, "influxd.lock": 0o600, "supervisor.lock": 0o600} {
		info, err := os.Stat(filepath.Join(cfg.Dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	for token, want := range map[string]int{"": 401, "wattline:wrong": 401, s.Token(): 200} {
		if got, body := mustQuery(t, s, token, "SHOW DATABASES"); got != want {
			t.Errorf("token %q: status %d (%s), want %d", token, got, body, want)
		}
	}
	if pgid, err := unix.Getpgid(s.PID()); err != nil || pgid != s.PID() {
		t.Errorf("process group %d, %v; want its own, %d", pgid, err, s.PID())
	}
}

func TestDataAndCredentialsOutliveTheProgram(t *testing.T) {
	cfg := influxtest.Config(t)
	first := mustStart(t, cfg, quiet)
	mustQuery(t, first, first.Token(), "CREATE DATABASE d")
	mustWrite(t, first, "m value=1 1\n")
	first.Close()
	first.Close() // twice is fine
	select {
	case <-first.Done():
	default:
		t.Error("closed and not done")
	}
	if first.PID() != 0 {
		t.Errorf("process %d after Close", first.PID())
	}
	second := mustStart(t, cfg, quiet)
	if second.Token() != first.Token() {
		t.Error("another token")
	}
	if _, body := mustQuery(t, second, second.Token(), "SELECT count(value) FROM m"); !strings.Contains(body, `[["1970-01-01T00:00:00Z",1]]`) {
		t.Errorf("got %s, want one point", body)
	}
}

func TestKilledInfluxdComesBackWithItsData(t *testing.T) {
	var l logs
	s := mustStart(t, influxtest.Config(t), l.logger())
	mustQuery(t, s, s.Token(), "CREATE DATABASE d")
	base, token := s.URL(), s.Token()
	for n := 1; n <= 3; n++ {
		mustWrite(t, s, fmt.Sprintf("m value=%d %d\n", n, n))
		pid := s.PID()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		waitFor(t, "another influxd", func() bool { return s.PID() != pid && s.PID() != 0 })
		waitFor(t, "influxd is back in the log", func() bool { return strings.Count(l.String(), "influxd is back") == n })
		if s.URL() != base || s.Token() != token {
			t.Fatalf("at %s, was at %s", s.URL(), base)
		}
		if _, body := mustQuery(t, s, token, "SELECT count(value) FROM m"); !strings.Contains(body, fmt.Sprintf("Z\",%d]]", n)) {
			t.Fatalf("got %s, want %d points", body, n)
		}
	}
	select {
	case <-s.Done():
		t.Error("done while it runs")
	default:
	}
}

func TestInfluxdThatCannotStartIsTriedAgain(t *testing.T) {
	cfg := influxtest.Config(t)
	flag := filepath.Join(t.TempDir(), "broken")
	cfg.Binary = script(t, fmt.Sprintf("[ -e %s ] && { echo out of order >&2; exit 3; }\nexec %s \"$@\"", flag, cfg.Binary))
	var l logs
	s := mustStart(t, cfg, l.logger())
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(s.PID(), syscall.SIGKILL)
	waitFor(t, "three attempts", func() bool { return strings.Count(l.String(), "exit status 3 (out of order)") == 3 })
	for _, pause := range []string{"duration=200ms", "duration=400ms", "duration=800ms"} {
		if !strings.Contains(l.String(), pause) {
			t.Errorf("no pause of %s in\n%s", pause, l.String())
		}
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "influxd is back", func() bool { return strings.Contains(l.String(), "influxd is back") })
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "influxd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

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

func TestHangingInfluxdIsKilledAtClose(t *testing.T) {
	cfg := influxtest.Config(t)
	cfg.StopTimeout = time.Second
	s := mustStart(t, cfg, quiet)
	pid := s.PID()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	begin := time.Now()
	s.Close()
	if d := time.Since(begin); alive(pid) || d < time.Second || d > 10*time.Second {
		t.Errorf("alive %v after %v, want dead after a second or little more", alive(pid), d)
	}
}

func TestStartSaysWhatToDo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, test := range map[string]struct {
		change func(t *testing.T, cfg *influxd.Config)
		want   []string
	}{
		"no binary": {
			func(t *testing.T, cfg *influxd.Config) { cfg.Binary = ""; t.Setenv("PATH", ""); t.Chdir(t.TempDir()) },
			[]string{"no influxd", "make influxd"},
		},
		"configured binary missing": {
			func(_ *testing.T, cfg *influxd.Config) { cfg.Binary = "/nowhere/influxd" }, []string{"/nowhere/influxd", "make influxd"},
		},
		"port in use": {
			func(_ *testing.T, cfg *influxd.Config) { cfg.Address = l.Addr().String() },
			[]string{l.Addr().String(), "address already in use", "another address"},
		},
		"file instead of a directory": {
			func(t *testing.T, cfg *influxd.Config) {
				cfg.Dir = filepath.Join(cfg.Dir, "file")
				if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}, []string{"data directory", "file"},
		},
		"directory that cannot be made": {
			func(_ *testing.T, cfg *influxd.Config) { cfg.Dir = "/proc/nowhere" }, []string{"data directory", "/proc/nowhere"},
		},
		"unreadable credentials": {
			func(t *testing.T, cfg *influxd.Config) {
				if err := os.Mkdir(filepath.Join(cfg.Dir, "credentials"), 0o700); err != nil {
					t.Fatal(err)
				}
			}, []string{"credentials"},
		},
		"empty credentials": {
			func(t *testing.T, cfg *influxd.Config) {
				if err := os.WriteFile(filepath.Join(cfg.Dir, "credentials"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}, []string{"credentials", "backup"},
		},
		"other credentials": {
			func(t *testing.T, cfg *influxd.Config) {
				mustStart(t, *cfg, quiet).Close()
				if err := os.Remove(filepath.Join(cfg.Dir, "credentials")); err != nil {
					t.Fatal(err)
				}
			}, []string{"made with other credentials", "credentials", "backup"},
		},
		"a program that ends": {
			func(t *testing.T, cfg *influxd.Config) { cfg.Binary = script(t, "echo no such luck >&2; exit 7") },
			[]string{"exit status 7", "no such luck"},
		},
		"a program that never answers": {
			func(t *testing.T, cfg *influxd.Config) {
				cfg.Binary = script(t, "echo thinking >&2; exec sleep 60")
				cfg.StartTimeout, cfg.StopTimeout = time.Second, time.Second
			}, []string{"did not answer within 1s", "thinking"},
		},
		"no room on the disk": {
			func(t *testing.T, cfg *influxd.Config) {
				cfg.Binary = script(t, "ulimit -f 0\nexec "+cfg.Binary+` "$@"`)
			},
			[]string{"file too large"},
		},
		"everything wrong": {
			func(_ *testing.T, cfg *influxd.Config) {
				*cfg = influxd.Config{Address: "0.0.0.0:8086", Environment: map[string]string{"A=B": ""}}
			},
			[]string{"dir: ", "address: ", "loopback", "start_timeout: ", "stop_timeout: ", "environment: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := influxtest.Config(t)
			test.change(t, &cfg)
			s, err := influxd.Start(t.Context(), cfg, quiet)
			if err == nil {
				s.Close()
				t.Fatal("started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want a word of %q", err, want)
				}
			}
			t.Log(err)
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	cfg := influxtest.Config(t)
	cfg.Binary = script(t, "exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := influxd.Start(ctx, cfg, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestComplaintsAreWarningsButNotAFlood(t *testing.T) {
	cfg := influxtest.Config(t)
	cfg.Binary = script(t, `echo 'ts=1 lvl=info msg="all is well" log_id=1' >&2
i=0; while [ $i -lt 100 ]; do echo 'ts=1 lvl=error msg="no space" log_id=1' >&2; i=$((i+1)); done
head -c 1000000 /dev/zero | tr '\0' x >&2; exit 1`)
	var l logs
	_, err := influxd.Start(t.Context(), cfg, l.logger())
	if err == nil || len(err.Error()) > 64<<10 {
		t.Errorf("got an error of %d bytes", len(fmt.Sprint(err)))
	}
	if got := strings.Count(l.String(), "level=WARN"); got != 10 {
		t.Errorf("%d warnings, want 10", got)
	}
	if got := strings.Count(l.String(), "level=DEBUG"); got != 92 {
		t.Errorf("%d lines for debugging, want 92: the rest, and the good one", got)
	}
}
