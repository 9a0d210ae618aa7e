package api_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/pki"
)

// certificate makes an authority and files with a certificate of it.
func certificate(t *testing.T, dir string) (cert, key string, authority *pki.Authority) {
	t.Helper()
	authority, err := pki.CreateAuthority(dir, "House", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := authority.Issue(pki.Server, "api", &secret.PublicKey, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := pki.EncodeKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "api.pem"), filepath.Join(dir, "api.key")
	if err := errors.Join(os.WriteFile(cert, text, 0o600), os.WriteFile(key, keyText, 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key, authority
}

func TestTheApiSpeaksTLSWithItsOwnFiles(t *testing.T) {
	cert, key, authority := certificate(t, t.TempDir())
	config := api.DefaultConfig()
	config.HTTP.Listen, config.HTTP.TLS = "127.0.0.1:0", api.TLS{Cert: cert, Key: key}
	server := api.New(config, api.Options{Bus: bus.Options{URL: "tcp://127.0.0.1:1"}}, quiet)
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	stop := background(t, server.Run)
	pool, err := pki.Pool(authority.PEM())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, url: "https://" + server.Addr(), client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}}
	s.get("/healthz").is(http.StatusOK, "")
	if _, err := (&site{t: t, url: "https://" + server.Addr(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}).try(http.MethodGet, "/healthz", ""); err == nil {
		t.Error("an authority that nobody trusts was trusted")
	}
	if r, err := (&site{t: t, url: "http://" + server.Addr(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}).try(http.MethodGet, "/healthz", ""); err == nil && r.status == http.StatusOK {
		t.Error("plain HTTP was answered")
	}
	old, err := tls.Dial("tcp", server.Addr(), &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11})
	if err == nil {
		_ = old.Close()
		t.Error("TLS 1.1 was spoken")
	}
	silent, err := tls.Dial("tcp", server.Addr(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	begin := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 7*time.Second {
		t.Errorf("took %v to end", took)
	}
}

func TestTLSFilesMustBeRight(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certificate(t, dir)
	_, other, _ := certificate(t, t.TempDir())
	nothing := filepath.Join(dir, "nothing")
	if err := os.WriteFile(nothing, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]api.TLS{
		"no file": {Cert: filepath.Join(dir, "none"), Key: key}, "no key": {Cert: cert, Key: filepath.Join(dir, "none")},
		"another's key": {Cert: cert, Key: other}, "no certificate": {Cert: nothing, Key: key},
	} {
		config := api.DefaultConfig()
		config.HTTP.Listen, config.HTTP.TLS = "127.0.0.1:0", files
		if err := api.New(config, api.Options{}, quiet).Listen(); err == nil || !strings.Contains(err.Error(), "http.tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBeyondLoopbackTheApiRefusesToListenWithoutTLS(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		config := api.DefaultConfig()
		if config.HTTP.Listen = address; !config.HTTP.TokensNeeded() {
			t.Errorf("%s: no tokens needed", address)
		}
		err := api.New(config, api.Options{}, quiet).Listen()
		for _, words := range []string{address, "http.tls.cert", "wattline-cloud init", "127.0.0.1"} {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v does not say %q", address, err, words)
			}
		}
	}
	for address, needed := range map[string]bool{"127.0.0.1:1": false, "127.9.0.1:1": false, "[::1]:1": false, "localhost:1": false, "[::ffff:127.0.0.1]:1": false, "192.0.2.1:1": true, "example.org:1": true, "x": true} {
		if h := (api.HTTP{Listen: address, Tokens: api.TokensAuto}); h.TokensNeeded() != needed {
			t.Errorf("%s: tokens needed %v", address, !needed)
		}
	}
}

func TestSettingsOfPeopleNameEveryMistake(t *testing.T) {
	c := api.DefaultConfig()
	c.HTTP.Tokens, c.HTTP.TLS.Cert = "never", "x"
	c.IoToad.Anonymous = api.Anonymous{Networks: []string{"192.0.2.1/24", "here", "192.0.2.1", "2001:db8::/32"}, Allow: "all"}
	err := c.Validate()
	for _, words := range []string{"http.tokens: ", "http.tls: ", "192.0.2.0/24 is meant", `anonymous.networks: "here"`, "iotoad.anonymous.allow: "} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
	for _, half := range []api.Anonymous{{Networks: []string{"192.0.2.1"}}, {Allow: api.AllowRead}} {
		if c := (api.IoToad{Anonymous: half}); c.Validate() == nil {
			t.Errorf("%+v was taken", half)
		}
	}
}
