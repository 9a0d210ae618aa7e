package senml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// maxDepth bounds the nesting of values that are skipped.
const maxDepth = 16

// scanner reads JSON tokens (RFC 8259) from data. It exists beside
// encoding/json because SenML asks for what that package hides: the decimal
// text of times, keys given twice, and unknown keys ending in "_".
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// take skips white space and, if it comes next, the byte c.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.data) {
		return errors.New("something follows the pack")
	}
	return nil
}

// str reads a string.
func (s *scanner) str() (string, error) {
	if !s.take('"') {
		return "", errors.New("want a string")
	}
	start := s.pos
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			text := string(s.data[start:s.pos])
			s.pos++
			return text, nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return "", errors.New("control character in a string")
		}
	}
	return "", errors.New("string without end")
}

// escaped reads the rest of a string that has escapes, by the standard library.
func (s *scanner) escaped(start int) (string, error) {
	for ; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '\\':
			s.pos++
		case '"':
			var text string
			s.pos++
			if err := json.Unmarshal(s.data[start-1:s.pos], &text); err != nil {
				return "", errors.New("malformed escape in a string")
			}
			return text, nil
		}
	}
	return "", errors.New("string without end")
}

// number reads the text of a number: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() ([]byte, error) {
	s.space()
	start := s.pos
	s.takeAny("-")
	integer := s.digits()
	if integer == 0 || integer > 1 && s.data[s.pos-integer] == '0' {
		return nil, errors.New("want a number")
	}
	if s.takeAny(".") && s.digits() == 0 {
		return nil, errors.New("no digits after the decimal point")
	}
	if s.takeAny("eE") {
		s.takeAny("+-")
		if s.digits() == 0 {
			return nil, errors.New("no digits in the exponent")
		}
	}
	return s.data[start:s.pos], nil
}

func (s *scanner) takeAny(set string) bool {
	if s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}

func (s *scanner) float() (float64, error) {
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, fmt.Errorf("number %s is out of range", clip(string(text)))
	}
	return v, nil
}

func (s *scanner) decimal() (decimal, error) {
	text, err := s.number()
	if err != nil {
		return decimal{}, err
	}
	return parseDecimal(text)
}

func (s *scanner) bool() (float64, error) {
	switch {
	case s.literal("true"):
		return 1, nil
	case s.literal("false"):
		return 0, nil
	}
	return 0, errors.New("want true or false")
}

func (s *scanner) literal(word string) bool {
	s.space()
	if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		s.pos += len(word)
		return true
	}
	return false
}

// skip reads any value and forgets it.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	s.space()
	if s.pos == len(s.data) {
		return errors.New("no value")
	}
	switch s.data[s.pos] {
	case '{':
		return s.skipAll('}', func() error {
			if _, err := s.str(); err != nil {
				return err
			}
			if !s.take(':') {
				return errors.New("want : after a key")
			}
			return s.skip(depth + 1)
		})
	case '[':
		return s.skipAll(']', func() error { return s.skip(depth + 1) })
	case '"':
		_, err := s.str()
		return err
	case 't', 'f', 'n':
		if s.literal("true") || s.literal("false") || s.literal("null") {
			return nil
		}
		return errors.New("unknown word")
	default:
		_, err := s.number()
		return err
	}
}

func (s *scanner) skipAll(closing byte, item func() error) error {
	s.pos++
	if s.take(closing) {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if s.take(closing) {
			return nil
		}
		if !s.take(',') {
			return fmt.Errorf("want , or %c", closing)
		}
	}
}
