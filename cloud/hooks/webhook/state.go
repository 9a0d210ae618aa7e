package webhook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// state is how far a receiver has come.
type state struct {
	// Position in the ledger: what is before it was delivered, or is in Plan.
	Position json.RawMessage `json:"position"`
	Plan     plan            `json:"plan,omitzero"`
	// Of are the databases that the plan is about.
	Of []string `json:"of,omitempty"`
}

// plan is what is still to be read from InfluxDB, span by span, in each of them
// database by database.
type plan struct {
	Spans []contract.Span `json:"spans,omitempty"`
	// Of the first span: the databases that are done, and where the next goes on.
	// After is the last name delivered of that time, where one time had too many.
	Databases int           `json:"databases,omitempty"`
	From      device.Micros `json:"from,omitempty"`
	After     string        `json:"after,omitempty"`
	// Entries that brought the spans about, and when the oldest was entered.
	Entries int           `json:"entries,omitempty"`
	Oldest  device.Micros `json:"oldest,omitempty"`
}

// joinGap is how far apart the ranges of entries may be that are read as one: a
// gateway that measures every ten seconds would otherwise cost a question for
// each.
const joinGap = device.Micros(time.Minute / time.Microsecond)

// planOf unites the ranges of entries.
func planOf(list []contract.Added) (p plan) {
	spans := make([]contract.Span, 0, len(list))
	for _, e := range list {
		if p.Oldest == 0 || e.At < p.Oldest {
			p.Oldest = e.At
		}
		if e.From > 0 && e.To >= e.From {
			spans = append(spans, contract.Span{From: e.From, To: e.To})
		}
	}
	p.Entries = len(list)
	slices.SortFunc(spans, func(a, b contract.Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range spans {
		if n := len(p.Spans); n > 0 && s.From <= p.Spans[n-1].To+joinGap {
			p.Spans[n-1].To = max(p.Spans[n-1].To, s.To)
			continue
		}
		p.Spans = append(p.Spans, s)
	}
	return p
}

// passed is the plan after its first span was read in one database up to, and
// without, a time.
func (p plan) passed(until device.Micros, databases int) plan {
	p.From, p.After = until, ""
	if until <= p.Spans[0].To {
		return p
	}
	p.From = 0
	if p.Databases++; p.Databases < databases {
		return p
	}
	p.Databases, p.Spans = 0, p.Spans[1:]
	if len(p.Spans) == 0 {
		return plan{}
	}
	return p
}

// request is one message to a receiver.
type request struct {
	ID       string `json:"id"`
	Database string `json:"database"`
	Readings int    `json:"readings"`
	Bytes    int    `json:"bytes"`
	body     []byte
}

// outgoing is what one step brings: requests, and the state after all of them.
type outgoing struct {
	Requests []request `json:"requests"`
	After    state     `json:"after"`
}

// newRequest names a request by its receiver and content: the same twice has one
// name.
func newRequest(receiver, database string, records []record) request {
	body := appendPack(nil, records)
	sum := sha256.New()
	_, _ = io.WriteString(sum, receiver+"\n"+database+"\n")
	_, _ = sum.Write(body)
	return request{ID: "wl_" + hex.EncodeToString(sum.Sum(nil)[:16]), Database: database, Readings: len(records), Bytes: len(body), body: body}
}

// requestBytes bounds a request, unless a single record is larger.
const requestBytes = 4 << 20

// requests cuts records into requests of at most so many.
func requests(receiver, database string, records []record, most int) (list []request) {
	for len(records) > 0 {
		n, bytes := 0, 0
		for n < len(records) && n < most && (n == 0 || bytes+records[n].size() <= requestBytes) {
			bytes += records[n].size()
			n++
		}
		list = append(list, newRequest(receiver, database, records[:n]))
		records = records[n:]
	}
	return list
}
