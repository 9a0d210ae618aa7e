package influxd_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
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
	var said logs
	first := mustStart(t, cfg, said.logger())
	mustQuery(t, first, first.Token(), "CREATE DATABASE d")
	mustWrite(t, first, "m value=1 1\n")
	first.Close()
	first.Close() // twice is fine
	select {
	case <-first.Done():
	default:
		t.Error("closed and not done")
	}
	if strings.Contains(said.String(), "level=WARN") {
		t.Errorf("an ordinary life warned: %s", said.String())
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
