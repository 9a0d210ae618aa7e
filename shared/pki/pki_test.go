package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/pki"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	today = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

func authority(t testing.TB) (*pki.Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "registry")
	a, err := pki.CreateAuthority(dir, "test", today)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func issue(t testing.TB, a *pki.Authority, kind pki.Kind, name string, now time.Time, hosts ...string) *x509.Certificate {
	t.Helper()
	_, c, err := a.Issue(kind, name, &key(t).PublicKey, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAuthorityIsMadeOnceAndReadAgain(t *testing.T) {
	a, dir := authority(t)
	info, err := os.Stat(filepath.Join(dir, pki.AuthorityKey))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key %v, %v", info, err)
	}
	if _, err := pki.CreateAuthority(dir, "test", today); !errors.Is(err, pki.ErrExists) {
		t.Errorf("overwritten: %v", err)
	}
	again, err := pki.LoadAuthority(dir, today)
	if err != nil || !bytes.Equal(again.PEM(), a.PEM()) {
		t.Errorf("read again: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, pki.AuthorityKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.CreateAuthority(dir, "test", today); !errors.Is(err, pki.ErrExists) {
		t.Errorf("a certificate whose key is elsewhere is overwritten: %v", err)
	}
}

func TestAnAuthorityThatIsNotWhole(t *testing.T) {
	_, other := authority(t)
	for name, c := range map[string]struct {
		harm func(dir string) error
		want string
	}{
		"no key":             {func(dir string) error { return os.Remove(filepath.Join(dir, pki.AuthorityKey)) }, "wattline-cloud init"},
		"no certificate":     {func(dir string) error { return os.Remove(filepath.Join(dir, pki.AuthorityCertificate)) }, "ca.pem"},
		"others may read it": {func(dir string) error { return os.Chmod(filepath.Join(dir, pki.AuthorityKey), 0o644) }, "chmod 600"},
		"another's key": {func(dir string) error {
			return os.Rename(filepath.Join(other, pki.AuthorityKey), filepath.Join(dir, pki.AuthorityKey))
		}, "another certificate"},
		"garbage":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, pki.AuthorityKey), []byte("x"), 0o600) }, "no private key"},
		"half a file": {func(dir string) error { return os.Truncate(filepath.Join(dir, pki.AuthorityCertificate), 100) }, "no certificate"},
		"endless": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, pki.AuthorityKey), make([]byte, 1<<20), 0o600)
		}, "larger than"},
		"twenty years on": {func(string) error { return nil }, "expired"},
	} {
		_, dir := authority(t)
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		now := today
		if name == "twenty years on" {
			now = today.AddDate(21, 0, 0)
		}
		if _, err := pki.LoadAuthority(dir, now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificatesAreForOneKindNameSiteAndTime(t *testing.T) {
	a, _ := authority(t)
	other, _ := authority(t)
	f1 := issue(t, a, pki.Gateway, "f1", today)
	if got := f1.NotAfter.Sub(today); got != pki.Life {
		t.Errorf("lives %v", got)
	}
	if got := pki.RenewFrom(f1).Sub(today).Hours() / 24; got < 242 || got > 244 {
		t.Errorf("is to be renewed after %v days", got)
	}
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		kind        pki.Kind
		name        string
		now         time.Time
		want        string
	}{
		"right":                    {f1, pki.Gateway, "f1", today, ""},
		"a clock behind":           {f1, pki.Gateway, "f1", today.Add(-30 * time.Minute), ""},
		"another gateway":          {f1, pki.Gateway, "f2", today, "f1"},
		"another kind":             {f1, pki.Role, "f1", today, "gateway"},
		"a server's for a client":  {issue(t, a, pki.Server, "f1", today, "f1"), pki.Gateway, "f1", today, "usage"},
		"a year on":                {f1, pki.Gateway, "f1", today.AddDate(1, 1, 0), "expired"},
		"not yet":                  {f1, pki.Gateway, "f1", today.AddDate(-1, 0, 0), "clock"},
		"another site":             {issue(t, other, pki.Gateway, "f1", today), pki.Gateway, "f1", today, "another site"},
		"the authority's own":      {a.Certificate(), pki.Gateway, "f1", today, "not of gateway"},
		"a server of this machine": {issue(t, a, pki.Server, "x", today, "x", "10.0.0.1"), pki.Server, "x", today, ""},
	} {
		err := pki.Verify(a.PEM(), c.certificate, c.kind, c.name, c.now)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := pki.Verify([]byte("x"), f1, pki.Gateway, "f1", today); err == nil {
		t.Error("verified by nothing")
	}
}

func request(t testing.TB, k *ecdsa.PrivateKey, name string) []byte {
	t.Helper()
	text, err := pki.NewRequest(k, pki.Gateway, name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRequestsAreChecked(t *testing.T) {
	k := key(t)
	good := request(t, k, "f1")
	r, err := pki.ParseRequest(good, pki.Gateway, "f1")
	if err != nil || r.Fingerprint() != pki.KeyFingerprint(&k.PublicKey) {
		t.Fatalf("%+v, %v", r, err)
	}
	block, _ := pem.Decode(good)
	forged := bytes.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "f1", OrganizationalUnit: []string{"gateway"}}}, wide)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, text := range map[string][]byte{
		"nothing": nil, "garbage": []byte("x"), "endless": bytes.Repeat([]byte("-----BEGIN"), 1000), "another block": encode("CERTIFICATE", block.Bytes),
		"cut": encode("CERTIFICATE REQUEST", block.Bytes[:50]), "forged": encode("CERTIFICATE REQUEST", forged),
		"another curve": encode("CERTIFICATE REQUEST", der), "another name": request(t, k, "f2"),
	} {
		if _, err := pki.ParseRequest(text, pki.Gateway, "f1"); !errors.Is(err, pki.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRenewalsAreSignedByTheKeyInForce(t *testing.T) {
	old, other := key(t), key(t)
	csr := request(t, key(t), "f1")
	signature, err := pki.SignRenewal(old, csr)
	if err != nil {
		t.Fatal(err)
	}
	if !pki.VerifyRenewal(&old.PublicKey, csr, signature) {
		t.Error("a good one is refused")
	}
	for name, wrong := range map[string]bool{
		"another key":     pki.VerifyRenewal(&other.PublicKey, csr, signature),
		"another request": pki.VerifyRenewal(&old.PublicKey, request(t, other, "f1"), signature),
		"nothing":         pki.VerifyRenewal(&old.PublicKey, csr, ""),
		"garbage":         pki.VerifyRenewal(&old.PublicKey, csr, strings.Repeat("A", 100)),
		"endless":         pki.VerifyRenewal(&old.PublicKey, csr, strings.Repeat("A", 1<<20)),
	} {
		if wrong {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestKeysAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := pki.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pki.LoadOrCreateKey(path)
	if err != nil || !first.Equal(again) {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadOrCreateKey(path); err == nil {
		t.Error("a broken key is replaced")
	}
}

func TestRevocationListsAreSigned(t *testing.T) {
	a, _ := authority(t)
	c := issue(t, a, pki.Gateway, "f1", today)
	text, err := a.Revoke([]pki.Revoked{{Serial: pki.Serial(c), At: today}}, today)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || list.CheckSignatureFrom(a.Certificate()) != nil || len(list.RevokedCertificateEntries) != 1 ||
		list.RevokedCertificateEntries[0].SerialNumber.Cmp(c.SerialNumber) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := a.Revoke([]pki.Revoked{{Serial: "no number"}}, today); err == nil {
		t.Error("no number is taken")
	}
}

func TestAServerRenewsItsCertificate(t *testing.T) {
	a, _ := authority(t)
	now := today
	s := pki.NewServerCertificate(a, []string{"cloud.example", "10.0.0.1"}, func() time.Time { return now }, quiet)
	get := func() *tls.Certificate {
		t.Helper()
		c, err := s.Get()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	if err := first.Leaf.VerifyHostname("10.0.0.1"); err != nil {
		t.Error(err)
	}
	now = today.AddDate(0, 7, 0)
	if get() != first {
		t.Error("renewed too early")
	}
	now = today.AddDate(0, 9, 0)
	second := get()
	if second == first || pki.Verify(a.PEM(), second.Leaf, pki.Server, "cloud.example", now) != nil {
		t.Error("not renewed after two thirds of its life")
	}
	if _, err := pki.NewServerCertificate(a, nil, nil, quiet).Get(); err == nil {
		t.Error("a server without a name")
	}
}

func TestHosts(t *testing.T) {
	for host, fine := range map[string]bool{"cloud.example": true, "10.0.0.1": true, "::1": true, "localhost": true, "": false, "a b": false, "a..b": false, "http://x": false, "*.x": false} {
		if err := pki.CheckHost(host); (err == nil) != fine {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestFilesThatAreNotThere(t *testing.T) {
	if err := (pki.Files{Cert: "x"}).Validate(); err == nil {
		t.Error("a certificate without a key")
	}
	for _, f := range []pki.Files{{CA: "/nowhere"}, {Cert: "/nowhere", Key: "/nowhere"}} {
		if _, err := f.Client(); err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func FuzzWhatComesAsPEM(f *testing.F) {
	k := key(f)
	text, err := pki.EncodeKey(k)
	if err != nil {
		f.Fatal(err)
	}
	a, _ := authority(f)
	f.Add(request(f, k, "f1"))
	f.Add(text)
	f.Add(a.PEM())
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := pki.ParseRequest(text, pki.Gateway, "f1"); err == nil && (r.Name != "f1" || r.Fingerprint() == "") {
			t.Errorf("%+v", r)
		}
		if k, err := pki.ParseKey(text); err == nil && pki.KeyFingerprint(&k.PublicKey) == "" {
			t.Error("a key without a fingerprint")
		}
		if c, err := pki.ParseCertificate(text); err == nil {
			_ = pki.Subject(c)
			if _, err := pki.Pool(text); err != nil && len(text) < 1000 {
				t.Logf("one certificate reads, not all: %v", err)
			}
		}
	})
}
