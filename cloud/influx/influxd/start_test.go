package influxd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

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

func TestInfluxdKilledWhileItStartsIsStartedAgain(t *testing.T) {
	cfg := influxtest.Config(t)
	died := filepath.Join(t.TempDir(), "died")
	cfg.Binary = script(t, fmt.Sprintf("[ -e %[1]s ] || { touch %[1]s; kill -KILL $$; }\nexec %[2]s \"$@\"", died, cfg.Binary))
	mustStart(t, cfg, quiet).Close()
	if _, err := os.Stat(died); err != nil {
		t.Fatalf("it was not killed: %v", err)
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
