package interop_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// programs is where TestMain built the programs under test.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wattline-interop-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	programs = dir
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "interop: the harness leaks:", err)
			return 1
		}
	}
	return code
}

// build makes the programs of the tree as it is: a bin/ of yesterday proves
// nothing.
func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", dir+"/", "../../edge/cmd/wattline-edge", "../../edge/cmd/plugsim", "../../cloud/cmd/wattline-cloud", "../../provisioning/cmd/wattline")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, text)
	}
	return nil
}

func program(name string) string { return filepath.Join(programs, name) }

// long reports whether the long form is wanted.
func long() bool { return os.Getenv("WATTLINE_LONG") != "" }

func needLong(t *testing.T, why string) {
	t.Helper()
	if !long() {
		t.Skip(why + ": WATTLINE_LONG=1 or make interop runs it")
	}
}

// eventually waits until ok, asking every 50 ms.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond) // polling under a deadline
	}
}
