package broker

// This test is inside the package because what it tests has no name outside,
// and every byte of a stranger goes through it.

import (
	"errors"
	"testing"
)

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x30, 3, 0, 1, 'a', 0xc0, 0}, uint8(1))
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}, uint8(3))
	f.Add([]byte{0x10, 0x80, 0x80, 0x80, 0x80, 1}, uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, portion uint8) {
		whole, wholeErr := follow(t, stream, len(stream)+1)
		parts, partsErr := follow(t, stream, int(portion)+1)
		if !errors.Is(wholeErr, partsErr) || wholeErr == nil && whole != parts {
			t.Errorf("at once %+v %v, in portions of %d bytes %+v %v", whole, wholeErr, int(portion)+1, parts, partsErr)
		}
	})
}

// follow feeds the stream in portions.
func follow(t *testing.T, stream []byte, portion int) (fr frame, err error) {
	t.Helper()
	for len(stream) > 0 {
		b := stream[:min(portion, len(stream))]
		stream = stream[len(b):]
		for len(b) > 0 {
			rest, _, err := fr.take(b)
			if err != nil {
				return fr, err
			}
			if len(rest) >= len(b) || fr.left < 0 || fr.body > maxRemaining {
				t.Fatalf("%d bytes left of %d, %+v", len(rest), len(b), fr)
			}
			b = rest
		}
	}
	return fr, nil
}
