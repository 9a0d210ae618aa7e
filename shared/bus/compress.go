package bus

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxInflated bounds a payload after inflating; MaxRecords the records of a
// message. Larger ones are malformed.
const (
	MaxInflated = 4 << 20
	MaxRecords  = 100_000
)

// ErrTooLarge means that a payload inflates to more than [MaxInflated].
var ErrTooLarge = errors.New("payload inflates to more than 4 MiB")

var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd} // RFC 8878 section 3.1.1
	gzipMagic = []byte{0x1f, 0x8b}             // RFC 1952 section 2.3.1
)

// Both work on whole payloads, are safe for concurrent use and keep no
// goroutines; the small window keeps a gateway's memory small.
var (
	deflater = sync.OnceValue(func() *zstd.Encoder {
		return must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
			zstd.WithWindowSize(128<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)))
	})
	inflater = sync.OnceValue(func() *zstd.Decoder {
		return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxInflated), zstd.WithDecoderLowmem(true)))
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options are constants: a bug of ours
	}
	return v
}

// Compress gives the payload as a zstd frame, without checksum: the outbox has
// one of its own.
func Compress(payload []byte) []byte {
	return deflater().EncodeAll(payload, make([]byte, 0, len(payload)/6+64))
}

// Inflate undoes zstd and gzip, told by their magic numbers; other payloads come
// back as they are. Nothing inflates to more than [MaxInflated].
func Inflate(payload []byte) ([]byte, error) { return inflate(nil, payload) }

// keepRoom bounds the room that an [Inflater] keeps.
const keepRoom = 1 << 20

// Inflater inflates payloads one after the other into the same room. The zero
// value is ready. Not safe for concurrent use.
type Inflater struct{ room []byte }

// Inflate is [Inflate], but that the result is good until the next call only.
func (i *Inflater) Inflate(payload []byte) ([]byte, error) {
	out, err := inflate(i.room[:0], payload)
	if err == nil && bytes.HasPrefix(payload, zstdMagic) && cap(out) <= keepRoom {
		i.room = out
	}
	return out, err
}

// inflate may use the room behind dst, which is empty.
func inflate(dst, payload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, zstdMagic):
		out, err := inflater().DecodeAll(payload, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) || len(out) > MaxInflated {
			return nil, ErrTooLarge
		}
		if err != nil {
			return nil, fmt.Errorf("inflate zstd: %w", err)
		}
		return out, nil
	case bytes.HasPrefix(payload, gzipMagic):
		return gunzip(payload)
	case len(payload) > MaxInflated:
		return nil, ErrTooLarge
	}
	return payload, nil
}

func gunzip(payload []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("inflate gzip: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, MaxInflated+1))
	if err != nil {
		return nil, fmt.Errorf("inflate gzip: %w", err)
	}
	if len(out) > MaxInflated {
		return nil, ErrTooLarge
	}
	return out, nil
}
