package hs110

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// maxRaw bounds what is kept of a value that makes no sense, in bytes.
const maxRaw = 64

// number is a JSON value that should be a number. Whatever else stands there
// must not spoil the rest of the reply, so it decodes without an error and keeps
// the text; null counts as absent.
type number struct {
	value float64
	// text is what the plug sent, kept only where it is no finite number.
	text string
	// present: the key was there; valid: and it held a finite number.
	present, valid bool
}

// UnmarshalJSON implements json.Unmarshaler; it never fails.
func (n *number) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		*n = number{}
		return nil
	}
	v, err := strconv.ParseFloat(string(raw), 64) // no copy: the compiler sees that it does not escape on success
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		*n = number{present: true, text: clip(raw)}
		return nil //nolint:nilerr // not a number is an answer here: valid stays false
	}
	*n = number{value: v, present: true, valid: true}
	return nil
}

// integer is the value where it is a whole number that an int32 holds.
func (n number) integer() (int, bool) {
	if !n.valid || n.value != math.Trunc(n.value) || math.Abs(n.value) > math.MaxInt32 {
		return 0, false
	}
	return int(n.value), true
}

// raw is the number as text, for people.
func (n number) raw() string {
	if n.valid {
		return strconv.FormatFloat(n.value, 'f', -1, 64)
	}
	return n.text
}

// clip makes bytes from outside fit to be shown: short, and valid UTF-8.
func clip(b []byte) string {
	if len(b) > maxRaw {
		b = b[:maxRaw]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
