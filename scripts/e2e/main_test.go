package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// programs is where TestMain built the programs under test.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	// They wait more than they work: more of them at once than there are cores.
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set("5")
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wattline-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	programs = dir
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: the harness leaks:", err)
			return 1
		}
	}
	return code
}

// build makes the programs of the tree as it is: a bin/ of yesterday proves
// nothing.
func build(dir string) error {
	args := []string{"build", "-o", dir + "/"}
	if os.Getenv("WATTLINE_E2E_RACE") != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../../edge/cmd/wattline-edge", "../../cloud/cmd/wattline-cloud", "../../provisioning/cmd/wattline")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, text)
	}
	return nil
}

func program(name string) string { return filepath.Join(programs, name) }

// long reports whether the long form is wanted.
func long() bool { return os.Getenv("WATTLINE_LONG") != "" }

// count is a number from the environment, or what is usual in the short and in
// the long form.
func count(t testing.TB, key string, short, usual int) int {
	t.Helper()
	if text := os.Getenv(key); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			t.Fatalf("%s: %q is no number", key, text)
		}
		return n
	}
	if long() {
		return usual
	}
	return short
}

// dice are random numbers from a seed that is printed: WATTLINE_SEED replays.
func dice(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WATTLINE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("WATTLINE_SEED: %q is no number", text)
		}
		seed = n
	}
	t.Logf("WATTLINE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between draws a duration.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// pause lets the world run for a while: it is time passing that a test is
// about, never a wait for something to be ready.
func pause(d time.Duration) { time.Sleep(d) }

// eventually waits until ok, asking every 50 ms.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
