package influxdata

import (
	"bytes"

	"github.com/wattline/wattline/shared/senml"
)

// head is the line of a name and a unit up to the value.
type head struct {
	text   string
	series uint64
	shelf  *shelf // the last one that it was found on
	read   uint64 // the last message that it was looked for in
}

// head finds that of a name and a unit.
func (q *quick) head(name, unit []byte) (*head, bool) {
	if len(q.base.name)+len(name)+len(unit) >= maxHeadKey {
		return nil, false
	}
	q.key = append(append(append(append(q.key[:0], q.base.name...), name...), 0), unit...)
	if h, ok := q.young[string(q.key)]; ok {
		return h, true
	}
	h, ok := q.old[string(q.key)]
	if !ok {
		if h, ok = learn(q.key[:len(q.key)-len(unit)-1], unit); !ok {
			return nil, false
		}
	}
	if len(q.young) >= maxHeads {
		q.old, q.young = q.young, make(map[string]*head)
	}
	q.young[string(q.key)] = h
	return h, true
}

// meet notes a series that the source of the message has not had before. Nearly
// always it is on the shelf where it was found the last time.
func (q *quick) meet(h *head) {
	if h.read == q.reads {
		return
	}
	h.read = q.reads
	if q.limits.has(q.shelf, h.series) {
		h.shelf = q.shelf
		return
	}
	q.fresh = append(q.fresh, h.series)
}

// learn makes a line of a record with name and unit, and cuts it at the value.
func learn(name, unit []byte) (*head, bool) {
	const end = "0 1000000000000000\n"
	pack := append(append([]byte(`[{"t":1000000000,"v":0,"n":"`), name...), `","u":"`...)
	records, err := senml.Decode(append(append(pack, unit...), `"}]`...), 1)
	if err != nil || len(records) != 1 {
		return nil, false
	}
	text, err := Points(nil, records)
	if err != nil || !bytes.HasSuffix(text, []byte(end)) {
		return nil, false
	}
	series, err := seriesOf(records[0])
	return &head{text: string(text[:len(text)-len(end)]), series: series}, err == nil
}
