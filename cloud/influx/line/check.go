package line

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// maxKey is how many bytes InfluxDB takes for measurement and tags together, as
// they are stored.
const maxKey = 65535

// Times that InfluxDB can store, in whole microseconds. It keeps nanoseconds in
// an int64 and reserves the outermost ones.
const (
	MinMicros = math.MinInt64/1000 + 1
	MaxMicros = math.MaxInt64/1000 - 1
)

// Check reports everything about a point that Append would replace or leave out
// and that InfluxDB would refuse or silently drop, all mistakes joined. A point
// that passes is stored exactly as given, unless a field's type differs from
// that of earlier points. Empty tag values are no mistake.
func Check(measurement string, tags []Tag, fields []Field, micros int64) error {
	var errs []error
	size := len(measurement)
	errs = append(errs, checkName("measurement", measurement))
	if measurement != "" && measurement[0] == '#' {
		errs = append(errs, fmt.Errorf("measurement %q: starts with a number sign", clip(measurement)))
	}
	for i, t := range tags {
		if t.Value == "" {
			continue
		}
		size += len(t.Key) + len(t.Value) + len(",=")
		errs = append(errs, checkKey("tag", t.Key))
		if err := checkName("value of tag "+clip(t.Key), t.Value); err != nil {
			errs = append(errs, err)
		}
		for _, other := range tags[:i] {
			if other.Key == t.Key && other.Value != "" {
				errs = append(errs, fmt.Errorf("tag %q: twice", clip(t.Key)))
			}
		}
	}
	if size > maxKey {
		errs = append(errs, fmt.Errorf("measurement and tags: %d bytes, limit %d", size, maxKey))
	}
	if len(fields) == 0 {
		errs = append(errs, errors.New("no fields"))
	}
	for i := range fields {
		errs = append(errs, fields[i].check())
	}
	if micros < MinMicros || micros > MaxMicros {
		errs = append(errs, fmt.Errorf("time %d µs: outside %d..%d", micros, int64(MinMicros), int64(MaxMicros)))
	}
	return errors.Join(errs...)
}

func (f *Field) check() error {
	if err := checkKey("field", f.key); err != nil {
		return err
	}
	switch {
	case f.kind == kindNone:
		return fmt.Errorf("field %q: no value", clip(f.key))
	case f.kind == kindFloat && !f.writable():
		return fmt.Errorf("field %q: %v", clip(f.key), math.Float64frombits(f.bits))
	case f.kind == kindString && !utf8.ValidString(f.text):
		return fmt.Errorf("field %q: not UTF-8", clip(f.key))
	default:
		return nil
	}
}

// checkKey is for tag and field keys: InfluxDB refuses a tag called time and
// silently drops a field of that name.
func checkKey(what, key string) error {
	if key == "time" {
		return fmt.Errorf("%s %q: reserved", what, key)
	}
	return checkName(what, key)
}

func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s: empty", what)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q: not UTF-8", what, clip(s))
	}
	for i := range len(s) {
		switch {
		case classes[s[i]] == replace:
			return fmt.Errorf("%s %q: control character", what, clip(s))
		case classes[s[i]] == backslash && escapes(s[i+1:]):
			return fmt.Errorf("%s %q: backslash at the end or before one of \\ , = \" and space", what, clip(s))
		}
	}
	return nil
}

// clip bounds what of foreign text goes into an error.
func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
