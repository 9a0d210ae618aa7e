package archive

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxVisited bounds the entries that a page looks at, so that a filter that fits
// nothing is no long transaction.
const maxVisited = 50_000

// Audit enters what somebody did, in the caller's transaction of Keep.
func Audit(tx *bbolt.Tx, who contract.Audited) error { return audit(tx, who) }

func audit(tx *bbolt.Tx, who contract.Audited) error {
	b := tx.Bucket(auditBucket)
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	text, err := json.Marshal(who)
	if err != nil {
		return err
	}
	return b.Put(binary.BigEndian.AppendUint64(at(who.At), n), text)
}

// AuditFilter narrows the log of who did what; the zero value takes all of it.
// A text takes what is the same, or what begins with what stands before its *.
type AuditFilter struct {
	Who, What, Object, Result string
	From, To                  device.Micros // from <= at < to; 0 is no bound
}

func (f *AuditFilter) fits(e *contract.Audited) bool {
	for _, text := range [][2]string{{f.Who, e.Who}, {f.What, e.What}, {f.Object, e.Object}, {f.Result, e.Result}} {
		beginning, open := strings.CutSuffix(text[0], "*")
		if text[0] != "" && text[0] != text[1] && (!open || !strings.HasPrefix(text[1], beginning)) {
			return false
		}
	}
	return true
}

// Audited gives a page of who did what, the newest first, and the cursor of the
// next page, "" on the last. A page may have fewer entries than limit, or none,
// and yet a next one: the entries that are looked at are bounded, too. A limit
// below 1 or above [MaxPage] is MaxPage; a wrong cursor gives [ErrCursor].
func (a *Archive) Audited(f AuditFilter, cursor string, limit int) (page []contract.Audited, next string, err error) {
	before, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %.40q", ErrCursor, cursor)
	}
	if limit < 1 || limit > MaxPage {
		limit = MaxPage
	}
	if f.To != 0 && (len(before) == 0 || bytes.Compare(at(f.To), before) < 0) {
		before = at(f.To)
	}
	page, oldest := []contract.Audited{}, at(f.From)
	err = a.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(auditBucket).Cursor()
		k, text := under(c, before)
		var last []byte
		for visited := 0; k != nil && bytes.Compare(k, oldest) >= 0; k, text = c.Prev() {
			if len(page) == limit || visited == maxVisited {
				next = base64.RawURLEncoding.EncodeToString(last)
				return nil
			}
			visited++
			last = k
			var one contract.Audited
			if err := json.Unmarshal(text, &one); err != nil {
				a.unreadable("audit", err)
			} else if f.fits(&one) {
				page = append(page, one)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read who did what to alerts: %w", err)
	}
	return page, next, nil
}

// under is the newest entry below a key; without one the newest of all.
func under(c *bbolt.Cursor, key []byte) (k, text []byte) {
	if len(key) == 0 {
		return c.Last()
	}
	if k, _ := c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}
