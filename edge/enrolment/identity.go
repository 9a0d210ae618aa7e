package enrolment

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/pki"
)

// Files in the directory.
const (
	nextFile     = "next.key"
	identityFile = "identity.pem"
	caFile       = "ca.pem"
	joinedFile   = "joined"
)

// identity is a key and its certificate.
type identity struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func (b *Box) path(name string) string { return filepath.Join(b.dir, name) }

// ca is the file with the site's authority.
func (b *Box) ca() string {
	if b.config.CA != "" {
		return b.config.CA
	}
	return b.path(caFile)
}

// load reads the identity; nil when there is none yet.
func (b *Box) load() (*identity, error) {
	text, err := pki.ReadFile(b.path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no identity is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read the gateway's identity: %w", err)
	}
	i, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's identity: %s: %w", b.path(identityFile), err)
	}
	if name := i.certificate.Subject.CommonName; name != b.gateway {
		return nil, fmt.Errorf("read the gateway's identity: %s is of gateway %q and this box is %q: give the box its own id back, or remove the file and enrol",
			b.path(identityFile), name, b.gateway)
	}
	return i, nil
}

func parse(text []byte) (*identity, error) {
	key, err := pki.ParseKey(text)
	if err != nil {
		return nil, err
	}
	c, err := pki.ParseCertificate(text)
	if err != nil {
		return nil, err
	}
	if !pki.Belongs(c, key) {
		return nil, errors.New("the certificate belongs to another key")
	}
	return &identity{key, c}, nil
}

// install checks what the cloud has issued and makes it the identity, in one
// step.
func (b *Box) install(key *ecdsa.PrivateKey, certificate, ca string) (*identity, error) {
	authority, err := b.authority(ca)
	if err != nil {
		return nil, err
	}
	c, err := pki.ParseCertificate([]byte(certificate))
	if err != nil {
		return nil, fmt.Errorf("what the cloud has issued: %w", err)
	}
	if err := pki.Verify(authority, c, pki.Gateway, b.gateway, b.clock()); err != nil {
		return nil, fmt.Errorf("what the cloud has issued: %w", err)
	}
	if !pki.Belongs(c, key) {
		return nil, errors.New("what the cloud has issued is for another key")
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	text = append(text, strings.TrimSpace(certificate)+"\n"...)
	if b.config.CA == "" {
		if err := pki.WriteFile(b.path(caFile), authority, 0o644); err != nil {
			return nil, err
		}
	}
	if err := pki.WriteFile(b.path(identityFile), text, 0o600); err != nil {
		return nil, err
	}
	return &identity{key, c}, nil
}

// authority is what the configuration names; only a cloud on this machine may say
// itself who the authority is.
func (b *Box) authority(offered string) ([]byte, error) {
	if b.config.CA == "" && offered != "" {
		return []byte(offered), nil
	}
	text, err := pki.ReadFile(b.ca())
	if err != nil {
		return nil, fmt.Errorf("read the site's authority: %w", err)
	}
	return text, nil
}

func (b *Box) remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// token is the join token that has not been used up, "" when there is none.
func (b *Box) token() (string, error) {
	token := b.config.JoinToken.Reveal()
	if b.config.JoinTokenFile != "" {
		text, err := pki.ReadFile(b.config.JoinTokenFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		token = string(text)
	}
	token = strings.TrimSpace(token)
	used, err := pki.ReadFile(b.path(joinedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read which join token was used: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if token == "" || token == b.used || bytes.Equal(used, spent(token)) {
		return "", nil
	}
	return token, nil
}

func spent(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return []byte(hex.EncodeToString(sum[:]))
}

// forget sees to it that a token that has been used up is not used again.
func (b *Box) forget(token string) error {
	if err := pki.WriteFile(b.path(joinedFile), spent(token), 0o600); err != nil {
		return err
	}
	if b.config.JoinTokenFile != "" {
		if err := b.remove(b.config.JoinTokenFile); err != nil {
			return err
		}
	}
	return b.remove(b.path(nextFile)) // last: until here the same key may have to ask again
}

// TLS makes the settings of a connection to the broker, with the certificate that
// is in force now. Until there is one it gives an error that says what is missing.
func (b *Box) TLS() (*tls.Config, error) {
	i, err := b.load()
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, fmt.Errorf("no certificate yet: %s", b.State())
	}
	if now := b.clock(); now.After(i.certificate.NotAfter) {
		return nil, fmt.Errorf("the gateway's certificate has expired on %s: enrol again with a new join token", i.certificate.NotAfter.Format(time.DateOnly))
	}
	file := b.path(identityFile)
	return pki.Files{CA: cmp.Or(b.broker, b.ca()), Cert: file, Key: file}.Client()
}
