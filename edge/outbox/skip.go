package outbox

import (
	"errors"
	"io"
)

// A disk that can't read a place of a damaged file is asked for the next one,
// so often at most.
const (
	skipBytes = 4 << 10
	skipsMost = 1 << 14
)

// skipper reads a file from its beginning, with zeros for what the disk can't
// read: what lies behind is worth having.
type skipper struct {
	in    io.ReaderAt
	at    int64
	skips int
}

func (s *skipper) Read(p []byte) (int, error) {
	n, err := s.in.ReadAt(p, s.at)
	switch {
	case n > 0: // the error comes again, if it is one
		err = nil
	case err == nil || errors.Is(err, io.EOF) || s.skips == skipsMost:
		return 0, err
	default:
		s.skips++
		n = min(len(p), skipBytes-int(s.at%skipBytes))
		clear(p[:n])
		err = nil
	}
	s.at += int64(n)
	return n, err
}
