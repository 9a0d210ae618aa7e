package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Headers of a message.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Lengths of a secret in bytes, as Standard Webhooks wants them.
const (
	secretPrefix = "whsec_"
	secretLeast  = 24
	secretMost   = 64
)

// Key is a secret in binary.
type Key []byte

// String keeps the secret out of logs.
func (Key) String() string { return "(secret)" }

// GoString keeps it out too.
func (Key) GoString() string { return "(secret)" }

// ParseSecret reads whsec_<base64>. The error does not repeat the secret.
func ParseSecret(text string) (Key, error) {
	encoded, found := strings.CutPrefix(text, secretPrefix)
	if !found {
		return nil, fmt.Errorf("want %s and 24 to 64 bytes in base64", secretPrefix)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("what follows %s is no base64", secretPrefix)
	}
	if len(key) < secretLeast || len(key) > secretMost {
		return nil, fmt.Errorf("it has %d bytes, want %d to %d", len(key), secretLeast, secretMost)
	}
	return key, nil
}

// NewSecret draws 32 random bytes and writes them as [ParseSecret] reads them.
func NewSecret() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand, Go 1.24)
	return secretPrefix + base64.StdEncoding.EncodeToString(key[:])
}

// Sign gives the signature of a message as its header has it.
func (k Key) Sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// tolerance is how far the time of a message may be from the receiver's clock.
const tolerance = 5 * time.Minute

// Verify tells a receiver whether a message with these headers is from who has
// the secret, and was sent within five minutes of now. The error says what is
// wrong; nil means that the message may be trusted.
func (k Key) Verify(id, timestamp, signatures string, body []byte, now time.Time) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || id == "" {
		return errors.New("verify a message: its headers are missing or malformed")
	}
	at := time.Unix(seconds, 0)
	if at.Before(now.Add(-tolerance)) || at.After(now.Add(tolerance)) {
		return errors.New("verify a message: its time is more than five minutes from now")
	}
	want := []byte(k.Sign(id, at, body))
	for signature := range strings.FieldsSeq(signatures) {
		if hmac.Equal([]byte(signature), want) {
			return nil
		}
	}
	return errors.New("verify a message: no signature is right")
}
