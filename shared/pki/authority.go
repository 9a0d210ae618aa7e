package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files of the authority in its directory.
const (
	AuthorityKey         = "ca.key" // mode 0600
	AuthorityCertificate = "ca.pem"
	// RevocationList is where the registry keeps the list of what it revoked, for
	// brokers that want it as a file.
	RevocationList = "crl.pem"
)

// Kind is what a certificate is for; it stands as its organizational unit.
type Kind string

// The kinds.
const (
	Gateway Kind = "gateway" // a client at the broker
	Role    Kind = "role"    // a role of the cloud on another machine
	Server  Kind = "server"  // a broker or the api
)

// Lives of certificates. The authority's is as long as a building keeps its
// boxes: nothing renews it by itself.
const (
	AuthorityLife = 20 * 365 * 24 * time.Hour
	Life          = 365 * 24 * time.Hour
	revocationMax = 365 * 24 * time.Hour // until a list must have a successor
	// backdated is how far a clock may be behind the issuer's.
	backdated = time.Hour
)

var (
	// ErrNoAuthority says that a directory has no authority yet.
	ErrNoAuthority = errors.New("the site has no certificate authority yet: make one with wattline-cloud init")
	// ErrExists says that a directory has an authority already.
	ErrExists = errors.New("there is a certificate authority already; it is never overwritten, for all that it has issued would be lost")
)

// Authority issues the certificates of one site. Safe for concurrent use.
type Authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// CreateAuthority draws the authority of a site and writes it to a directory,
// which it makes if need be. It never overwrites one ([ErrExists]).
func CreateAuthority(dir, site string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the site's authority: %w", err)
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	// Key identifiers come from the key: two sites of one name stay apart.
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Wattline " + site, OrganizationalUnit: []string{"authority"}},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(AuthorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the site's authority: %w", err)
	}
	keyText, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeAuthority(dir, keyText, encode(der)); err != nil {
		return nil, err
	}
	return LoadAuthority(dir, now)
}

func writeAuthority(dir string, key, certificate []byte) error {
	keyFile := filepath.Join(dir, AuthorityKey)
	if _, err := os.Stat(filepath.Join(dir, AuthorityCertificate)); err == nil {
		return fmt.Errorf("make the site's authority in %s: %w", dir, ErrExists)
	}
	err := create(keyFile, key, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the site's authority in %s: %w", dir, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("make the site's authority: %w", err)
	}
	if err := create(filepath.Join(dir, AuthorityCertificate), certificate, 0o644); err != nil {
		return errors.Join(fmt.Errorf("make the site's authority: %w", err), os.Remove(keyFile))
	}
	return nil
}

// LoadAuthority reads the authority in a directory; [ErrNoAuthority] when there
// is none. It refuses a key that others of the machine may read.
func LoadAuthority(dir string, now time.Time) (*Authority, error) {
	keyFile, certificateFile := filepath.Join(dir, AuthorityKey), filepath.Join(dir, AuthorityCertificate)
	info, err := os.Stat(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", keyFile, ErrNoAuthority)
	}
	if err != nil {
		return nil, fmt.Errorf("read the site's authority: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read the site's authority: others may read %s (mode %04o): chmod 600 it, and make a new authority if they are not to be trusted", keyFile, info.Mode().Perm())
	}
	keyText, err := ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the site's authority: %w", err)
	}
	key, err := ParseKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("read the site's authority: %s: %w", keyFile, err)
	}
	text, err := ReadFile(certificateFile)
	if err != nil {
		return nil, fmt.Errorf("read the site's authority: %w", err)
	}
	a := &Authority{key: key}
	if a.certificate, err = ParseCertificate(text); err != nil {
		return nil, fmt.Errorf("read the site's authority: %s: %w", certificateFile, err)
	}
	return a, a.check(certificateFile, now)
}

func (a *Authority) check(file string, now time.Time) error {
	switch {
	case !a.key.PublicKey.Equal(a.certificate.PublicKey):
		return fmt.Errorf("read the site's authority: the key beside %s belongs to another certificate", file)
	case !a.certificate.IsCA:
		return fmt.Errorf("read the site's authority: %s is no authority's certificate", file)
	case now.After(a.certificate.NotAfter):
		return fmt.Errorf("read the site's authority: %s has expired on %s", file, a.certificate.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode(a.certificate.Raw) }

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// Issue makes a certificate for a public key. hosts are the DNS names and
// addresses of a server; the others have none.
func (a *Authority) Issue(kind Kind, name string, public *ecdsa.PublicKey, hosts []string, now time.Time) ([]byte, *x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{string(kind)}},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(Life), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if kind == Server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, host)
			}
		}
	}
	if a.certificate.NotAfter.Before(template.NotAfter) { // no link outlives the chain
		template.NotAfter = a.certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue a certificate for %s %s: %w", kind, name, err)
	}
	issued, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("issue a certificate for %s %s: %w", kind, name, err)
	}
	return encode(der), issued, nil
}

// Revoked is a certificate that a list names.
type Revoked struct {
	Serial string // as [Serial] gives it
	At     time.Time
}

// Revoke signs the list of revoked certificates (RFC 5280 section 5) as PEM. It
// holds for a year: a broker that reads it refuses everybody once it is older.
func (a *Authority) Revoke(list []Revoked, now time.Time) ([]byte, error) {
	template := &x509.RevocationList{Number: big.NewInt(now.UnixMicro()), ThisUpdate: now.Add(-backdated), NextUpdate: now.Add(revocationMax)}
	for _, r := range list {
		number, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("sign the list of revoked certificates: %q is no serial number", r.Serial)
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: number, RevocationTime: r.At})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the list of revoked certificates: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: revocationBlock, Bytes: der}), nil
}

// serial draws 127 random bits: positive, and never drawn twice.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
}
