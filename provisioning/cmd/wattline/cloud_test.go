package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// realCloud starts bin/wattline-cloud with a site of its own, tokens and TLS, and
// gives the environment that a wattline needs to speak to it. The roles that
// need InfluxDB do not run; the audit log does without theirs after a second.
func realCloud(t *testing.T) (env map[string]string) {
	t.Helper()
	program, err := filepath.Abs("../../../bin/wattline-cloud")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("bin/wattline-cloud is not built; make build does")
	}
	dir := t.TempDir()
	api, broker := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "cloud.yaml")
	text := fmt.Sprintf("data: %s\nhttp: {listen: '%s', tokens: required, answer_timeout: 1s, tls: {hosts: [127.0.0.1]}}\nbroker: {listen: '%s'}\n", dir, api, broker)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(program)+":"+os.Getenv("PATH"))
	made := runAs(t, nil, "", "site", "init", "--", "-config", file, "-name", "Calle Mayor", "-default-floor", "1", "-time-zone", "Europe/Madrid")
	made.wants(t, exitDone, "wattline_", "")

	var log bytes.Buffer
	cmd := exec.Command(program, "-config", file, "-roles", "broker,registry,api")
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		_ = cmd.Wait()                          // its exit code is not the matter
		if t.Failed() {
			t.Logf("the cloud said:\n%s", &log)
		}
	})
	return map[string]string{
		"WATTLINE_SERVER": "https://" + api, "WATTLINE_CA": filepath.Join(dir, "registry", "ca.pem"), "WATTLINE_TOKEN": strings.TrimSpace(made.stdout),
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until runs a command again and again, for what the registry says arrives at
// the api a moment later.
func until(t *testing.T, env map[string]string, want string, args ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		r := runAs(t, env, "", args...)
		if r.code == exitDone && strings.Contains(r.stdout, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("wattline %s never said %q; at last\n%s%s", strings.Join(args, " "), want, r.stdout, r.stderr)
		}
		<-tick.C
	}
}

func TestASiteIsMadeByCommandsOnly(t *testing.T) {
	env := realCloud(t)
	do := func(want string, args ...string) string {
		t.Helper()
		r := runAs(t, env, "", args...)
		r.wants(t, exitDone, want, "")
		return r.stdout
	}
	refused := func(code int, want string, args ...string) {
		t.Helper()
		runAs(t, env, "", args...).wants(t, code, "", want)
	}
	until(t, env, "Calle Mayor", "site", "show")

	do("edge-f1 is made", "gateways", "create", "edge-f1", "--floor", "1", "--label", "First floor", "--scan", "10.9.0.0/24")
	do("edge-f2 is made", "gateways", "create", "edge-f2", "--floor", "2")
	refused(exitConflict, "edge-f2 is registered already", "gateways", "create", "edge-f2", "--floor", "2")
	do("wattline_join_", "gateways", "join-token", "edge-f2", "--days", "7")
	do("expected", "gateways", "requests")
	refused(exitConflict, "no box asks to be edge-f2", "gateways", "approve", "edge-f2")

	dir := t.TempDir()
	csv := filepath.Join(dir, "places.csv")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(csv, "\ufeffDevice;MAC;Label\r\nsp_f1.w.r0.c0;AC:84:C6:59:D9:A1;\"Ana;\r\nmesa 1\"\r\nsp_f2.g3;ac84c659d9a2;Sala Goya\r\n")
	do("2 added", "import", csv, "--dry-run")
	do("2 added", "import", csv, "--reason", "first plugs")
	do("0 added, 0 changed, 0 removed", "import", csv)
	until(t, env, "Ana; mesa 1", "devices", "list", "--type", "w")

	bad := filepath.Join(dir, "bad.csv")
	write(bad, "device,mac,label\nsp_f1.g1,AC:84:C6:59:D9:A1,x\nsp_f1.g2,zz,y\nsp_f1.g3,,z\n")
	refused(exitNotDone, "line 2, mac: AC:84:C6:59:D9:A1 is at sp_f1.w.r0.c0", "import", bad)
	refused(exitNotDone, "line 3, mac: \"zz\"", "import", bad)
	do("places", "export", "--format", "yaml") // nothing half-applied:
	if out := do("", "export"); strings.Contains(out, "sp_f1.g3") {
		t.Errorf("a file with mistakes was taken in part:\n%s", out)
	}

	site := filepath.Join(dir, "site.yaml")
	do("", "export", "--out", site)
	do("0 added, 0 changed, 0 removed", "import", site, "--remove")
	if text, err := os.ReadFile(site); err != nil || !strings.Contains(string(text), "10.9.0.0/24") {
		t.Errorf("the ranges of edge-f1 are not in the export:\n%s%v", text, err)
	}

	do("sp_f2.g3 is changed", "devices", "change", "sp_f2.g3", "--owner", "ana", "--max-power", "60", "--reason", "asked")
	refused(exitConflict, "somebody else has changed it", "devices", "change", "sp_f2.g3", "--owner", "eva", "--if-revision", "1")
	do("is protected", "devices", "protect", "sp_f2.g3", "--reason", "the fridge")
	until(t, env, "the fridge", "devices", "show", "sp_f2.g3")
	do("AC:84:C6:59:D9:A9 is at sp_f2.g3", "plugs", "swap", "sp_f2.g3", "AC:84:C6:59:D9:A9")
	refused(exitConflict, "sp_f1.w.r0.c0", "devices", "create", "sp_f1.g9", "--mac", "AC:84:C6:59:D9:A1")
	do("sp_f2.g3 is deleted", "devices", "delete", "sp_f2.g3", "--yes")

	tokens := filepath.Join(dir, "viewer.token")
	do("The token is in", "tokens", "create", "vera", "--role", "viewer", "--out", tokens)
	until(t, env, "sp_f1.w.r0.c0", "devices", "list", "--token-file", tokens)
	refused(exitDenied, "needs the role admin", "gateways", "delete", "edge-f2", "--yes", "--token-file", tokens)
	do("first plugs", "audit", "--what", "import inventory")
	until(t, env, "needs the role admin", "audit", "--who", "vera", "--result", "refused")

	env["WATTLINE_TOKEN"] = "wattline_of_another_site_0123456789"
	refused(exitDenied, "--token-file", "site", "show")
	env["WATTLINE_CA"] = ""
	refused(exitAway, "--ca", "site", "show")
	http.DefaultClient.CloseIdleConnections()
}
