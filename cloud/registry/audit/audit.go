// Package audit is the registry's log of who changed, asked for or was refused
// what, when, why and how it ended.
//
// Entries are only added: nothing in the program changes or takes one away. A
// change of the registry appends its entry in its own transaction, so there is
// neither a change without an entry nor an entry of a change that was not made.
// What others tell of beside that, above all refusals, is bounded by a rate; what
// is beyond it is counted, and the count is entered.
package audit

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// The results of an entry.
const (
	Done    = "done"
	Refused = "refused"
	Failed  = "failed"
)

// maxText bounds each text of an entry, in bytes; longer ones are cut.
const maxText = 1000

// bucket holds the entries, JSON by their number (8 bytes, big-endian).
var bucket = []byte("audit")

// Append adds an entry in the transaction of what it tells of. An entry without
// a time gets the present one, one without a result is done. Texts are cut to
// 1000 bytes each.
func Append(tx *bbolt.Tx, e contract.Audited) error {
	if e.At == 0 {
		e.At = device.MicrosOf(time.Now())
	}
	e.Result = cmp.Or(e.Result, Done)
	for _, text := range []*string{&e.Who, &e.What, &e.Object, &e.Reason, &e.Result, &e.Detail, &e.From} {
		*text = cut(*text)
	}
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an audit entry: %w", err)
	}
	entries, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	entries.FillPercent = 1 // always at the end: full pages stay full
	number, err := entries.NextSequence()
	if err == nil {
		err = entries.Put(binary.BigEndian.AppendUint64(nil, number), value)
	}
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

// cut shortens a text to maxText bytes, between characters, and makes it valid
// UTF-8.
func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText-len("…")]
		for len(s) > 0 && s[len(s)-1]&0xc0 == 0x80 { // inside a character
			s = s[:len(s)-1]
		}
		if n := len(s); n > 0 && s[n-1] >= 0xc0 {
			s = s[:n-1]
		}
		s += "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
