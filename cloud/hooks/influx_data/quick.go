package influxdata

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook/scan"
)

// quick makes lines of messages of the form that gateways send, in one pass. It
// never decides: where package scan gives up, the message is read the long way.
// What a name and a unit become is learned from [Points], so that both ways give
// the same bytes; a fuzz test compares them.
//
// Not safe for concurrent use.
type quick struct {
	reader *scan.Reader[head]

	lines    []byte
	records  int
	from, to device.Micros
	number   []byte

	at    device.Micros // the time that stamp is the text of
	stamp []byte

	limits *limits
	shelf  *shelf   // of the message; nil counts no series
	fresh  []uint64 // series that are not on it
	reads  uint64   // messages so far
}

func newQuick(l *limits) *quick { return &quick{limits: l, reader: scan.New(learn)} }

// read fills in what an envelope says, and the lines of its records. False means
// that it gave up, and m is as it was.
func (q *quick) read(now device.Micros, m *message) bool {
	q.lines, q.records, q.from, q.to = q.lines[:0], 0, 0, 0
	q.shelf, q.fresh, q.reads = m.shelf, q.fresh[:0], q.reads+1
	defer func() { q.shelf = nil }()
	e, ok := q.reader.Message(m.payload, now, q.point)
	if !ok {
		return false
	}
	m.envelope, m.lines = e, bytes.Clone(q.lines)
	m.records, m.from, m.to = q.records, q.from, q.to
	m.fresh = slices.Clone(q.fresh)
	return true
}

// point appends the line of a record.
func (q *quick) point(h *head, v scan.Value) bool {
	if h.shelf != q.shelf {
		q.meet(h)
	}
	q.lines = append(q.lines, h.text...)
	if plainNumber(v.Number) {
		q.lines = append(q.lines, v.Number...)
	} else {
		f, ok := v.Float()
		if !ok {
			return false
		}
		q.number = line.Append(q.number[:0], "m", nil, []line.Field{line.Float("v", f)}, 0)
		q.lines = append(q.lines, q.number[len("m v="):len(q.number)-len(" 0\n")]...)
	}
	if v.Time != q.at || len(q.stamp) == 0 {
		q.at, q.stamp = v.Time, append(strconv.AppendInt(append(q.stamp[:0], ' '), int64(v.Time), 10), '\n')
	}
	q.lines = append(q.lines, q.stamp...)
	if q.records == 0 {
		q.from, q.to = v.Time, v.Time
	}
	q.from, q.to = min(q.from, v.Time), max(q.to, v.Time)
	q.records++
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
