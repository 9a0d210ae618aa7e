package audit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Limits of a page: entries, those that it has when nobody asks for a number,
// and entries looked at, so that a filter that fits nothing is no long
// transaction.
const (
	MaxLimit     = 1000
	defaultLimit = 100
	maxVisited   = 50_000
)

// List gives a page of the log, the newest entry first. The filter's keys are
// who, what, object and result (the exact text, or the beginning of it before a
// *), and from and to (POSIX seconds or RFC 3339; from <= at < to). cursor is
// the next of the page before, "" for the first; limit 0 means 100, at most
// [MaxLimit]. A page may have fewer entries than limit, or none, and yet a next:
// the entries looked at are bounded too.
//
// A filter or cursor that is malformed gives a [*contract.Problem].
func List(tx *bbolt.Tx, filter map[string]string, cursor string, limit int) (page []contract.Audited, next string, err error) {
	fits, mistakes := compile(filter)
	before := uint64(0)
	if cursor != "" {
		if before, err = strconv.ParseUint(cursor, 10, 64); err != nil || before == 0 {
			mistakes = append(mistakes, contract.Mistake{Field: "cursor", Detail: fmt.Sprintf("%.40q is not the next of a page of this list", cursor)})
		}
	}
	if len(mistakes) > 0 {
		return nil, "", &contract.Problem{Kind: contract.Invalid, Detail: mistakes[0].Field + ": " + mistakes[0].Detail, Mistakes: mistakes}
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, MaxLimit)
	page = []contract.Audited{}
	entries := tx.Bucket(bucket)
	if entries == nil {
		return page, "", nil
	}
	c := entries.Cursor()
	visited := 0
	for k, v := start(c, before); k != nil; k, v = c.Prev() {
		if len(page) >= limit || visited >= maxVisited {
			return page, strconv.FormatUint(binary.BigEndian.Uint64(k)+1, 10), nil
		}
		visited++
		var e contract.Audited
		if err := json.Unmarshal(v, &e); err != nil || len(k) != 8 {
			return nil, "", fmt.Errorf("read audit entry %x: %w", k, errors.Join(err))
		}
		if fits(&e) {
			page = append(page, e)
		}
	}
	return page, "", nil
}

// start is the newest entry with a number below before; 0 means the last.
func start(c *bbolt.Cursor, before uint64) (k, v []byte) {
	if before == 0 {
		return c.Last()
	}
	if k, _ := c.Seek(binary.BigEndian.AppendUint64(nil, before)); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// compile checks a filter and makes a test of it.
func compile(filter map[string]string) (fits func(*contract.Audited) bool, mistakes []contract.Mistake) {
	var tests []func(*contract.Audited) bool
	text := func(want string, of func(*contract.Audited) string) {
		beginning, open := strings.CutSuffix(want, "*")
		tests = append(tests, func(e *contract.Audited) bool {
			got := of(e)
			return got == want || open && strings.HasPrefix(got, beginning)
		})
	}
	for _, key := range slices.Sorted(maps.Keys(filter)) {
		value := filter[key]
		switch key {
		case "who":
			text(value, func(e *contract.Audited) string { return e.Who })
		case "what":
			text(value, func(e *contract.Audited) string { return e.What })
		case "object":
			text(value, func(e *contract.Audited) string { return e.Object })
		case "result":
			text(value, func(e *contract.Audited) string { return e.Result })
		case "from", "to":
			at, err := parseTime(value)
			if err != nil {
				mistakes = append(mistakes, contract.Mistake{Field: key, Detail: err.Error()})
			}
			tests = append(tests, func(e *contract.Audited) bool { return e.At >= at == (key == "from") })
		default:
			mistakes = append(mistakes, contract.Mistake{Field: key, Detail: fmt.Sprintf("no filter %.40q: there are who, what, object, result, from, to", key)})
		}
	}
	return func(e *contract.Audited) bool {
		for _, test := range tests {
			if !test(e) {
				return false
			}
		}
		return true
	}, mistakes
}

func parseTime(s string) (at device.Micros, err error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return device.MicrosOf(t), nil
	}
	if err := at.UnmarshalJSON([]byte(s)); err != nil {
		return 0, fmt.Errorf("%.40q is neither POSIX seconds nor a time such as 2026-11-01T08:00:00Z", s)
	}
	return at, nil
}
