package flash_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/provisioning/flash"
)

// What the gateway itself says to the configuration that a box is given.
func TestTheGatewayTakesItsConfiguration(t *testing.T) {
	edge := filepath.Join(t.TempDir(), "wattline-edge")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", edge, "github.com/wattline/wattline/edge/cmd/wattline-edge")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the gateway: %v\n%s", err, out)
	}
	b := box(t)
	b.Broker = "tls://[2001:db8::1]:8883"
	_, files := userDataOf(t, seedOf(t, b))
	// The paths of a box, here.
	root := t.TempDir()
	text := strings.NewReplacer("/etc/wattline", root, "/var/lib/wattline", root).Replace(files["/etc/wattline/edge.yaml"])
	config := filepath.Join(root, "edge.yaml")
	check(t, os.WriteFile(config, []byte(text), 0o600))
	check(t, os.WriteFile(filepath.Join(root, "ca.pem"), []byte(files["/etc/wattline/ca.pem"]), 0o600))
	if out, err := exec.CommandContext(t.Context(), edge, "-check", "-config", config).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, text)
	}
	// And the program is one that an image takes.
	if _, err := flash.Seed(t.Context(), flash.SeedOptions{Out: filepath.Join(root, "seed"), Edge: edge, Box: b}); err != nil {
		t.Error(err)
	}
}

// machine is a box in a directory: its files, and the programs of a system that
// write down how they were called.
func machine(t *testing.T) (root string, boot func(sum string) (calls string, err error)) {
	t.Helper()
	root = t.TempDir()
	bin := filepath.Join(root, "bin")
	check(t, os.MkdirAll(bin, 0o700))
	for _, name := range []string{"systemctl", "useradd", "chown", "chgrp", "mount", "umount", "id"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n[ %s != id ]\n", name, filepath.Join(root, "calls"), name)
		check(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700))
	}
	return root, func(sum string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(root, "usr/lib/wattline/first-boot"), sum)
		cmd.Env = []string{"ROOT=" + root, "PATH=" + bin + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		calls, _ := os.ReadFile(filepath.Join(root, "calls"))
		return string(calls) + string(out), err
	}
}

func TestTheFirstBootInstallsTheGateway(t *testing.T) {
	files := seedOf(t, box(t))
	u, byPath := userDataOf(t, files)
	root, boot := machine(t)
	place := func(path, text string) {
		t.Helper()
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700))
		check(t, os.WriteFile(filepath.Join(root, path), []byte(text), 0o600))
	}
	for path, text := range byPath {
		place(path, text)
	}
	for name, text := range files {
		place("boot/firmware/"+name, text)
	}
	calls, err := boot(u.Commands[0][2])
	if err != nil {
		t.Fatalf("%v\n%s", err, calls)
	}
	for _, want := range []string{"useradd --system", "systemctl enable wattline-edge.service", "systemctl restart wattline-edge.service", "chown -R wattline:wattline"} {
		if !strings.Contains(calls, want) {
			t.Errorf("%s was not done:\n%s", want, calls)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(root, "usr/bin/wattline-edge")); string(got) != files["wattline-edge"] {
		t.Error("the program is not in place")
	}
	if got, _ := os.ReadFile(filepath.Join(root, "var/lib/wattline/join.token")); strings.TrimSpace(string(got)) != joinToken {
		t.Errorf("join token %q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(root, "boot/firmware/user-data")); strings.Contains(string(got), joinToken) || !strings.HasPrefix(string(got), "#cloud-config\n") {
		t.Errorf("user-data afterwards: %q", got)
	}
}

func TestTheFirstBootRefusesADamagedProgram(t *testing.T) {
	files := seedOf(t, box(t))
	u, byPath := userDataOf(t, files)
	root, boot := machine(t)
	check(t, os.MkdirAll(filepath.Join(root, "usr/lib/wattline"), 0o700))
	check(t, os.WriteFile(filepath.Join(root, "usr/lib/wattline/first-boot"), []byte(byPath["/usr/lib/wattline/first-boot"]), 0o700))
	out, err := boot(u.Commands[0][2])
	if err == nil || !strings.Contains(out, "install the package") {
		t.Errorf("without a program: %v\n%s", err, out)
	}
	check(t, os.MkdirAll(filepath.Join(root, "var/lib/cloud/seed/nocloud"), 0o700))
	check(t, os.WriteFile(filepath.Join(root, "var/lib/cloud/seed/nocloud/wattline-edge"), []byte("half of it"), 0o600))
	out, err = boot(u.Commands[0][2])
	if err == nil || !strings.Contains(out, "is damaged") {
		t.Errorf("with half a program: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/wattline-edge")); err == nil {
		t.Error("it was installed all the same")
	}
}

func TestTheUnitIsOneThatSystemdTakes(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (package systemd): the unit is not checked")
	}
	text, err := os.ReadFile("wattline-edge.service")
	check(t, err)
	there := strings.Replace(string(text), "/usr/bin/wattline-edge", "/bin/true", 1) // the program need not be on this machine
	name := filepath.Join(t.TempDir(), "wattline-edge.service")
	check(t, os.WriteFile(name, []byte(there), 0o600))
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", name).CombinedOutput(); err != nil || strings.Contains(string(out), "wattline-edge.service") {
		t.Errorf("%v\n%s", err, out)
	}
}
