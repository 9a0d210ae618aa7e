// Package senml reads and writes SenML packs in JSON (RFC 8428, with the
// secondary units of RFC 8798 as version 26 of RFC 9100).
//
// [Decode] resolves a pack: base fields are applied, names checked, times added
// as decimals and rounded half up to microseconds. It reads bytes from
// anywhere: it never panics, its memory is bounded by the size of the input,
// and what it accepts it understood completely. [Append] is the way back for
// records whose times are absolute.
package senml

import "github.com/wattline/wattline/shared/device"

// Kind says which of the value fields a record carries.
type Kind uint8

// The kinds of value (RFC 8428 section 4.2). None is a record with a sum only.
const (
	None   Kind = iota
	Number      // v
	Bool        // vb
	Text        // vs
	Data        // vd, as the base64url text it came in
)

// Record is one resolved SenML record.
type Record struct {
	Name string // base name and name joined
	Unit string // "" when the pack names none
	Time device.Micros
	// Absolute is false when the pack gave a time relative to now (below 2^28
	// seconds, RFC 8428 section 4.5.3), or none; Time is then that offset.
	Absolute bool
	Kind     Kind
	Value    float64 // of a Number; 1 or 0 of a Bool
	Text     string  // of Text and Data
}

// relativeBelow is 2^28 s: smaller times are relative to now.
const relativeBelow = device.Micros(1<<28) * 1e6

// Versions: 10 is RFC 8428's own, 26 adds secondary units such as Wh (RFC 9100
// section 3: 10 + 2^4).
const (
	versionBase      = 10
	versionSecondary = 26
)
