package influxdata

import (
	"bytes"

	"github.com/wattline/wattline/shared/device"
)

func (q *quick) space() {
	for q.pos < len(q.text) {
		switch q.text[q.pos] {
		case ' ', '\t', '\n', '\r':
			q.pos++
		default:
			return
		}
	}
}

// take skips white space and, if it comes next, the byte c.
func (q *quick) take(c byte) bool {
	if q.pos < len(q.text) && q.text[q.pos] == c {
		q.pos++
		return true
	}
	q.space()
	if q.pos < len(q.text) && q.text[q.pos] == c {
		q.pos++
		return true
	}
	return false
}

// str reads a string without escapes.
func (q *quick) str() ([]byte, bool) {
	if !q.take('"') {
		return nil, false
	}
	start := q.pos
	for i, c := range q.text[start:] {
		switch {
		case c == '"':
			q.pos = start + i + 1
			return q.text[start : start+i], true
		case c == '\\' || c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// num reads a number: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
func (q *quick) num() ([]byte, bool) {
	q.space()
	start := q.pos
	if q.next() == '-' {
		q.pos++
	}
	first := q.next()
	if n := q.digits(); n == 0 || n > 1 && first == '0' {
		return nil, false
	}
	if q.next() == '.' {
		q.pos++
		if q.digits() == 0 {
			return nil, false
		}
	}
	if c := q.next(); c == 'e' || c == 'E' {
		q.pos++
		if c := q.next(); c == '+' || c == '-' {
			q.pos++
		}
		if q.digits() == 0 {
			return nil, false
		}
	}
	return q.text[start:q.pos], true
}

// next is the byte that comes, 0 at the end.
func (q *quick) next() byte {
	if q.pos < len(q.text) {
		return q.text[q.pos]
	}
	return 0
}

func (q *quick) digits() int {
	start := q.pos
	for q.pos < len(q.text) && q.text[q.pos]-'0' <= 9 {
		q.pos++
	}
	return q.pos - start
}

// time reads seconds that are whole microseconds, not negative, in at most ten
// digits: they add up exactly.
func (q *quick) time() (device.Micros, bool) {
	text, ok := q.num()
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
	return device.Micros(n), device.Micros(n) <= q.latest
}

var (
	one  = []byte("1")
	zero = []byte("0")
)

// bool reads true or false as the number that it becomes.
func (q *quick) bool() ([]byte, bool) {
	q.space()
	switch rest := q.text[q.pos:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		q.pos += len("true")
		return one, true
	case bytes.HasPrefix(rest, []byte("false")):
		q.pos += len("false")
		return zero, true
	}
	return nil, false
}

// version reads bver: 10 or 26, and the same throughout.
func (q *quick) version() bool {
	text, ok := q.num()
	if !ok || string(text) != "10" && string(text) != "26" || q.base.version != "" && q.base.version != string(text) {
		return false
	}
	q.base.version = string(text)
	return true
}

// plainNumber reports whether a number is written as a line writes it: no
// exponent, no zeros at the end, and at most 15 digits, which a float64 keeps
// and gives back (IEEE 754; DBL_DIG is 15).
func plainNumber(text []byte) bool {
	digits := text
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) > 16 {
		return false
	}
	if string(text) == "-0" {
		return false
	}
	point := -1
	for i, c := range digits {
		switch {
		case c == '.':
			point = i
		case c < '0' || c > '9':
			return false
		}
	}
	if point < 0 {
		return len(digits) <= 15
	}
	// Below 0.000001 a line has an exponent.
	small := digits[0] == '0' && len(bytes.TrimLeft(digits[point+1:], "0")) <= len(digits)-point-1-6
	return digits[len(digits)-1] != '0' && !small
}
