package main // run is not exported: a command has no interface for others

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packed makes a package of version, with a shell script for a program.
func packed(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	edge := filepath.Join(dir, "edge")
	if err := os.WriteFile(edge, []byte("#!/bin/sh\necho "+version+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	if err := run([]string{"-arch", "amd64", "-version", version, "-edge", edge, "-root", "../..", "-out", dir}); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	return names[0]
}

// sh runs a program and gives what it said.
func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: this is tried on Debian", program)
	}
}

func TestDpkgReadsThePackage(t *testing.T) {
	need(t, "dpkg-deb")
	name := packed(t, "v1.2.3-4-gabcdef")
	if got := sh(t, "dpkg-deb", "-f", name, "Version", "Architecture"); got != "Version: 1.2.3+4+gabcdef\nArchitecture: amd64\n" {
		t.Errorf("fields %q", got)
	}
	contents := sh(t, "dpkg-deb", "-c", name)
	for _, want := range []string{"-rwxr-xr-x root/root", "./usr/bin/wattline-edge", "./usr/lib/systemd/system/wattline-edge.service", "-rw-r----- root/root", "./etc/wattline/edge.yaml"} {
		if !strings.Contains(contents, want) {
			t.Errorf("contents without %s:\n%s", want, contents)
		}
	}
	first, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(packed(t, "v1.2.3-4-gabcdef")); err != nil || string(again) != string(first) {
		t.Errorf("the same package has other bytes, %v", err)
	}
}

func TestVersionsSortAsTheyFollow(t *testing.T) {
	need(t, "dpkg")
	versions := []string{"2e285bb-dirty", "v0.9.0", "v0.9.0-12-g2e285bb", "v1.0.0"}
	for i := range versions[1:] {
		older, newer := packed(t, versions[i]), packed(t, versions[i+1])
		a, b := strings.TrimSpace(sh(t, "dpkg-deb", "-f", older, "Version")), strings.TrimSpace(sh(t, "dpkg-deb", "-f", newer, "Version"))
		sh(t, "dpkg", "--compare-versions", a, "lt", b)
	}
}

// A package is installed, upgraded, removed and purged, and the readings that
// wait are there all the time. In a root of Debian, which `make deb-test` makes,
// the scripts run inside; without one dpkg runs them outside on a root of nearly
// nothing. Neither has a systemd that runs.
func TestReadingsSurviveThePackage(t *testing.T) {
	need(t, "dpkg")
	if os.Geteuid() != 0 {
		t.Skip("installing packages takes root")
	}
	base := os.Getenv("WATTLINE_DEBIAN_ROOT")
	if base == "" {
		t.Log("no WATTLINE_DEBIAN_ROOT (make deb-test makes one): the scripts run outside of the root")
		story(t, bare(t))
		return
	}
	root := t.TempDir()
	sh(t, "cp", "-a", base+"/.", root)
	story(t, machine{root: root, dpkg: func(args ...string) string { return sh(t, "chroot", append([]string{root, "dpkg"}, args...)...) }})
}

// machine has a root directory and a dpkg that works on it.
type machine struct {
	root    string
	outside bool // dpkg runs outside of it
	dpkg    func(args ...string) string
}

func bare(t *testing.T) machine {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"var/lib/dpkg/status": "", "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:::::::\n", "etc/gshadow": "root:*::\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return machine{root, true, func(args ...string) string {
		return sh(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless", "--force-depends"}, args...)...)
	}}
}

func story(t *testing.T, m machine) {
	t.Helper()
	at := func(name string) string { return filepath.Join(m.root, name) }
	there := func(name string) bool { _, err := os.Stat(at(name)); return err == nil }
	read := func(name string) string { text, _ := os.ReadFile(at(name)); return string(text) }
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := func(version string) {
		t.Helper()
		name := "/tmp/" + version + ".deb"
		deb, err := os.ReadFile(packed(t, version))
		if err != nil {
			t.Fatal(err)
		}
		put(name, string(deb))
		if m.outside {
			name = at(name)
		}
		m.dpkg("--force-confold", "-i", name)
	}
	const backlog = "readings that nobody has seen yet"
	waits := func(when string) {
		t.Helper()
		if got := read("var/lib/wattline/outbox.db"); got != backlog {
			t.Fatalf("%s the backlog is %q", when, got)
		}
	}

	install("v1.0.0")
	if !strings.Contains(read("etc/passwd"), "\nwattline:") {
		t.Errorf("no user:\n%s", read("etc/passwd"))
	}
	info, err := os.Stat(at("var/lib/wattline"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Fatalf("data directory: %v, %v", info, err)
	}
	if _, err := os.Lstat(at("etc/systemd/system/multi-user.target.wants/wattline-edge.service")); err != nil && there("usr/bin/systemctl") {
		t.Errorf("it is not enabled: %v", err)
	}
	put("var/lib/wattline/outbox.db", backlog)
	put("var/lib/wattline/enrolment/box.key", "key")
	const mine = "gateway: edge-f2 # by the operator\n"
	put("etc/wattline/edge.yaml", mine)

	install("v1.1.0")
	waits("after an upgrade")
	if got := read("etc/wattline/edge.yaml"); got != mine || !strings.Contains(read("usr/bin/wattline-edge"), "v1.1.0") {
		t.Errorf("after an upgrade: configuration %q, program %q", got, read("usr/bin/wattline-edge"))
	}
	m.dpkg("-r", "wattline-edge")
	waits("after removal")
	if there("usr/bin/wattline-edge") || !there("etc/wattline/edge.yaml") || !there("var/lib/wattline/enrolment/box.key") {
		t.Error("removal took too little or too much")
	}
	install("v1.1.0")
	waits("after installing again")
	said := m.dpkg("-P", "wattline-edge")
	waits("after a purge")
	if there("etc/wattline") || there("var/lib/wattline/enrolment") || !strings.Contains(said, "readings may wait in") {
		t.Errorf("after a purge, which said %q", said)
	}
	install("v1.1.0")
	if err := os.Remove(at("var/lib/wattline/outbox.db")); err != nil {
		t.Fatal(err)
	}
	m.dpkg("-P", "wattline-edge")
	if there("var/lib/wattline") {
		t.Error("a purge without readings leaves the directory")
	}
}

func TestWhatCannotBePacked(t *testing.T) {
	for _, args := range [][]string{{"-arch", "mips"}, {"-arch", "amd64", "-root", "../..", "-edge", "/nonexistent"}, {"-x"}} {
		if err := run(append(args, "-out", t.TempDir())); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
