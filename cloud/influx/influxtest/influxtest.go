// Package influxtest gives tests a real InfluxDB, as httptest gives them a real
// HTTP server: the embedded 1.8.10 in a directory of the test, or any server,
// 1.8 or 2.x, that the environment names.
package influxtest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxd"
)

// The variables that name a server to use instead of the embedded one. The
// organization is "wattline" unless EnvOrg says otherwise.
const (
	EnvURL   = "WATTLINE_TEST_INFLUX_URL"
	EnvToken = "WATTLINE_TEST_INFLUX_TOKEN"
	EnvOrg   = "WATTLINE_TEST_INFLUX_ORG"
)

// Server is an InfluxDB to test with.
type Server struct {
	URL   string
	Token string
	Org   string
	// Embedded is the supervised influxd; nil where the environment named a
	// server, so that tests that kill it can skip.
	Embedded *influxd.Server
}

// Start gives a server that ends with the test. Without a server in the
// environment and without bin/influxd the test is skipped, and fails where CI
// is set.
func Start(t testing.TB) *Server {
	t.Helper()
	if url := os.Getenv(EnvURL); url != "" {
		org := os.Getenv(EnvOrg)
		if org == "" {
			org = "wattline"
		}
		return &Server{URL: url, Token: os.Getenv(EnvToken), Org: org}
	}
	return StartEmbedded(t, nil)
}

// StartEmbedded gives an embedded server whatever the environment names, with
// these variables in influxd's environment, such as
// INFLUXDB_HTTP_MAX_BODY_SIZE. For tests that kill it or change its limits.
func StartEmbedded(t testing.TB, environment map[string]string) *Server {
	t.Helper()
	cfg := Config(t)
	cfg.Environment = environment
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := influxd.Start(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("start InfluxDB: %v", err)
	}
	t.Cleanup(s.Close)
	return &Server{URL: s.URL(), Token: s.Token(), Org: "wattline", Embedded: s}
}

// Config is a configuration for influxd.Start in a new directory of the test.
func Config(t testing.TB) influxd.Config {
	t.Helper()
	cfg := influxd.DefaultConfig()
	cfg.Dir = t.TempDir()
	cfg.Binary = binary(t)
	cfg.StopTimeout = 10 * time.Second
	return cfg
}

// Database gives a name that no other test uses.
func Database(t testing.TB) string {
	t.Helper()
	return "test_" + strconv.FormatUint(rand.Uint64(), 36)
}

// binary finds bin/influxd beside go.mod, above the package under test.
func binary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	path := filepath.Join(dir, "bin", "influxd")
	if _, err := os.Stat(path); err != nil {
		const reason = "no bin/influxd: build it with `make influxd`"
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return path
}
