package main // run is not exported: a command has no interface for others

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/wattline/wattline/cloud/influx/influxtest"
)

func do(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	err := run(t.Context(), args, &stdout, io.Discard)
	return stdout.String(), err
}

func must(t *testing.T, want string, args ...string) {
	t.Helper()
	said, err := do(t, args...)
	if err != nil || !strings.Contains(said, want) {
		t.Fatalf("%v: %v, %q, want %q in it", args, err, said, want)
	}
}

// configured writes a configuration for a data directory.
func configured(t *testing.T, data, store string, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cloud.yaml")
	text := "data: " + data + "\ninfluxd: {binary: " + influxtest.Config(t).Binary + "}\nbackup: {directory: " + store + more + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestASiteIsBackedUpAndBroughtBackByCommands(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, dir := t.TempDir(), filepath.Join(t.TempDir(), "store")
	file := configured(t, data, dir, ", recipients: ["+id.Recipient().String()+"]")
	if _, err := do(t, "backup", "-config", file); err == nil || !strings.Contains(err.Error(), "there is no site") {
		t.Errorf("without a site: %v", err)
	}
	if _, err := do(t, append([]string{"init", "-config", file}, siteFlags...)...); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, "backup", "-config", file, "-list"); err == nil || !strings.Contains(err.Error(), "there is no backup") {
		t.Errorf("without a backup: %v", err)
	}
	must(t, "4 files of roles", "backup", "-config", file)
	must(t, "4 files of roles", "backup", "-config", file)
	want := map[string]string{}
	for _, name := range []string{"registry.db", "ca.key", "ca.pem"} {
		want[name] = read(t, filepath.Join(data, "registry"), name)
	}
	must(t, "House", "backup", "-config", file, "-list")
	must(t, "is whole", "backup", "-check", "-from", dir, "-config", "none.yaml")
	must(t, "2 are kept", "backup", "-config", file, "-prune", "-dry-run")

	again := filepath.Join(t.TempDir(), "data")
	other := configured(t, again, dir, "")
	must(t, "Dry run, nothing was changed", "restore", "-config", other, "-identity", secret, "-dry-run")
	if _, err := os.Stat(again); err == nil {
		t.Error("a dry run made a data directory")
	}
	if _, err := do(t, "restore", "-config", other); err == nil || !strings.Contains(err.Error(), "-identity") {
		t.Errorf("without a key: %v", err)
	}
	must(t, "The configuration as it was is", "restore", "-config", other, "-identity", secret)
	for name, text := range want {
		if read(t, filepath.Join(again, "registry"), name) != text {
			t.Errorf("%s is another", name)
		}
	}
	if read(t, again, "restored/cloud.yaml") != read(t, filepath.Dir(file), "cloud.yaml") {
		t.Error("the configuration is another")
	}
	must(t, "Brought back", "restore", "-config", other, "-identity", secret) // again
	if err := os.WriteFile(filepath.Join(again, "registry", "ca.pem"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, "restore", "-config", other, "-identity", secret); err == nil || !strings.Contains(err.Error(), "-replace") {
		t.Errorf("over a file that differs: %v", err)
	}
	must(t, "Brought back", "restore", "-config", other, "-identity", secret, "-replace")
	if aside, err := filepath.Glob(filepath.Join(again, "registry", "ca.pem.before-restore-*")); err != nil || len(aside) != 1 {
		t.Errorf("put aside are %v, %v", aside, err)
	}
}

func TestRestoreNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args  []string
		words string
	}{
		"no store":       {[]string{"restore", "-data", dir}, "-from DIR"},
		"both":           {[]string{"restore", "-data", dir, "-config", "x"}, "not both"},
		"no such store":  {[]string{"restore", "-data", dir, "-from", filepath.Join(dir, "a", "b")}, "mounted"},
		"no time":        {[]string{"restore", "-at", "noon"}, "2026-11-24"},
		"an argument":    {[]string{"restore", "now"}, `unexpected argument "now"`},
		"no such key":    {[]string{"restore", "-data", dir, "-from", dir, "-identity", filepath.Join(dir, "none")}, "none"},
		"backup nowhere": {[]string{"backup", "-list", "-config", "../../../docs/samples/cloud.yaml"}, "backup.directory"},
		"backup of what": {[]string{"backup", "now"}, `unexpected argument "now"`},
	} {
		if _, err := do(t, c.args...); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"backup", "restore"} {
		var help strings.Builder
		if err := run(t.Context(), []string{name, "-help"}, io.Discard, &help); err != nil || !strings.Contains(help.String(), "Usage: wattline-cloud "+name) {
			t.Errorf("%v, %s", err, help.String())
		}
	}
}
