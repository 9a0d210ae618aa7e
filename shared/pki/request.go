package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxRequest bounds a certificate request, in bytes of PEM. One of ours has
// about 450.
const maxRequest = 8 << 10

// ErrRequest is the class of errors about certificate requests.
var ErrRequest = errors.New("certificate request refused")

// NewRequest asks, as PEM, for a certificate of the key for a name.
func NewRequest(key *ecdsa.PrivateKey, kind Kind, name string) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{string(kind)}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request for %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), nil
}

// Request is a certificate request that has been checked: whoever made it has
// the private key.
type Request struct {
	Name string
	Key  *ecdsa.PublicKey
}

// Fingerprint is the [KeyFingerprint] of the request's key.
func (r *Request) Fingerprint() string { return KeyFingerprint(r.Key) }

// ParseRequest reads and checks a request of a stranger: one PEM block, its own
// signature, a key on P-256, the kind and name that are expected. Whatever else
// it asks for is ignored. Errors wrap [ErrRequest].
func ParseRequest(text []byte, kind Kind, name string) (*Request, error) {
	if len(text) > maxRequest {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrRequest, len(text), maxRequest)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != requestBlock {
		return nil, fmt.Errorf("%w: it is not one PEM block %q", ErrRequest, requestBlock)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || checkCurve(key) != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, errKey)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: signed by another key than its own: %w", ErrRequest, err)
	}
	if unit := csr.Subject.OrganizationalUnit; csr.Subject.CommonName != name || len(unit) != 1 || unit[0] != string(kind) {
		return nil, fmt.Errorf("%w: it asks for %.80q %.80q, not for %s %q", ErrRequest, unit, csr.Subject.CommonName, kind, name)
	}
	return &Request{Name: name, Key: key}, nil
}

// renewalDomain sets signatures of renewals apart from all others of the key.
const renewalDomain = "wattline certificate renewal 1\n"

// SignRenewal signs a request (PEM) with the key of the certificate in force:
// ASN.1 of ECDSA over SHA-256, as base64.
func SignRenewal(inForce *ecdsa.PrivateKey, request []byte) (string, error) {
	sum := sha256.Sum256(append([]byte(renewalDomain), request...))
	signature, err := ecdsa.SignASN1(rand.Reader, inForce, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a renewal: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// VerifyRenewal tells whether the key in force has signed the request.
func VerifyRenewal(inForce *ecdsa.PublicKey, request []byte, signature string) bool {
	if len(signature) > 200 {
		return false
	}
	text, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(append([]byte(renewalDomain), request...))
	return ecdsa.VerifyASN1(inForce, sum[:], text)
}

// ParsePublicKey reads a public key as [EncodePublicKey] writes it.
func ParsePublicKey(der []byte) (*ecdsa.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || checkCurve(public) != nil {
		return nil, errKey
	}
	return public, nil
}

// EncodePublicKey gives a key as its SubjectPublicKeyInfo.
func EncodePublicKey(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return der, nil
}
