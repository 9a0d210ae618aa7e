package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ParseCertificate reads the first certificate of a PEM text.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	for _, block := range blocks(text) {
		if block.Type != certificateBlock {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return c, nil
	}
	return nil, errors.New("no certificate in it")
}

// Pool is the certificates of a PEM text as the roots of trust.
func Pool(text []byte) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for _, block := range blocks(text) {
		if block.Type != certificateBlock {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		pool.AddCert(c)
		found = true
	}
	if !found {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}

// Verify tells whether roots, a PEM text, have issued the certificate for this
// kind and name, and whether it is valid now.
func Verify(roots []byte, c *x509.Certificate, kind Kind, name string, now time.Time) error {
	pool, err := Pool(roots)
	if err != nil {
		return fmt.Errorf("verify a certificate: the site's authority: %w", err)
	}
	usage := x509.ExtKeyUsageClientAuth
	if kind == Server {
		usage = x509.ExtKeyUsageServerAuth
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Explain(err)
	}
	if KindOf(c) != kind || c.Subject.CommonName != name {
		return fmt.Errorf("the certificate is of %s %q, not of %s %q", KindOf(c), c.Subject.CommonName, kind, name)
	}
	return nil
}

// Belongs tells whether the certificate is that of the key.
func Belongs(c *x509.Certificate, key *ecdsa.PrivateKey) bool {
	return key.PublicKey.Equal(c.PublicKey)
}

// KindOf is what a certificate is for, "" when it does not say.
func KindOf(c *x509.Certificate) Kind {
	if len(c.Subject.OrganizationalUnit) != 1 {
		return ""
	}
	kind := Kind(c.Subject.OrganizationalUnit[0])
	if !slices.Contains([]Kind{Gateway, Role, Server}, kind) {
		return ""
	}
	return kind
}

// Serial is the serial number as lower-case hex digits.
func Serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// RenewFrom is when a certificate is to be renewed: after two thirds of its
// life.
func RenewFrom(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// Explain says of an error of TLS or of a verification what is wrong and what
// to do. Other errors, and nil, come back as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[x509.CertificateInvalidError](err); ok && wrong.Reason == x509.Expired {
		return fmt.Errorf("%w: the certificate has expired or this machine's clock is wrong: renew the one or set the other", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w: the certificate is of another site or authority: use the ca.pem of the site that is meant", err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%w: the server has another name: connect by that name, or add this one to the names in its tls settings", err)
	}
	if text := alert(err); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
