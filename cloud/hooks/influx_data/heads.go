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

// learn makes the line of a record, and cuts it at the value.
func learn(r senml.Record) (head, bool) {
	const end = "0 0\n"
	text, err := Points(nil, []senml.Record{r})
	if err != nil || !bytes.HasSuffix(text, []byte(end)) {
		return head{}, false
	}
	series, err := seriesOf(r)
	return head{text: string(text[:len(text)-len(end)]), series: series}, err == nil
}
