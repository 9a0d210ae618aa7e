package webhook

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/wattline/wattline/shared/bus"
)

// Bodies are kept in pieces that bus.Inflate takes, each behind its length.
const pieceBytes = 1 << 20

func deflate(body []byte) (out []byte) {
	for len(body) > 0 {
		n := min(len(body), pieceBytes)
		piece := bus.Compress(body[:n])
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(piece))), piece...) //nolint:gosec // of a megabyte
		body = body[n:]
	}
	return out
}

func inflate(text []byte, size int) ([]byte, error) {
	var body []byte
	for len(text) >= 4 {
		n := int(binary.BigEndian.Uint32(text))
		if n > len(text)-4 {
			break
		}
		piece, err := bus.Inflate(text[4 : 4+n])
		if err != nil {
			return nil, err
		}
		body = append(body, piece...)
		text = text[4+n:]
	}
	if len(body) != size || len(text) > 0 {
		return nil, fmt.Errorf("it has %d bytes and should have %d", len(body), size)
	}
	return bytes.Clone(body), nil
}

func bodyKey(n int) []byte { return fmt.Appendf(nil, "%s%d", keyBody, n) }
