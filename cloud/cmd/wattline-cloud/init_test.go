package main // run is not exported: a command has no interface for others

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var siteFlags = []string{"-name", "House", "-default-floor", "1", "-time-zone", "Europe/Madrid"}

func initIn(t *testing.T, dir string, stdout io.Writer, more ...string) (string, error) {
	t.Helper()
	var stderr strings.Builder
	args := append([]string{"init", "-data", dir}, siteFlags...)
	err := run(t.Context(), append(args, more...), stdout, &stderr)
	return stderr.String(), err
}

func TestInitMakesASiteOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cloud")
	var stdout strings.Builder
	said, err := initIn(t, dir, &stdout, "-admin", "Ana")
	if err != nil || !strings.Contains(said, "authority") || !strings.Contains(said, "Ana") {
		t.Fatalf("%v, %s", err, said)
	}
	token := strings.TrimSpace(stdout.String())
	if !regexp.MustCompile(`^wattline_[A-Za-z0-9_-]{43}$`).MatchString(token) {
		t.Errorf("stdout %q", stdout.String())
	}
	for _, name := range []string{"ca.key", "registry.db"} {
		file := filepath.Join(dir, "registry", name)
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), token) {
			t.Errorf("%s has the token", name)
		}
	}
	before, _ := os.ReadFile(filepath.Join(dir, "registry", "ca.pem"))
	stdout.Reset()
	_, err = initIn(t, dir, &stdout)
	if err == nil || !strings.Contains(err.Error(), "there is a site below "+dir+" already") || stdout.Len() > 0 {
		t.Errorf("a second time: %v, %q", err, stdout.String())
	}
	err = run(t.Context(), []string{"init", "-data", dir, "-name", "Other", "-default-floor", "2", "-time-zone", "UTC"}, &stdout, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"House" with the default floor 1`) || stdout.Len() > 0 {
		t.Errorf("another site: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "registry", "ca.pem")); string(after) != string(before) {
		t.Error("the authority is another one")
	}
}

// full is a stdout whose reader has gone.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestInitCanBeRepeatedUntilTheTokenWasShown(t *testing.T) {
	dir := t.TempDir()
	if _, err := initIn(t, dir, full{}); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Fatalf("the token went nowhere: %v", err)
	}
	var stdout strings.Builder
	said, err := initIn(t, dir, &stdout)
	if err != nil || stdout.Len() == 0 || strings.Contains(said, "authority") {
		t.Errorf("again: %v, %q, %s", err, stdout.String(), said)
	}
}

func TestInitNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args  []string
		words string
	}{
		"nothing":            {nil, "required: -name -default-floor -time-zone"},
		"an argument":        {append([]string{"-data", dir, "now"}, siteFlags...), `unexpected argument "now"`},
		"no such zone":       {[]string{"-data", dir, "-name", "a", "-default-floor", "1", "-time-zone", "Mars/Base"}, "Mars/Base"},
		"an empty name":      {[]string{"-data", dir, "-name", "", "-default-floor", "1", "-time-zone", "UTC"}, "name"},
		"a name of others":   {append([]string{"-data", dir, "-admin", "mqtt"}, siteFlags...), "audit log"},
		"both":               {append([]string{"-data", dir, "-config", "x"}, siteFlags...), "not both"},
		"no such file":       {append([]string{"-config", filepath.Join(dir, "none.yaml")}, siteFlags...), "none.yaml"},
		"a floor of letters": {[]string{"-default-floor", "two"}, "two"},
	} {
		err := run(t.Context(), append([]string{"init"}, c.args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := initIn(t, dir, io.Discard); err != nil {
		t.Errorf("what went wrong is in the way: %v", err)
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"init", "-help"}, io.Discard, &help); err != nil || !strings.Contains(help.String(), "-time-zone") {
		t.Errorf("%v, %s", err, help.String())
	}
}
