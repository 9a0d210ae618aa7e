package scan

import (
	"bytes"

	"github.com/wattline/wattline/shared/device"
)

// tokens takes a text apart, JSON (RFC 8259) without escapes.
type tokens struct {
	text   []byte
	pos    int
	latest device.Micros // accepted
}

func (t *tokens) space() {
	for t.pos < len(t.text) {
		switch t.text[t.pos] {
		case ' ', '\t', '\n', '\r':
			t.pos++
		default:
			return
		}
	}
}

// took skips white space and, if it comes next, the byte c.
func (t *tokens) took(c byte) bool {
	if t.pos < len(t.text) && t.text[t.pos] == c {
		t.pos++
		return true
	}
	t.space()
	if t.pos < len(t.text) && t.text[t.pos] == c {
		t.pos++
		return true
	}
	return false
}

// str reads a string without escapes.
func (t *tokens) str() ([]byte, bool) {
	if !t.took('"') {
		return nil, false
	}
	start := t.pos
	for i, c := range t.text[start:] {
		switch {
		case c == '"':
			t.pos = start + i + 1
			return t.text[start : start+i], true
		case c == '\\' || c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// object finds the end of an object by its braces, whatever is between them.
func (t *tokens) object() ([]byte, bool) {
	t.space()
	start, depth := t.pos, 0
	for ; t.pos < len(t.text); t.pos++ {
		switch t.text[t.pos] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				t.pos++
				return t.text[start:t.pos], true
			}
		case '"':
			if _, ok := t.str(); !ok {
				return nil, false
			}
			t.pos-- // at the closing quote
		case '\\':
			return nil, false
		}
		if depth == 0 {
			return nil, false
		}
	}
	return nil, false
}

// number reads -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
func (t *tokens) number() ([]byte, bool) {
	t.space()
	start := t.pos
	if t.next() == '-' {
		t.pos++
	}
	first := t.next()
	if n := t.digits(); n == 0 || n > 1 && first == '0' {
		return nil, false
	}
	if t.next() == '.' {
		t.pos++
		if t.digits() == 0 {
			return nil, false
		}
	}
	if c := t.next(); c == 'e' || c == 'E' {
		t.pos++
		if c := t.next(); c == '+' || c == '-' {
			t.pos++
		}
		if t.digits() == 0 {
			return nil, false
		}
	}
	return t.text[start:t.pos], true
}

// next is the byte that comes, 0 at the end.
func (t *tokens) next() byte {
	if t.pos < len(t.text) {
		return t.text[t.pos]
	}
	return 0
}

func (t *tokens) digits() int {
	start := t.pos
	for t.pos < len(t.text) && t.text[t.pos]-'0' <= 9 {
		t.pos++
	}
	return t.pos - start
}

// time reads seconds that are whole microseconds, not negative, in at most ten
// digits: they add up exactly.
func (t *tokens) time() (device.Micros, bool) {
	text, ok := t.number()
	if !ok {
		return 0, false
	}
	whole, fraction, _ := bytes.Cut(text, []byte{'.'})
	if len(whole) > 10 || len(fraction) > 6 {
		return 0, false
	}
	n := int64(0)
	for _, c := range whole {
		if c-'0' > 9 { // a sign or an exponent
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	for i := range 6 {
		n *= 10
		if i < len(fraction) {
			if fraction[i]-'0' > 9 {
				return 0, false
			}
			n += int64(fraction[i] - '0')
		}
	}
	// One that is too late already, even one that no record uses, is not for here.
	return device.Micros(n), device.Micros(n) <= t.latest
}

var (
	one  = []byte("1")
	zero = []byte("0")
)

// bool reads true or false as the number that it becomes.
func (t *tokens) bool() ([]byte, bool) {
	t.space()
	switch rest := t.text[t.pos:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		t.pos += len("true")
		return one, true
	case bytes.HasPrefix(rest, []byte("false")):
		t.pos += len("false")
		return zero, true
	}
	return nil, false
}
