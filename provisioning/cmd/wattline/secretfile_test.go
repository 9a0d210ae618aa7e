package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNoTokenIsMadeForAFileThatCannotBe(t *testing.T) {
	c := newCloud(t, map[string]string{
		"POST /api/v1/tokens":                      `201 {"id":"t1","name":"ana","role":"viewer","secret":"wattline_abc"}`,
		"POST /api/v1/gateways/edge-f2/join-token": `200 {"gateway":"edge-f2","join_token":"token-of-f2"}`,
	})
	there := filepath.Join(t.TempDir(), "there")
	must(t, os.WriteFile(there, []byte("mine"), 0o600))
	for _, out := range []string{there, filepath.Join(there, "no", "such")} {
		c.run(t, "tokens", "create", "ana", "--role", "viewer", "--out", out).wants(t, exitUsage, "", "--out: "+out)
		c.run(t, "gateways", "join-token", "edge-f2", "--out", out).wants(t, exitUsage, "", "--out: "+out)
	}
	if len(c.asked) > 0 {
		t.Errorf("asked %v", c.asked)
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "mine" {
		t.Errorf("the file that was there holds %q, %v", text, err)
	}
}

func TestARefusedTokenLeavesNoFile(t *testing.T) {
	c := newCloud(t, map[string]string{
		"POST /api/v1/tokens":                      `409 {"status":409,"detail":"ana has a token"}`,
		"POST /api/v1/gateways/edge-f2/join-token": `404 {"status":404,"detail":"no gateway edge-f2"}`,
	})
	out := filepath.Join(t.TempDir(), "token")
	gone := func() {
		t.Helper()
		if _, err := os.Stat(out); !os.IsNotExist(err) {
			t.Errorf("a file is there: %v", err)
		}
	}
	c.run(t, "tokens", "create", "ana", "--role", "viewer", "--out", out).wants(t, exitConflict, "", "ana has a token")
	gone()
	c.run(t, "gateways", "join-token", "edge-f2", "--out", out).wants(t, exitNotDone, "", "no gateway edge-f2")
	gone()
	c.answers["POST /api/v1/tokens"] = `200 {"name":"ana","role":"viewer"}`
	c.run(t, "tokens", "create", "ana", "--role", "viewer", "--out", out, "--dry-run").wants(t, exitDone, "Dry run", "")
	gone()
	c.answers["POST /api/v1/gateways/edge-f2/join-token"] = `200 {"gateway":"edge-f2","join_token":"token-of-f2"}`
	c.run(t, "gateways", "join-token", "edge-f2", "--out", out).wants(t, exitDone, "The token is in "+out, "")
	if text, err := os.ReadFile(out); err != nil || string(text) != "token-of-f2\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}
