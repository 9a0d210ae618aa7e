package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadyAsksTheOneBesideIt(t *testing.T) {
	var status int
	var text string
	answer := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/readyz" {
			t.Errorf("asked for %s", q.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
	plain := httptest.NewServer(answer)
	defer plain.Close()
	secure := httptest.NewTLSServer(answer)
	defer secure.Close()
	for _, c := range []struct {
		name, text string
		server     *httptest.Server
		tls        string
		status     int
		want, err  string
	}{
		{"ready", `{"status":"ok"}`, plain, "", 200, "ok\n", ""},
		{"by TLS", `{"status":"ok"}`, secure, "tls: {hosts: [cloud.example]}", 200, "ok\n", ""},
		{"not yet", `{"status":"not all places were heard yet"}`, plain, "", 503, "", "not all places were heard yet"},
		{"somebody else", "<html>", plain, "", 200, "", "is no cloud"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text = c.status, c.text
			file := filepath.Join(t.TempDir(), "cloud.yaml")
			address := strings.Replace(c.server.Listener.Addr().String(), "127.0.0.1", "0.0.0.0", 1)
			if c.tls == "" {
				address = c.server.Listener.Addr().String()
			}
			yaml := fmt.Sprintf("http: {listen: %q, %s}\n", address, c.tls)
			if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err := run(t.Context(), []string{"ready", "-config", file}, &out, io.Discard)
			if out.String() != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %q", out.String(), err, c.want, c.err)
			}
		})
	}
}

func TestReadyFailsWhereNobodyListens(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	file := filepath.Join(t.TempDir(), "cloud.yaml")
	if err := os.WriteFile(file, []byte("http: {listen: "+server.Listener.Addr().String()+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"ready", "-config", file}, io.Discard, io.Discard); err == nil {
		t.Error("ready although nobody listens")
	}
}
