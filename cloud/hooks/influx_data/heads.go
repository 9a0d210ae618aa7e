package influxdata

import (
	"bytes"

	"github.com/wattline/wattline/shared/senml"
)

// head is the line of a name and a unit up to the value.
func (q *quick) head(name, unit []byte) (string, bool) {
	if len(q.base.name)+len(name)+len(unit) >= maxHeadKey {
		return "", false
	}
	q.key = append(append(append(append(q.key[:0], q.base.name...), name...), 0), unit...)
	if head, ok := q.young[string(q.key)]; ok {
		return head, true
	}
	head, ok := q.old[string(q.key)]
	if !ok {
		if head, ok = learn(q.key[:len(q.key)-len(unit)-1], unit); !ok {
			return "", false
		}
	}
	if len(q.young) >= maxHeads {
		q.old, q.young = q.young, make(map[string]string)
	}
	q.young[string(q.key)] = head
	return head, true
}

// learn makes a line of a record with name and unit, and cuts it at the value.
func learn(name, unit []byte) (head string, ok bool) {
	const end = "0 1000000000000000\n"
	pack := append(append([]byte(`[{"t":1000000000,"v":0,"n":"`), name...), `","u":"`...)
	records, err := senml.Decode(append(append(pack, unit...), `"}]`...), 1)
	if err != nil || len(records) != 1 {
		return "", false
	}
	text, err := Points(nil, records)
	if err != nil || !bytes.HasSuffix(text, []byte(end)) {
		return "", false
	}
	return string(text[:len(text)-len(end)]), true
}
