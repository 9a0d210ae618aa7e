package senml

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Bounds on names, in bytes. No real name comes near the first; the second is
// for all names of a pack together, as a multiple of its size, because a base
// name is written once and copied for each record.
const (
	maxName    = 1024
	namesShare = 4
)

// ErrPack is the class of every error of [Decode]: the bytes are no SenML pack
// that this package understands, now or later.
var ErrPack = errors.New("malformed SenML pack")

// Decode resolves the records of a pack, in the pack's order. Packs with more
// than limit records are refused. Errors wrap [ErrPack] and name the record,
// counted from 0.
func Decode(pack []byte, limit int) ([]Record, error) {
	if !utf8.Valid(pack) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrPack)
	}
	d := decoder{scanner: scanner{data: pack}}
	records, err := d.pack(limit)
	if err != nil {
		return nil, fmt.Errorf("%w: record %d: %w", ErrPack, d.index, err)
	}
	return records, nil
}

// decoder carries the base fields from record to record.
type decoder struct {
	scanner
	index    int
	baseName string
	baseUnit string
	baseTime decimal
	base     float64
	version  int
	names    int // bytes of the names so far
}

// record is a record as written, before base fields are applied.
type record struct {
	name, unit string
	time       decimal
	kind       Kind
	value      float64
	text       string
	hasSum     bool
	seen       uint32
}

func (d *decoder) pack(limit int) ([]Record, error) {
	if !d.take('[') {
		return nil, errors.New("the pack must be a JSON array")
	}
	// A record of ours takes some 25 bytes; the hint is bounded by the input.
	records := make([]Record, 0, min(limit, len(d.data)/24+1))
	if d.take(']') {
		return records, d.end()
	}
	for ; ; d.index++ {
		if d.index == limit {
			return nil, fmt.Errorf("more than %d records", limit)
		}
		raw, err := d.object()
		if err != nil {
			return nil, err
		}
		resolved, keep, err := d.resolve(raw)
		if err != nil {
			return nil, err
		}
		if keep {
			records = append(records, resolved)
		}
		if d.take(',') {
			continue
		}
		if !d.take(']') {
			return nil, errors.New("want , or ] after a record")
		}
		return records, d.end()
	}
}

// object reads one record and moves the base fields it sets.
func (d *decoder) object() (record, error) {
	var r record
	if !d.take('{') {
		return r, errors.New("a record must be a JSON object")
	}
	if d.take('}') {
		return r, nil
	}
	for {
		key, err := d.str()
		if err != nil {
			return r, fmt.Errorf("key: %w", err)
		}
		if !d.take(':') {
			return r, fmt.Errorf("want : after key %q", clip(key))
		}
		if err := d.member(&r, key); err != nil {
			return r, fmt.Errorf("%q: %w", clip(key), err)
		}
		if d.take('}') {
			return r, nil
		}
		if !d.take(',') {
			return r, errors.New("want , or } after a value")
		}
	}
}

// labels numbers the keys, so that a key given twice is noticed.
var labels = map[string]uint32{
	"bn": 1 << 0, "bt": 1 << 1, "bu": 1 << 2, "bv": 1 << 3, "bs": 1 << 4, "bver": 1 << 5, "n": 1 << 6, "u": 1 << 7,
	"v": 1 << 8, "vs": 1 << 9, "vb": 1 << 10, "vd": 1 << 11, "s": 1 << 12, "t": 1 << 13, "ut": 1 << 14,
}

func (d *decoder) member(r *record, key string) (err error) {
	label, known := labels[key]
	if r.seen&label != 0 {
		return errors.New("given twice")
	}
	r.seen |= label
	switch key {
	case "bn":
		d.baseName, err = d.str()
	case "bu":
		d.baseUnit, err = d.str()
	case "bt":
		d.baseTime, err = d.decimal()
	case "bv":
		d.base, err = d.float()
	case "bver":
		err = d.bver()
	case "n":
		r.name, err = d.str()
	case "u":
		r.unit, err = d.str()
	case "t":
		r.time, err = d.decimal()
	case "v":
		r.value, err = d.float()
		r.kind = Number
	case "vb":
		r.value, err = d.bool()
		r.kind = Bool
	case "vs":
		r.text, err = d.str()
		r.kind = Text
	case "vd":
		r.text, err = d.str()
		r.kind = Data
	case "s":
		_, err = d.float()
		r.hasSum = true
	case "bs", "ut":
		_, err = d.float()
	default:
		if !known && len(key) > 0 && key[len(key)-1] == '_' {
			return errors.New("a field that must be understood (RFC 8428 section 4.4), and is not")
		}
		err = d.skip(0)
	}
	return err
}

func (d *decoder) bver() error {
	v, err := d.float()
	if err != nil {
		return err
	}
	if v != versionBase && v != versionSecondary {
		return fmt.Errorf("version %v; understood are 10 and 26", v)
	}
	if d.version != 0 && d.version != int(v) {
		return fmt.Errorf("version %v after version %d in one pack", v, d.version)
	}
	d.version = int(v)
	return nil
}

// values are the labels of which a record has one.
const values = 1<<8 | 1<<9 | 1<<10 | 1<<11

// resolve applies the base fields. A record without a value is kept out when it
// only sets base fields, as a pack's first one may.
func (d *decoder) resolve(r record) (Record, bool, error) {
	if set := r.seen & values; set&(set-1) != 0 {
		return Record{}, false, errors.New("more than one of v, vs, vb, vd")
	}
	if r.kind == None && !r.hasSum && r.seen&(1<<6|1<<7|1<<13) == 0 {
		return Record{}, false, nil
	}
	if r.kind == None && !r.hasSum {
		return Record{}, false, errors.New("no value")
	}
	// Checked before they are joined: a long base name would be copied for each
	// of many short names.
	if n := len(d.baseName) + len(r.name); n > maxName {
		return Record{}, false, fmt.Errorf("name of %d bytes, at most %d fit", n, maxName)
	} else if d.names += n; d.names > namesShare*len(d.data)+maxName {
		return Record{}, false, fmt.Errorf("names of more than %d times the pack's size", namesShare)
	}
	out := Record{Name: d.baseName + r.name, Unit: r.unit, Kind: r.kind, Value: r.value, Text: r.text}
	if out.Unit == "" {
		out.Unit = d.baseUnit
	}
	if out.Kind == Number {
		out.Value += d.base
		if math.IsInf(out.Value, 0) {
			return Record{}, false, errors.New("base value and value add up to infinity")
		}
	}
	if err := CheckName(out.Name); err != nil {
		return Record{}, false, err
	}
	at, err := d.baseTime.plus(r.time)
	if err != nil {
		return Record{}, false, err
	}
	out.Time, out.Absolute = at, at >= relativeBelow
	return out, true, nil
}

// CheckName says why a resolved name is none (RFC 8428 section 4.5.1); nil when it
// is one. How long it may be is for others to say.
func CheckName(name string) error {
	if name == "" {
		return errors.New("no name")
	}
	for i := range len(name) {
		c := name[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if alphanumeric {
			continue
		}
		if i == 0 {
			return fmt.Errorf("name %q must start with a letter or digit", clip(name))
		}
		switch c {
		case '-', ':', '.', '/', '_':
		default:
			return fmt.Errorf("name %q: character %q is not allowed", clip(name), c)
		}
	}
	return nil
}

// clip keeps error texts short whatever the input was.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
