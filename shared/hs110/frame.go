package hs110

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// Port is where a plug listens, by TCP and by UDP.
	Port = 9999
	// MaxBody is the longest body that is read, in bytes. The longest reply
	// known is about 5 kB.
	MaxBody = 64 << 10

	headerLen = 4
	firstKey  = 171
)

// ErrFrame says that bytes are no frame of the protocol: the announced length is
// 0 or above [MaxBody].
var ErrFrame = errors.New("no frame of a plug")

// AppendFrame appends body to dst as one TCP frame. It must go out in one Write:
// some receivers take every segment for a whole frame.
func AppendFrame(dst, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(slices.Grow(dst, headerLen+len(body)), uint32(len(body))) //nolint:gosec // bodies are our own and short
	return AppendDatagram(dst, body)
}

// AppendDatagram appends body to dst as the payload of one UDP datagram.
func AppendDatagram(dst, body []byte) []byte {
	key := byte(firstKey)
	for _, b := range body {
		key ^= b
		dst = append(dst, key)
	}
	return dst
}

// ReadFrame reads one TCP frame from r and gives its deciphered body, which lies
// in buf where that is large enough. It reads exactly the announced length,
// however many segments that takes, and nothing behind it.
//
// A stream that ends before the first byte gives io.EOF, one that ends later
// io.ErrUnexpectedEOF, a length of 0 or above [MaxBody] [ErrFrame].
func ReadFrame(r io.Reader, buf []byte) ([]byte, error) {
	if cap(buf) < headerLen {
		buf = make([]byte, headerLen)
	}
	head := buf[:headerLen]
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("read length: %w", err)
	}
	n := binary.BigEndian.Uint32(head)
	if n == 0 || n > MaxBody {
		return nil, fmt.Errorf("%w: it announces %d bytes, want 1 to %d", ErrFrame, n, MaxBody)
	}
	body := slices.Grow(buf[:0], int(n))[:n]
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the header was there
		}
		return nil, fmt.Errorf("read %d bytes: %w", n, err)
	}
	decipher(body)
	return body, nil
}

// DecodeDatagram deciphers the payload of a UDP datagram in place and gives it
// back. An empty one gives [ErrFrame].
func DecodeDatagram(datagram []byte) ([]byte, error) {
	if len(datagram) == 0 {
		return nil, fmt.Errorf("%w: empty datagram", ErrFrame)
	}
	decipher(datagram)
	return datagram, nil
}

func decipher(b []byte) {
	key := byte(firstKey)
	for i, c := range b {
		b[i] = c ^ key
		key = c
	}
}
