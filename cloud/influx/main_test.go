package influx_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect gives a client of the server, its configuration changed by change.
func connect(t testing.TB, s *influxtest.Server, change ...func(*influx.Config)) *influx.Client {
	t.Helper()
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = s.URL, config.Secret(s.Token), s.Org
	for _, f := range change {
		f(&cfg)
	}
	var options []influx.Option
	if s.Embedded != nil {
		options = append(options, influx.WhenStuck(s.Embedded.Heal))
	}
	c, err := influx.New(cfg, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// verdict is what an error says to whoever has to decide.
type verdict struct{ refused, expired, operator bool }

func verdictOf(t *testing.T, err error) verdict {
	t.Helper()
	e, ok := errors.AsType[*influx.Error](err)
	if !ok {
		t.Fatalf("got %v (%T), want an *influx.Error", err, err)
	}
	return verdict{e.Refused(), e.BeyondRetention(), e.NeedsOperator()}
}

// mustQuery gives all rows of all series.
func mustQuery(t testing.TB, c *influx.Client, database, influxql string) [][]any {
	t.Helper()
	var all [][]any
	err := c.Query(t.Context(), database, influxql, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
		all = append(all, rows...)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", influxql, err)
	}
	return all
}

// mustCount gives how many points of the measurement have a field value.
func mustCount(t testing.TB, c *influx.Client, database, measurement string) int64 {
	t.Helper()
	rows := mustQuery(t, c, database, `SELECT count(value) FROM "`+measurement+`"`)
	if len(rows) == 0 {
		return 0
	}
	n, err := rows[0][1].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustExec(t testing.TB, c *influx.Client, database string, statements ...string) {
	t.Helper()
	for s := range slices.Values(statements) {
		if err := c.Exec(t.Context(), database, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func mustWrite(t testing.TB, c *influx.Client, database, lines string) {
	t.Helper()
	if err := c.Write(t.Context(), database, []byte(lines)); err != nil {
		t.Fatal(err)
	}
}

// kill ends a process as a crash does.
func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// freeze stops a process as a stalled machine does, until the test ends or
// thaw is called.
func freeze(t testing.TB, pid int) (thaw func()) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(thaw)
	// The signal stops one thread after the other.
	waitFor(t, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && !slices.ContainsFunc(threads, func(path string) bool {
			text, err := os.ReadFile(path)
			return err == nil && !bytes.Contains(text, []byte(") T "))
		})
	})
	return thaw
}
