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
// gives the environment that a wattline needs to speak to it. Beside broker,
// registry and api it runs the roles that are asked for. InfluxDB does not run;
// the audit log does without it after a second.
func realCloud(t *testing.T, more ...string) (env map[string]string) {
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
	cmd := exec.Command(program, "-config", file, "-roles", strings.Join(append([]string{"broker", "registry", "api"}, more...), ","))
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

func TestAlertsAreHushedAndRuledByCommandsOnly(t *testing.T) {
	env := realCloud(t, "alerting")
	do := func(want string, args ...string) {
		t.Helper()
		runAs(t, env, "", args...).wants(t, exitDone, want, "")
	}
	refused := func(code int, want string, args ...string) {
		t.Helper()
		runAs(t, env, "", args...).wants(t, code, "", want)
	}
	until(t, env, "gateway-offline", "alerts", "rules")

	dir := t.TempDir()
	file, bad := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "bad.yaml")
	do("", "alerts", "rules", "export", "--out", file)
	do("Dry run, nothing was changed", "alerts", "rules", "import", file, "--dry-run")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rules, _ := strings.Cut(string(text), "rules:\n")
	indent, _, _ := strings.Cut(rules, "-")
	ours := "rules:\n" + indent + "- {name: drill, severity: warning, signal: site.receivers_failing, when: {equals: 0}, summary: \"A drill.\"}\n"
	if err := os.WriteFile(file, []byte(before+ours+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	do("+ drill", "alerts", "rules", "import", file, "--reason", "a rule of ours")
	if err := os.WriteFile(bad, []byte("rules:\n  - {name: X, severity: bad, signal: power, when: {above: 1}, summary: s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(exitNotDone, "want a lower-case letter", "alerts", "rules", "import", bad)
	refused(exitNotDone, "severity", "alerts", "rules", "import", bad)
	do("site.receivers_failing", "alerts", "rules", "show", "drill")
	refused(exitNotDone, "no-such-rule", "alerts", "rules", "show", "no-such-rule")
	refused(exitConflict, "somebody else has changed", "alerts", "rules", "disable", "drill", "--if-revision", "1")

	until(t, env, "drill/site", "alerts", "--rule", "drill")
	do("A drill.", "alerts", "show", "drill/site")
	do("drill/site is acknowledged", "alerts", "ack", "drill/site", "--reason", "seen")
	do("seen by ", "alerts", "--rule", "drill")
	do("drill/site is awake again", "alerts", "wake", "--rule", "drill", "--severity", "warning")
	do("drill/site is snoozed", "alerts", "snooze", "drill/site", "--for", "2h")
	do("until 20", "alerts", "list", "--rule", "drill")
	refused(exitNotDone, "until", "alerts", "snooze", "drill/site", "--until", "2001-01-01T00:00:00Z")
	do("drill/site", "alerts", "history", "--from", "1h", "--state", "acknowledged,firing")
	do("drill", "alerts", "statistics", "--from", "1d")

	refused(exitNotDone, "floor 1 has neither a place nor a gateway", "alerts", "maintenance", "add", "--floor", "1", "--for", "2h", "--reason", "new sockets")
	do("", "gateways", "create", "edge-f1", "--floor", "1")
	do("Nobody is notified", "alerts", "maintenance", "add", "--floor", "1", "--for", "2h", "--reason", "new sockets")
	do("new sockets", "alerts", "maintenance")
	refused(exitNotDone, "no-such-window", "alerts", "maintenance", "remove", "no-such-window")
	do("There are no receivers", "alerts", "receivers")
	refused(exitNotDone, "nobody", "alerts", "test", "nobody")

	viewer := filepath.Join(dir, "viewer.token")
	floor := filepath.Join(dir, "floor.token")
	do("The token is in", "tokens", "create", "vera", "--role", "viewer", "--out", viewer)
	do("The token is in", "tokens", "create", "olga", "--role", "operator", "--floors", "1", "--out", floor)
	until(t, env, "drill/site", "alerts", "--rule", "drill", "--token-file", viewer)
	refused(exitDenied, "needs the role operator", "alerts", "ack", "--rule", "drill", "--token-file", viewer)
	until(t, env, "Nothing fires.", "alerts", "--token-file", floor)
	refused(exitNotDone, "there is no alert", "alerts", "show", "drill/site", "--token-file", floor)
	do("Nothing of that fires.", "alerts", "ack", "--rule", "drill", "--token-file", floor)
	refused(exitDenied, "whole site", "alerts", "rules", "--token-file", floor)
	do("new sockets", "alerts", "maintenance", "--token-file", floor)
	refused(exitDenied, "floor", "alerts", "maintenance", "add", "--for", "1h", "--reason", "x", "--token-file", floor)

	do("drill is off", "alerts", "rules", "disable", "drill")
	until(t, env, "Nothing of that fires.", "alerts", "--rule", "drill")
	do("drill", "alerts", "history", "--rule", "drill")
	do("drill is deleted", "alerts", "rules", "delete", "drill", "--yes")
	do("drill", "alerts", "audit")
}
