package influx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxValue bounds one row, or any other single part of an answer, in bytes.
	maxValue = 16 << 20
	// readSize is how much is read at once.
	readSize = 64 << 10
)

var errSyntax = errors.New("the answer is no JSON")

// scanner cuts a stream of JSON into values. It exists because encoding/json
// takes three times as long for rows of numbers, which are nearly all of an
// answer; whatever is not a plain row it leaves to encoding/json.
type scanner struct {
	from io.Reader
	buf  []byte // buf[pos:] is read from the stream and not used yet
	pos  int
}

// fill reads more of the stream, moving what is not used yet.
func (s *scanner) fill() error {
	rest := s.buf[s.pos:]
	if len(rest) >= maxValue {
		return fmt.Errorf("the answer has a value of more than %d bytes", maxValue)
	}
	if s.pos > 0 {
		s.buf = s.buf[:copy(s.buf, rest)]
		s.pos = 0
	}
	s.buf = slices.Grow(s.buf, readSize)
	for range 100 { // a reader that gives nothing, and no error, is broken
		n, err := s.from.Read(s.buf[len(s.buf) : len(s.buf)+readSize])
		s.buf = s.buf[:len(s.buf)+n]
		if n > 0 {
			return nil // an error comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek gives the next byte that is no white space, io.EOF at the end.
func (s *scanner) peek() (byte, error) {
	for {
		for s.pos < len(s.buf) {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
				s.pos++
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// take passes over the next byte if it is c.
func (s *scanner) take(c byte) (bool, error) {
	next, err := s.peek()
	if err != nil || next != c {
		return false, inside(err)
	}
	s.pos++
	return true, nil
}

// raw gives the next value as it is written, not yet checked, until the next
// call of any method.
func (s *scanner) raw() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, inside(err)
	}
	var f finder
	for n := 0; ; {
		size, found := f.find(s.buf[s.pos+n:])
		n += size
		if found {
			if n == 0 {
				return nil, errSyntax
			}
			value := s.buf[s.pos : s.pos+n]
			s.pos += n
			return value, nil
		}
		if err := s.fill(); err != nil {
			return nil, inside(err)
		}
	}
}

// finder finds where a value ends, in pieces.
type finder struct {
	depth   int
	quoted  bool
	escaped bool
}

// find gives how many bytes of piece belong to the value, and whether it ends
// with them.
func (f *finder) find(piece []byte) (size int, found bool) {
	for i, c := range piece {
		switch {
		case f.escaped:
			f.escaped = false
		case f.quoted:
			f.escaped = c == '\\'
			if f.quoted = c != '"'; !f.quoted && f.depth == 0 {
				return i + 1, true
			}
		case c == '"':
			f.quoted = true
		case c == '[' || c == '{':
			f.depth++
		case c == ']' || c == '}':
			if f.depth == 0 {
				return i, true // of a number or a word, inside of something
			}
			if f.depth--; f.depth == 0 {
				return i + 1, true
			}
		case f.depth == 0 && (c == ',' || c == ':' || c <= ' '):
			return i, true
		}
	}
	return len(piece), false
}

// value reads the next value into what into points to.
func (s *scanner) value(into any) error {
	raw, err := s.raw()
	if err != nil {
		return err
	}
	return unmarshal(raw, into)
}

// skip passes over the next value.
func (s *scanner) skip() error {
	raw, err := s.raw()
	if err == nil && !json.Valid(raw) {
		err = errSyntax
	}
	return err
}

func unmarshal(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return inside(err)
	}
	if d.More() {
		return errSyntax
	}
	return nil
}

// object reads an object, calling member for each key to read its value.
func (s *scanner) object(member func(key string) error) error {
	if ok, err := s.take('{'); !ok {
		return kindError(err, "an object")
	}
	if ok, err := s.take('}'); ok || err != nil {
		return err
	}
	for {
		var key string
		if c, err := s.peek(); err != nil || c != '"' {
			return kindError(inside(err), "a key")
		}
		if err := s.value(&key); err != nil {
			return err
		}
		if ok, err := s.take(':'); !ok {
			return kindError(err, "a colon")
		}
		if err := member(key); err != nil {
			return err
		}
		if ok, err := s.take('}'); ok || err != nil {
			return err
		}
		if ok, err := s.take(','); !ok {
			return kindError(err, "a comma")
		}
	}
}

// list reads an array, or null, calling item to read each of its values.
func (s *scanner) list(item func() error) error {
	if ok, err := s.take('['); !ok {
		raw, err2 := s.raw()
		if err == nil && err2 == nil && string(raw) == "null" {
			return nil
		}
		return kindError(errors.Join(err, err2), "a list")
	}
	if ok, err := s.take(']'); ok || err != nil {
		return err
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if ok, err := s.take(']'); ok || err != nil {
			return err
		}
		if ok, err := s.take(','); !ok {
			return kindError(err, "a comma")
		}
	}
}

func kindError(err error, want string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w of an answer to a query: want %s", errSyntax, want)
}

// inside tells an end in the middle of a document from one between two.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
