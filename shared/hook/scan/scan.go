// Package scan reads messages of the form that gateways send, envelope and records
// in one pass, several times as fast as the packages that understand everything.
//
// It never decides: where anything is unusual, wrong or out of range it gives up,
// and the caller reads the message the long way ([bus.Decode] and
// [senml.Decode]), which alone says what is refused and why. What it does not
// give up on it reads as the long way does; the tests of those who use it compare
// the two.
//
// What a name and a unit become for the caller is learned once and remembered, in
// bounded memory.
package scan

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// Times that are accepted of a reading: from Earliest, which is 2000-01-01, to
// Ahead, an hour, from now.
const (
	Earliest = device.Micros(946_684_800_000_000)
	Ahead    = device.Micros(3_600_000_000)
)

// Value is what a record says of its head.
type Value struct {
	Time device.Micros
	Kind senml.Kind // Number or Bool
	// Number is the value as it is written, "1" or "0" of a Bool. It is good until
	// the next message is read.
	Number []byte
}

// Reader reads messages. H is what the name and the unit of a record become. Not
// safe for concurrent use.
type Reader[H any] struct {
	tokens

	inflater bus.Inflater
	heads    heads[H]
	take     func(*H, Value) bool // of the message that is read
	base     base
	names    int // bytes of all names so far
}

// base holds the base fields of a pack (RFC 8428 section 4.1).
type base struct {
	name, unit []byte
	time       device.Micros
	version    string
}

// New allocates a reader that has learned nothing. learn is given a record with
// name and unit, its value and time being 0; false means that no such record is
// taken. What it gives is kept, and handed out as a pointer to the same.
func New[H any](learn func(senml.Record) (H, bool)) *Reader[H] {
	return &Reader[H]{heads: heads[H]{learn: learn, young: make(map[string]*H)}}
}

// Learned counts the names and units that are remembered.
func (r *Reader[H]) Learned() int { return len(r.heads.young) + len(r.heads.old) }

// Message reads a payload, inflating it when it is compressed, an envelope with a
// pack as its data, and hands each record to take, which may give up by false. ok
// is false where the reader gave up; then what take was handed counts for nothing.
// The envelope has no Data.
func (r *Reader[H]) Message(payload []byte, now device.Micros, take func(*H, Value) bool) (e bus.Envelope, ok bool) {
	ok = r.read(payload, now, take, func() bool { return r.envelope(&e) })
	return e, ok
}

// Pack reads a payload that is a pack alone, as [Reader.Message] does.
func (r *Reader[H]) Pack(payload []byte, now device.Micros, take func(*H, Value) bool) (ok bool) {
	return r.read(payload, now, take, r.pack)
}

func (r *Reader[H]) read(payload []byte, now device.Micros, take func(*H, Value) bool, form func() bool) bool {
	text, err := r.inflater.Inflate(payload)
	if err != nil || !utf8.Valid(text) {
		return false
	}
	r.tokens, r.take, r.base, r.names = tokens{text: text, latest: now + Ahead}, take, base{}, 0
	ok := form()
	r.space()
	ok = ok && r.pos == len(r.text)
	r.tokens, r.take, r.base = tokens{}, nil, base{} // holds on to nothing
	return ok
}

// envelope reads the whole text as one.
func (r *Reader[H]) envelope(e *bus.Envelope) bool {
	if !r.took('{') {
		return false
	}
	hasData := false
	for {
		key, ok := r.str()
		if !ok || !r.took(':') {
			return false
		}
		switch string(key) {
		case "id":
			ok = e.ID == "" && r.textTo(&e.ID)
		case "response_topic":
			ok = e.ResponseTopic == "" && r.textTo(&e.ResponseTopic)
		case "batch":
			ok = e.Batch == nil && r.batch(e)
		case "data":
			ok = !hasData && r.pack()
			hasData = true
		default:
			return false
		}
		if !ok {
			return false
		}
		if r.took('}') {
			return hasData
		}
		if !r.took(',') {
			return false
		}
	}
}

func (r *Reader[H]) textTo(dst *string) bool {
	s, ok := r.str()
	*dst = string(s)
	return ok && len(s) > 0
}

// batch leaves it to the JSON package to say whether the member is well formed.
func (r *Reader[H]) batch(e *bus.Envelope) bool {
	text, ok := r.object()
	if !ok {
		return false
	}
	e.Batch = new(contract.BatchHead)
	return json.Unmarshal(text, e.Batch) == nil
}

// namesShare is what the names of a pack together may be, as a multiple of its
// size; of more [senml.Decode] has to say whether they are too much.
const namesShare = 4

func (r *Reader[H]) pack() bool {
	if !r.took('[') {
		return false
	}
	start := r.pos
	if r.took(']') {
		return true
	}
	for range bus.MaxRecords {
		if !r.record() {
			return false
		}
		if r.took(',') {
			continue
		}
		return r.took(']') && r.names <= namesShare*(r.pos-start)
	}
	return false
}

// The members of a record that are understood here.
const (
	hasName = 1 << iota
	hasUnit
	hasTime
	hasNumber
	hasBool
	hasBaseName
	hasBaseUnit
	hasBaseTime
	hasVersion
)

func (r *Reader[H]) record() bool {
	if !r.took('{') {
		return false
	}
	if r.took('}') {
		return true
	}
	var name, unit, value []byte
	var offset device.Micros
	seen := 0
	for {
		key, ok := r.str()
		if !ok || !r.took(':') {
			return false
		}
		member := 0
		switch string(key) {
		case "n":
			member = hasName
			name, ok = r.str()
		case "u":
			member = hasUnit
			unit, ok = r.str()
		case "t":
			member = hasTime
			offset, ok = r.time()
		case "v":
			member = hasNumber
			value, ok = r.number()
		case "vb":
			member = hasBool
			value, ok = r.bool()
		case "bn":
			member = hasBaseName
			r.base.name, ok = r.str()
		case "bu":
			member = hasBaseUnit
			r.base.unit, ok = r.str()
		case "bt":
			member = hasBaseTime
			r.base.time, ok = r.time()
		case "bver":
			member = hasVersion
			ok = r.version()
		}
		if !ok || member == 0 || seen&member != 0 {
			return false
		}
		seen |= member
		if r.took('}') {
			break
		}
		if !r.took(',') {
			return false
		}
	}
	v := Value{Time: r.base.time + offset, Kind: senml.Number, Number: value}
	switch seen & (hasNumber | hasBool) {
	case 0:
		return seen&(hasName|hasUnit|hasTime) == 0 // base fields only
	case hasNumber | hasBool:
		return false
	case hasBool:
		v.Kind = senml.Bool
	}
	return r.hand(name, unit, v)
}

// hand resolves a record and gives it away.
func (r *Reader[H]) hand(name, unit []byte, v Value) bool {
	if v.Time < Earliest || v.Time > r.latest {
		return false
	}
	if len(unit) == 0 {
		unit = r.base.unit
	}
	r.names += len(r.base.name) + len(name)
	h := r.heads.of(r.base.name, name, unit)
	return h != nil && r.take(h, v)
}

// version reads bver: 10 or 26, and the same throughout.
func (r *Reader[H]) version() bool {
	text, ok := r.number()
	if !ok || string(text) != "10" && string(text) != "26" || r.base.version != "" && r.base.version != string(text) {
		return false
	}
	r.base.version = string(text)
	return true
}
