package form

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// window bounds what a decoder needs, in bytes; files of others could ask for more.
const window = 8 << 20

// Keys are those who can read what is written, and the keys to read with. The
// zero value neither encrypts nor decrypts.
type Keys struct {
	recipients []age.Recipient
	names      []string
	identities []age.Identity
}

// ParseRecipients reads public keys of age, such as age1....
func ParseRecipients(names []string) (*Keys, error) {
	k := &Keys{}
	for _, name := range names {
		var r age.Recipient
		r, err := age.ParseX25519Recipient(name)
		if err != nil {
			if r, err = age.ParseHybridRecipient(name); err != nil {
				return nil, fmt.Errorf("%.80q is no public key of age: want age1..., as age-keygen prints it", name)
			}
		}
		k.recipients, k.names = append(k.recipients, r), append(k.names, name)
	}
	return k, nil
}

// ReadIdentities adds the secret keys of a file, as age-keygen writes it.
func (k *Keys) ReadIdentities(r io.Reader) error {
	found, err := age.ParseIdentities(r)
	if err != nil {
		return fmt.Errorf("want the secret keys that age-keygen writes, AGE-SECRET-KEY-...: %w", err)
	}
	k.identities = append(k.identities, found...)
	return nil
}

// Encrypts tells whether what is written is encrypted.
func (k *Keys) Encrypts() bool { return k != nil && len(k.recipients) > 0 }

// Names are the public keys.
func (k *Keys) Names() []string {
	if k == nil {
		return nil
	}
	return k.names
}

// counter counts and hashes what passes by.
type counter struct {
	to   io.Writer
	n    int64
	hash hash.Hash
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	return n, err
}

func (c *counter) sum() string { return hex.EncodeToString(c.hash.Sum(nil)) }

// Sealer writes one file: it compresses, encrypts, counts and hashes. It must be
// closed, and tells after that what it wrote.
type Sealer struct {
	plain  hash.Hash
	size   int64
	pack   *zstd.Encoder
	secret io.WriteCloser // nil where nothing is encrypted
	buffer *bufio.Writer
	stored *counter
}

// Seal begins a file.
func Seal(w io.Writer, keys *Keys) (*Sealer, error) {
	s := &Sealer{plain: sha256.New(), stored: &counter{to: w, hash: sha256.New()}}
	s.buffer = bufio.NewWriterSize(s.stored, 64<<10)
	var next io.Writer = s.buffer
	if keys.Encrypts() {
		secret, err := age.Encrypt(next, keys.recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		s.secret, next = secret, secret
	}
	// One encoder that works alone gives the same bytes each time.
	pack, err := zstd.NewWriter(next, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(window))
	if err != nil {
		return nil, err
	}
	s.pack = pack
	return s, nil
}

// Write takes more of the content.
func (s *Sealer) Write(p []byte) (int, error) {
	n, err := s.pack.Write(p)
	s.plain.Write(p[:n])
	s.size += int64(n)
	return n, err
}

// Close ends the file.
func (s *Sealer) Close() error {
	err := s.pack.Close()
	if s.secret != nil {
		err = errors.Join(err, s.secret.Close())
	}
	return errors.Join(err, s.buffer.Flush())
}

// File tells what was written.
func (s *Sealer) File() File {
	return File{Object: s.stored.sum(), Bytes: s.stored.n, Plain: hex.EncodeToString(s.plain.Sum(nil)), PlainBytes: s.size}
}

// Opened is the content of a file, being read. Reading to the end checks it: the
// end is an error that wraps [ErrDamaged] where it is not what was written.
type Opened struct {
	file  File
	plain hash.Hash
	size  int64
	pack  *zstd.Decoder
}

// ErrKey means that no identity fits.
var ErrKey = errors.New("none of the identities can decrypt it")

// Open reads the content of a file from the bytes that are stored.
func (f File) Open(stored io.Reader, encrypted bool, keys *Keys) (*Opened, error) {
	if encrypted {
		if keys == nil || len(keys.identities) == 0 {
			return nil, fmt.Errorf("the backup is encrypted, and %w: name the file with the secret key by -identity", ErrKey)
		}
		plain, err := age.Decrypt(stored, keys.identities...)
		if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
			return nil, fmt.Errorf("%w: it is for other keys; its manifest names them", ErrKey)
		}
		if err != nil {
			return nil, fmt.Errorf("object %s: %w: %w", f.Object, ErrDamaged, err)
		}
		stored = plain
	}
	pack, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, fmt.Errorf("object %s: %w: %w", f.Object, ErrDamaged, err)
	}
	return &Opened{file: f, plain: sha256.New(), pack: pack}, nil
}

// Read gives the content.
func (o *Opened) Read(p []byte) (int, error) {
	n, err := o.pack.Read(p)
	o.plain.Write(p[:n])
	o.size += int64(n)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, fmt.Errorf("object %s: %w: %w", o.file.Object, ErrDamaged, err)
	case o.size != o.file.PlainBytes || hex.EncodeToString(o.plain.Sum(nil)) != o.file.Plain:
		return n, fmt.Errorf("object %s: %w: its content is not what was written", o.file.Object, ErrDamaged)
	default:
		return n, io.EOF
	}
}

// Close ends the reading.
func (o *Opened) Close() { o.pack.Close() }

// Check reads what is stored and compares it; it needs no key.
func (f File) Check(stored io.Reader) error {
	sum := sha256.New()
	n, err := io.Copy(sum, stored)
	switch {
	case err != nil:
		return fmt.Errorf("read object %s: %w", f.Object, err)
	case n != f.Bytes:
		return fmt.Errorf("object %s: %w: %d bytes, want %d", f.Object, ErrDamaged, n, f.Bytes)
	case hex.EncodeToString(sum.Sum(nil)) != f.Object:
		return fmt.Errorf("object %s: %w: its bytes have changed", f.Object, ErrDamaged)
	}
	return nil
}

// SealSecret encrypts a small file for the recipients, so that it can travel where
// others hear it.
func (k *Keys) SealSecret(plain []byte) ([]byte, error) {
	if !k.Encrypts() {
		return nil, errors.New("a secret is not sent without a recipient")
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, k.recipients...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return sealed.Bytes(), nil
}

// OpenSecret reads what SealSecret made.
func (k *Keys) OpenSecret(sealed io.Reader) (io.Reader, error) {
	if k == nil || len(k.identities) == 0 {
		return nil, fmt.Errorf("a secret: %w", ErrKey)
	}
	r, err := age.Decrypt(sealed, k.identities...)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return nil, fmt.Errorf("a secret: %w", ErrKey)
	}
	if err != nil {
		return nil, fmt.Errorf("a secret: %w: %w", ErrDamaged, err)
	}
	return r, nil
}
