package spec_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

// The hook of twenty lines that docs/hooks/go.md shows is built in a module of its
// own, as somebody outside would, and runs.
func TestTheHookOfTwentyLinesWorksFromOutside(t *testing.T) {
	shown := read(t, filepath.Join(root, "shared", "hook", "example_test.go"))
	program := strings.NewReplacer("package hook_test", "package main", "func Example()", "func main()", `"tcp://127.0.0.1:1883"`, "os.Args[1]").Replace(shown)
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// What it requires is what Wattline requires, so that nothing has to be looked
	// for on a network.
	mod := strings.Replace(read(t, filepath.Join(root, "go.mod")), "module github.com/wattline/wattline", "module example.com/heavy", 1) +
		"\nrequire github.com/wattline/wattline v0.0.0\n\nreplace github.com/wattline/wattline => " + here + "\n"
	for name, text := range map[string]string{"main.go": program, "go.mod": mod, "go.sum": read(t, filepath.Join(root, "go.sum"))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "heavy", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOPROXY=off", "GOFLAGS=")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	b := bustest.Start(t)
	s := &system{t: t, ctx: t.Context(), mqtt: b.URL}
	gateway := s.client("gateway", "", nil)
	c := run(t, nil, filepath.Join(dir, "heavy"), b.URL)
	s.until("the hook says what it heard", func() bool {
		s.publish(gateway, bus.StateTopic("edge-f1", "sp_f1.g0"), []byte(`[{"n":"sp_f1.g0/power","u":"W","t":1700000000,"v":2345}]`))
		for _, line := range c.all() {
			if strings.HasPrefix(line, "sp_f1.g0 draws 2345 W since 2023-11-14") {
				return true
			}
		}
		return false
	})
}
