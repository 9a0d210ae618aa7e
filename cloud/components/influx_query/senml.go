package influxquery

import (
	"strconv"
	"strings"
)

// pack writes an answer as IoToad gave it: one SenML array whose first record
// holds base fields only, as clients drop it, then one record for each value. A
// record has a name of its own where the records can be of several devices or
// groups; an empty window has no record.
type pack struct {
	query Query
	named bool
	parts *parts

	name  []byte // "n":"..." of the group or device at hand
	of    string // what name is of
	room  []byte // of one record
	value []byte // of its value
}

func newPack(q Query, unit string, out *parts) *pack {
	p := &pack{query: q, parts: out}
	p.named = len(q.GroupBy) > 0 || q.points() && !q.single()
	base := q.Measurement
	switch {
	case p.named:
		base = "" // each name is whole
	case q.single():
		base = q.IDs[0].String() + "/" + q.Measurement
	}
	b := appendString([]byte(`[{"bn":`), base)
	if unit != "" {
		b = appendString(append(b, `,"bu":`...), unit)
	}
	if unit == "Wh" {
		b = append(b, `,"bver":26`...) // RFC 8798: a secondary unit
	}
	out.buf = append(b, '}')
	return p
}

func (p *pack) row(group map[string]string, r row) error {
	value, ok := appendValue(p.value[:0], r)
	p.value = value
	if !ok {
		return nil
	}
	b := append(p.room[:0], '{')
	if p.named {
		b = append(append(b, p.nameOf(group, r.id)...), ',')
	}
	if r.unit != "" {
		b = append(appendString(append(b, `"u":`...), r.unit), ',')
	}
	b = append(r.at.AppendSeconds(append(b, `"t":`...)), ',')
	b = append(append(b, value...), '}')
	p.room = b
	if len(p.parts.buf)+len(b)+len(",]") > partLimit {
		if err := p.end(); err != nil {
			return err
		}
	}
	separator := byte(',')
	if len(p.parts.buf) == 0 {
		separator = '['
	}
	p.parts.buf = append(append(p.parts.buf, separator), b...)
	return nil
}

// appendValue appends the member that holds the value; false when there is none.
func appendValue(b []byte, r row) ([]byte, bool) {
	switch v := r.value.(type) {
	case bool: // of a field that is not ours, as the next
		return strconv.AppendBool(append(b, `"vb":`...), v), true
	case string:
		return appendString(append(b, `"vs":`...), v), true
	case nil:
		if r.text == "" {
			return b, false
		}
		return appendString(append(b, `"vs":`...), r.text), true
	default:
		return appendNumber(append(b, `"v":`...), v)
	}
}

// nameOf is the member n of a record; it stays the same for many in a row.
func (p *pack) nameOf(group map[string]string, id string) []byte {
	if len(group) > 0 {
		id = labelOf(group, id)
	}
	if p.name != nil && p.of == id {
		return p.name
	}
	name := p.query.Measurement
	if id != "" {
		name = id + "/" + name
	}
	p.of, p.name = id, appendString([]byte(`"n":`), name)
	return p.name
}

// labelOf names a group: by its device where there is one, else by its tags, as
// in type:w/row:1.
func labelOf(group map[string]string, id string) string {
	if device := group["id"]; device != "" {
		return device
	}
	if id != "" {
		return id // a point found in a group still has its device
	}
	var labels []string
	for _, g := range groupKeys {
		if v := group[g.tag]; v != "" {
			labels = append(labels, g.key+":"+v)
		}
	}
	return strings.Join(labels, "/")
}

// end hands over what is left, at the least the base record.
func (p *pack) end() error {
	if len(p.parts.buf) == 0 {
		return nil
	}
	p.parts.buf = append(p.parts.buf, ']')
	return p.parts.hand()
}
