package main // run is not exported: a command has no interface for others

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/pki"
)

func TestAccessRulesAreExportedForMosquitto(t *testing.T) {
	dir := t.TempDir()
	cfg, out := filepath.Join(dir, "cloud.yaml"), filepath.Join(dir, "mosquitto")
	if err := os.WriteFile(cfg, []byte("data: "+filepath.Join(dir, "data")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	export := func(args ...string) error {
		return run(t.Context(), append([]string{"access", "-config", cfg, "-mosquitto", out}, args...), io.Discard, io.Discard)
	}
	if err := export("-names", "broker.example"); err == nil || !strings.Contains(err.Error(), "wattline-cloud init") {
		t.Errorf("without a site: %v", err)
	}
	if err := run(t.Context(), []string{"init", "-config", cfg, "-name", "x", "-default-floor", "1", "-time-zone", "UTC"}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"-names", "not a name"}, {"-names", "x", "more"}, {"-names", "x", "-listen", "1\nuser root"}} {
		if err := export(args...); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if err := export("-names", "broker.example,10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	first := read(t, out, "server.key")
	if err := export("-names", "broker.example,10.0.0.1"); err != nil || read(t, out, "server.key") != first {
		t.Errorf("repeated: %v, or another key", err)
	}
	for _, name := range []string{"server.key", "role.key"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for name, c := range map[string]struct {
		kind pki.Kind
		who  string
	}{"server.pem": {pki.Server, "broker.example"}, "role.pem": {pki.Role, "wattline"}} {
		certificate, err := pki.ParseCertificate([]byte(read(t, out, name)))
		if err == nil {
			err = pki.Verify([]byte(read(t, out, "ca.pem")), certificate, c.kind, c.who, time.Now())
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"wattline.conf": out + "/wattline.acl", "wattline.acl": "pattern write data/%u/#", "crl.pem": "X509 CRL"} {
		if text := read(t, out, name); !strings.Contains(text, want) {
			t.Errorf("%s lacks %s:\n%s", name, want, text)
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
