package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/provisioning/doctor"
)

// keyAndCertificate are PEM of a box's identity that ends then.
func keyAndCertificate(t *testing.T, until time.Time) (key, certificate []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge-f1"}, NotBefore: until.Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func write(t *testing.T, name string, mode os.FileMode, parts ...[]byte) string {
	t.Helper()
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, all, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCertificatesInFilesAreLookedAt(t *testing.T) {
	dir := t.TempDir()
	key, certificate := keyAndCertificate(t, now.Add(5*24*time.Hour))
	write(t, filepath.Join(dir, "enrolment", "identity.pem"), 0o644, key, certificate)
	write(t, filepath.Join(dir, "garbage.pem"), 0o600, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nx"))
	o := box(t, page, "ok")
	o.Data = []string{dir, filepath.Join(dir, "none")}
	got := text(doctor.Gateway(t.Context(), o))
	for _, want := range []string{dir + "/enrolment/identity.pem: expires on 2026-03-07, in 5 days", "chmod 600 " + dir + "/enrolment/identity.pem", "free of"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "/none") {
		t.Errorf("a directory that is not there is looked at:\n%s", got)
	}
}
