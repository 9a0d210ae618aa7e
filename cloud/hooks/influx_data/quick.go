package influxdata

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// quick reads messages of the form that gateways send, envelope and records in
// one pass, five times as fast as the packages that understand everything. It
// never decides: where anything is unusual, wrong or out of range it gives up,
// and the message is read the long way, which alone says what is refused and
// why. What a name and a unit become is learned from [Points], so that both
// ways give the same bytes; a fuzz test compares them.
//
// Not safe for concurrent use.
type quick struct {
	text []byte
	pos  int
	base base

	lines    []byte
	records  int
	from, to device.Micros

	// heads are the lines of names and units up to the value. When young is
	// full it becomes old and what is still in use moves back: bounded, and a
	// stranger who sends a new name each time cannot make it useless.
	young, old map[string]*head
	key        []byte
	number     []byte

	at     device.Micros // the time that stamp is the text of
	stamp  []byte
	latest device.Micros // accepted

	limits *limits
	shelf  *shelf   // of the message; nil counts no series
	fresh  []uint64 // series that are not on it
	reads  uint64   // messages so far
}

// base holds the base fields of a pack (RFC 8428 section 4.1).
type base struct {
	name, unit []byte
	time       device.Micros
	version    string
}

const (
	maxHeads   = 16_384 // of one generation
	maxHeadKey = 320    // bytes of name and unit
)

func newQuick(l *limits) *quick { return &quick{limits: l, young: make(map[string]*head)} }

// read fills in what an envelope says, and the lines of its records. False means
// that it gave up, and m is as it was.
func (q *quick) read(text []byte, now device.Micros, m *message) bool {
	if !utf8.Valid(text) {
		return false
	}
	*q = quick{
		text: text, lines: q.lines[:0], latest: now + ahead, young: q.young, old: q.old,
		key: q.key, number: q.number, stamp: q.stamp, at: q.at,
		limits: q.limits, shelf: m.shelf, fresh: q.fresh[:0], reads: q.reads + 1,
	}
	defer func() { q.text, q.base, q.shelf = nil, base{}, nil }()
	var e bus.Envelope
	if !q.envelope(&e) {
		return false
	}
	m.envelope, m.lines = e, bytes.Clone(q.lines)
	m.records, m.from, m.to = q.records, q.from, q.to
	m.fresh = slices.Clone(q.fresh)
	return true
}

// envelope reads the whole text as one.
func (q *quick) envelope(e *bus.Envelope) bool {
	if !q.take('{') {
		return false
	}
	hasData := false
	for {
		key, ok := q.str()
		if !ok || !q.take(':') {
			return false
		}
		switch string(key) {
		case "id":
			ok = e.ID == "" && q.textTo(&e.ID)
		case "response_topic":
			ok = e.ResponseTopic == "" && q.textTo(&e.ResponseTopic)
		case "batch":
			ok = e.Batch == nil && q.batch(e)
		case "data":
			ok = !hasData && q.pack()
			hasData = true
		default:
			return false
		}
		if !ok {
			return false
		}
		if q.take('}') {
			break
		}
		if !q.take(',') {
			return false
		}
	}
	q.space()
	return hasData && q.pos == len(q.text)
}

func (q *quick) textTo(dst *string) bool {
	s, ok := q.str()
	*dst = string(s)
	return ok && len(s) > 0
}

// batch finds the end of the member by its braces; that it is well formed is
// for the JSON package to say.
func (q *quick) batch(e *bus.Envelope) bool {
	q.space()
	start, depth := q.pos, 0
	for ; q.pos < len(q.text); q.pos++ {
		switch q.text[q.pos] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				q.pos++
				e.Batch = new(contract.BatchHead)
				return json.Unmarshal(q.text[start:q.pos], e.Batch) == nil
			}
		case '"':
			if _, ok := q.str(); !ok {
				return false
			}
			q.pos-- // at the closing quote
		case '\\':
			return false
		}
		if depth == 0 {
			return false
		}
	}
	return false
}

func (q *quick) pack() bool {
	if !q.take('[') {
		return false
	}
	if q.take(']') {
		return true
	}
	for range bus.MaxRecords {
		if !q.record() {
			return false
		}
		if q.take(',') {
			continue
		}
		return q.take(']')
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

func (q *quick) record() bool {
	if !q.take('{') {
		return false
	}
	if q.take('}') {
		return true
	}
	var name, unit, value []byte
	var offset device.Micros
	seen := 0
	for {
		key, ok := q.str()
		if !ok || !q.take(':') {
			return false
		}
		member := 0
		switch string(key) {
		case "n":
			member = hasName
			name, ok = q.str()
		case "u":
			member = hasUnit
			unit, ok = q.str()
		case "t":
			member = hasTime
			offset, ok = q.time()
		case "v":
			member = hasNumber
			value, ok = q.num()
		case "vb":
			member = hasBool
			value, ok = q.bool()
		case "bn":
			member = hasBaseName
			q.base.name, ok = q.str()
		case "bu":
			member = hasBaseUnit
			q.base.unit, ok = q.str()
		case "bt":
			member = hasBaseTime
			q.base.time, ok = q.time()
		case "bver":
			member = hasVersion
			ok = q.version()
		}
		if !ok || member == 0 || seen&member != 0 {
			return false
		}
		seen |= member
		if q.take('}') {
			break
		}
		if !q.take(',') {
			return false
		}
	}
	switch seen & (hasNumber | hasBool) {
	case 0:
		return seen&(hasName|hasUnit|hasTime) == 0 // base fields only
	case hasNumber | hasBool:
		return false
	}
	if len(unit) == 0 {
		unit = q.base.unit
	}
	return q.point(name, unit, value, q.base.time+offset)
}

// point appends the line of a record.
func (q *quick) point(name, unit, value []byte, at device.Micros) bool {
	if at < earliest || at > q.latest {
		return false
	}
	h, ok := q.head(name, unit)
	if !ok {
		return false
	}
	if h.shelf != q.shelf {
		q.meet(h)
	}
	q.lines = append(q.lines, h.text...)
	if plainNumber(value) {
		q.lines = append(q.lines, value...)
	} else {
		v, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return false
		}
		v += 0 // a base value is added to all others too: no zero is negative
		q.number = line.Append(q.number[:0], "m", nil, []line.Field{line.Float("v", v)}, 0)
		q.lines = append(q.lines, q.number[len("m v="):len(q.number)-len(" 0\n")]...)
	}
	if at != q.at || len(q.stamp) == 0 {
		q.at, q.stamp = at, append(strconv.AppendInt(append(q.stamp[:0], ' '), int64(at), 10), '\n')
	}
	q.lines = append(q.lines, q.stamp...)
	if q.records == 0 {
		q.from, q.to = at, at
	}
	q.from, q.to = min(q.from, at), max(q.to, at)
	q.records++
	return true
}
