package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds a file or text with keys and certificates, in bytes.
const maxFile = 64 << 10

const (
	keyBlock         = "PRIVATE KEY" // PKCS #8
	certificateBlock = "CERTIFICATE"
	requestBlock     = "CERTIFICATE REQUEST"
	revocationBlock  = "X509 CRL"
)

// NewKey draws a key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return key, nil
}

// EncodeKey gives a key as PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// ParseKey finds the key in a PEM text, which may hold certificates too.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	for _, block := range blocks(text) {
		if block.Type != keyBlock && block.Type != "EC PRIVATE KEY" {
			continue
		}
		return decodeKey(block)
	}
	return nil, errors.New("no private key in it")
}

func decodeKey(block *pem.Block) (*ecdsa.PrivateKey, error) {
	if block.Type != keyBlock {
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		return key, checkCurve(&key.PublicKey)
	}
	any8, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, ok := any8.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errKey
	}
	return key, checkCurve(&key.PublicKey)
}

var errKey = errors.New("the key is not an ECDSA key on P-256")

func checkCurve(key *ecdsa.PublicKey) error {
	if key.Curve != elliptic.P256() {
		return errKey
	}
	return nil
}

// LoadOrCreateKey reads the key in a file, and draws and writes one where there
// is no file: a box that is cut off while it enrols goes on with the key it has.
func LoadOrCreateKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := ReadFile(path)
	if err == nil {
		key, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	text, err = EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, WriteFile(path, text, 0o600)
}

// KeyFingerprint is the SHA-256 of a public key's SubjectPublicKeyInfo as hex
// digits, "" for what is no key.
func KeyFingerprint(public any) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// ReadFile reads a file of keys or certificates, 64 KiB at most.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read %s: larger than 64 KiB", path)
	}
	return text, nil
}

// WriteFile replaces a file in one step: after a crash or a power cut there is
// the old one or the new one, never half of one.
func WriteFile(path string, text []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = io.Copy(file, bytes.NewReader(text))
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// create writes a file that must not be there yet.
func create(path string, text []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name in a directory outlive a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// blocks takes a PEM text apart, at most sixteen blocks of it.
func blocks(text []byte) []*pem.Block {
	var all []*pem.Block
	for len(text) > 0 && len(text) <= maxFile && len(all) < 16 {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		all, text = append(all, block), rest
	}
	return all
}
