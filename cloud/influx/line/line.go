// Package line writes InfluxDB line protocol, for everything in the cloud that
// makes points. It is pure: the bytes depend on the arguments alone, so that a
// reading that is stored twice is the same point twice.
//
// No text, however hostile, can end a line, begin another tag or field, or
// change how the lines around it are read. What line protocol can say is
// written as it is. What it cannot say in a measurement, tag or field key is
// replaced by one character that looks like it:
//
//	U+0000..U+001F, U+007F                  U+2400..U+241F, U+2421 (control pictures)
//	bytes that are no UTF-8                 U+FFFD
//	a backslash at the end, or before a     U+FF3C (fullwidth backslash)
//	backslash, comma, equals sign, space or quote
//	# at the start of a measurement         U+FF03 (fullwidth number sign)
//
// String fields keep every character, line breaks included; only bytes that are
// no UTF-8 become U+FFFD.
package line

import (
	"math"
	"strconv"
)

// Tag is one tag of a point. A tag whose key or value is empty is not written:
// line protocol has no such tag, and to InfluxDB an absent tag is an empty one.
type Tag struct{ Key, Value string }

// Field is one field of a point, made by Float, Int, Bool or String. The zero
// Field is not written.
type Field struct {
	key  string
	text string
	bits uint64
	kind kind
}

type kind uint8

const (
	kindNone kind = iota
	kindFloat
	kindInt
	kindBool
	kindString
)

// Float is a field of type float. NaN and infinities are not written: InfluxDB
// has no such values.
func Float(key string, v float64) Field {
	return Field{key: key, kind: kindFloat, bits: math.Float64bits(v)}
}

// Int is a field of type integer.
func Int(key string, v int64) Field {
	return Field{key: key, kind: kindInt, bits: uint64(v)} //nolint:gosec // the bits, read back as int64
}

// Bool is a field of type boolean.
func Bool(key string, v bool) Field {
	f := Field{key: key, kind: kindBool}
	if v {
		f.bits = 1
	}
	return f
}

// String is a field of type string. InfluxDB promises to keep 64 KB.
func String(key, v string) Field {
	return Field{key: key, kind: kindString, text: v}
}

// Append appends one point as one line, its line break included, to dst and
// gives the longer slice. micros is the point's time in microseconds since
// 1970-01-01 UTC.
//
// A point without a measurement, or without a field that can be written, does
// not exist in line protocol: dst comes back unchanged. Tags are written in the
// order given; InfluxDB is fastest when they are sorted by key, and a point's
// identity does not depend on it. Field types must be the same in every point
// of a measurement, or InfluxDB refuses the later ones.
func Append(dst []byte, measurement string, tags []Tag, fields []Field, micros int64) []byte {
	if measurement == "" {
		return dst
	}
	start := len(dst)
	dst = appendMeasurement(dst, measurement)
	for _, t := range tags {
		if t.Key == "" || t.Value == "" {
			continue
		}
		dst = append(dst, ',')
		dst = appendName(dst, t.Key)
		dst = append(dst, '=')
		dst = appendName(dst, t.Value)
	}
	separator := byte(' ')
	for i := range fields {
		if !fields[i].writable() {
			continue
		}
		dst = append(dst, separator)
		dst = fields[i].append(dst)
		separator = ','
	}
	if separator == ' ' {
		return dst[:start]
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, micros, 10)
	return append(dst, '\n')
}

func (f *Field) writable() bool {
	if f.key == "" || f.kind == kindNone {
		return false
	}
	return f.kind != kindFloat || finite(math.Float64frombits(f.bits))
}

func (f *Field) append(dst []byte) []byte {
	dst = appendName(dst, f.key)
	dst = append(dst, '=')
	switch f.kind {
	case kindFloat:
		return appendFloat(dst, math.Float64frombits(f.bits))
	case kindInt:
		return append(strconv.AppendInt(dst, int64(f.bits), 10), 'i') //nolint:gosec // put in by Int
	case kindBool:
		return strconv.AppendBool(dst, f.bits != 0)
	default:
		return appendText(dst, f.text)
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// appendFloat writes the shortest digits that read back as the same float64,
// with an exponent only where that is shorter.
func appendFloat(dst []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}
