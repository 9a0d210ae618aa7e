package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/device"
)

// ErrBatchID is the class of errors about malformed batch ids, ranges and epochs.
var ErrBatchID = errors.New("malformed batch id")

// Epoch names one run of a gateway: 64 random bits, written as 16 hex digits.
type Epoch uint64

// ParseEpoch reads 16 lower-case hex digits.
func ParseEpoch(s string) (Epoch, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || s != strings.ToLower(s) {
		return 0, fmt.Errorf("%w: epoch %.40q is not 16 hex digits", ErrBatchID, s)
	}
	return Epoch(n), nil
}

func (e Epoch) String() string { return fmt.Sprintf("%016x", uint64(e)) }

// MarshalText gives the 16 hex digits.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText is [ParseEpoch].
func (e *Epoch) UnmarshalText(text []byte) (err error) {
	*e, err = ParseEpoch(string(text))
	return err
}

// BatchID names a batch for ever: the epoch and the batch's number in it,
// counted from 1 without gaps. It never has two contents.
type BatchID struct {
	Epoch    Epoch
	Sequence uint64
}

// ParseBatchID reads "<epoch>-<sequence>".
func ParseBatchID(s string) (BatchID, error) {
	head, tail, found := strings.Cut(s, "-")
	if !found {
		return BatchID{}, fmt.Errorf("%w: %.60q is not <epoch>-<sequence>", ErrBatchID, s)
	}
	epoch, err := ParseEpoch(head)
	if err != nil {
		return BatchID{}, err
	}
	n, ok := sequence(tail)
	if !ok {
		return BatchID{}, fmt.Errorf("%w: %.60q: the sequence is a number from 1 without leading zeros", ErrBatchID, s)
	}
	return BatchID{epoch, n}, nil
}

func sequence(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

func (id BatchID) String() string {
	return id.Epoch.String() + "-" + strconv.FormatUint(id.Sequence, 10)
}

// MarshalText gives "<epoch>-<sequence>".
func (id BatchID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is [ParseBatchID].
func (id *BatchID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseBatchID(string(text))
	return err
}

// Range names the batches From to To of an epoch, both included.
type Range struct {
	Epoch    Epoch
	From, To uint64
}

// ParseRange reads "<epoch>-<from>..<to>".
func ParseRange(s string) (Range, error) {
	head, last, found := strings.Cut(s, "..")
	first, err := ParseBatchID(head)
	to, ok := sequence(last)
	if err != nil || !found || !ok || to < first.Sequence {
		return Range{}, fmt.Errorf("%w: %.80q is not <epoch>-<from>..<to>", ErrBatchID, s)
	}
	return Range{first.Epoch, first.Sequence, to}, nil
}

func (r Range) String() string {
	return fmt.Sprintf("%v-%d..%d", r.Epoch, r.From, r.To)
}

// MarshalText gives "<epoch>-<from>..<to>".
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is [ParseRange].
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRange(string(text))
	return err
}

// Digest is the first 8 bytes of the SHA-256 of a batch's payload as it is on
// disk and on the wire; written as 16 hex digits.
type Digest [8]byte

// DigestOf computes the digest of a payload.
func DigestOf(payload []byte) Digest {
	sum := sha256.Sum256(payload)
	return Digest(sum[:8])
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives the 16 hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 16 hex digits.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 16 {
		return fmt.Errorf("digest %.40q is not 16 hex digits", text)
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("digest %.40q is not 16 hex digits", text)
	}
	return nil
}

// BatchHead is the envelope's member "batch": what a batch says of itself. A
// tombstone is a batch without data: Replaces names the batches that its
// gateway had to drop, Readings, From and To are theirs.
type BatchHead struct {
	// Previous is the epoch before this one and its last sequence; nil when the
	// gateway had none.
	Previous *BatchID `json:"previous"`
	Replaces []Range  `json:"replaces,omitempty"`
	Readings int      `json:"readings"`
	// From and To are the times of the first and last reading.
	From device.Micros `json:"from"`
	To   device.Micros `json:"to"`
	// Refused counts readings that could not even be committed (disk full); a
	// tombstone tells of them.
	Refused int `json:"refused,omitempty"`
	// Estimated is set when the times of the readings were estimated after the
	// fact; the true ones lie within it.
	Estimated *Span `json:"estimated,omitempty"`
}

// Span is a time range, both ends included.
type Span struct {
	From device.Micros `json:"from"`
	To   device.Micros `json:"to"`
}

// Block is a batch as it is on disk and on the wire: the payload is published
// as it is.
type Block struct {
	ID       BatchID
	Readings int
	Payload  []byte
}

// Receipt says of one batch, known by id and digest, that it is safe.
type Receipt struct {
	ID     BatchID `json:"id"`
	Digest Digest  `json:"digest"`
}

// Receipts is the data of an answer to batches: each list releases its batches
// at the gateway.
type Receipts struct {
	Stored      []Receipt `json:"stored,omitempty"`
	Quarantined []Receipt `json:"quarantined,omitempty"`
	Expired     []Receipt `json:"expired,omitempty"`
}

// All is every receipt, whatever the reason the batch is released for.
func (r Receipts) All() []Receipt {
	all := make([]Receipt, 0, len(r.Stored)+len(r.Quarantined)+len(r.Expired))
	return append(append(append(all, r.Stored...), r.Quarantined...), r.Expired...)
}

// Entry is one line of the ledger: what the storing hook learned of a batch. An
// entry implies that the readings are stored, quarantined or beyond retention.
type Entry struct {
	Source string
	// ID is the id as the source gave it; Batch is set when it has the form of
	// a gateway's batch id, and only such entries count towards completeness.
	ID          string
	Batch       *BatchID
	Digest      Digest
	Readings    int
	Refused     int
	From, To    device.Micros
	Previous    *BatchID
	Replaces    []Range
	Estimated   *Span
	Quarantined bool
	Expired     bool
}
