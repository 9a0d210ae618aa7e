package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Feed gives what was added to the ledger, to followers that keep a position:
// some JSON, best kept with what they have done of it. A position is a value; no
// follower knows of another, and the feed remembers none.
//
// Every entry is given at least once, whatever the clocks of the hooks that wrote
// it, also one that InfluxDB shows later than those beside it. Rarely one is given
// twice: its batch was stored twice. Safe for concurrent use.
type Feed struct {
	store Store
	// Now is the wall clock by which a write has settled; set it before use.
	Now func() device.Micros
}

// NewFeed allocates a feed.
func NewFeed(store Store) *Feed {
	return &Feed{store: store, Now: func() device.Micros { return device.MicrosOf(time.Now()) }}
}

// marks is a position: how far each instance was followed. An instance without a
// mark has not been seen, and is followed from its first entry.
type marks map[string]mark

// mark is how far one instance was followed. Everything until Done was given for
// good; Given are those after it that were given too, as microseconds after Done.
type mark struct {
	Done  device.Micros `json:"done"`
	Given []int64       `json:"given,omitempty"`
	// Newest is the newest entry seen, First when it was seen first. Settled tells
	// that it was read when nothing could be under way any more.
	Newest  device.Micros `json:"newest"`
	First   device.Micros `json:"first"`
	Settled bool          `json:"settled,omitempty"`
}

// Start is the position of a follower that wants what is entered from a time on,
// or, with 0, from now on. Whatever a run of a hook that begins later enters is
// given, whatever its clock says.
func (f *Feed) Start(ctx context.Context, from device.Micros) (json.RawMessage, error) {
	newest, err := f.newest(ctx)
	if err != nil {
		return nil, err
	}
	m, now := make(marks), f.Now()
	for instance, at := range newest {
		if from == 0 {
			m[instance] = mark{Done: at, Newest: at, First: now}
		} else {
			m[instance] = mark{Done: from - 1}
		}
	}
	return json.Marshal(m)
}

// Next gives up to most entries that were added after a position, in the order of
// their times, and the position after all of them. An empty list says that there
// are no more now. An empty position is the beginning of the ledger.
func (f *Feed) Next(ctx context.Context, position json.RawMessage, most int) (list []contract.Added, after json.RawMessage, err error) {
	m, err := parsePosition(position)
	if err != nil {
		return nil, nil, err
	}
	newest, err := f.newest(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := f.Now()
	for _, instance := range slices.Sorted(maps.Keys(newest)) {
		if len(list) >= most {
			break
		}
		one := m[instance]
		if newest[instance] > one.Newest {
			one.Newest, one.First, one.Settled = newest[instance], now, false
		}
		if !one.Settled {
			added, err := f.readOn(ctx, instance, &one, now, most-len(list))
			if err != nil {
				return nil, nil, fmt.Errorf("follow the ledger: %w", err)
			}
			list = append(list, added...)
			m[instance] = one
		}
	}
	slices.SortStableFunc(list, func(a, b contract.Added) int { return cmp.Compare(a.At, b.At) })
	after, err = json.Marshal(m)
	return list, after, err
}

// readOn reads what one instance added, and moves its mark.
func (f *Feed) readOn(ctx context.Context, instance string, m *mark, now device.Micros, most int) (list []contract.Added, err error) {
	settled, begin := now-m.First > settleAfter, startOf(m.Newest)
	given := m.given()
	limit, rows, last, held, full := most+len(given), 0, m.Done, []device.Micros(nil), false
	// Times of one instance differ, so that a time is a place in its order.
	err = f.query(ctx, fmt.Sprintf(`SELECT * FROM %q WHERE "instance" = %s AND time > %du AND time <= %du LIMIT %d`,
		entries, influxql.String(instance), int64(m.Done), int64(m.Newest), limit),
		func(_ map[string]string, columns []string, r row) {
			at := r.micros("time")
			known := given[at]
			if full = full || len(list) == most && !known; full {
				return
			}
			rows, last = rows+1, at
			if !known && at >= begin && !settled && !r.isWhole(columns) {
				return // it is shown in part: the next time it is whole
			}
			if at >= begin {
				held = append(held, at)
			}
			if !known {
				list = append(list, contract.Added{Entry: r.entry(r.text("gateway")), Instance: instance, At: at})
			}
		})
	if err != nil {
		return nil, err
	}
	full = full || rows == limit // more may follow
	switch {
	case full && last < begin:
		m.Done = last
	case !full && settled:
		m.Done, m.Settled = m.Newest, true
	default: // of the newest write a part may not show yet
		m.Done = max(m.Done, begin-1)
	}
	for at := range given { // done out of turn, and not reached yet
		if at > last {
			held = append(held, at)
		}
	}
	m.hold(held)
	return list, nil
}

// Taken is the position of a follower that has done some of the entries that Next
// gave after position, in any order, and wants the others again.
func (f *Feed) Taken(position json.RawMessage, some []contract.Added) (json.RawMessage, error) {
	m, err := parsePosition(position)
	if err != nil {
		return nil, err
	}
	for _, a := range some {
		one := m[a.Instance]
		if a.At > one.Done {
			one.Given, one.Settled = append(one.Given, int64(a.At-one.Done)), false
			m[a.Instance] = one
		}
	}
	return json.Marshal(m)
}

// Behind counts the entries after a position, and tells when the oldest of them
// was entered; 0 when there is none. It is for people: what is under way counts
// or not.
func (f *Feed) Behind(ctx context.Context, position json.RawMessage) (count int, oldest device.Micros, err error) {
	m, err := parsePosition(position)
	if err != nil {
		return 0, 0, err
	}
	newest, err := f.newest(ctx)
	if err != nil {
		return 0, 0, err
	}
	for instance, at := range newest {
		one := m[instance]
		if at <= one.Done {
			continue
		}
		n, earliest := -len(one.Given), device.Micros(0)
		where := fmt.Sprintf(`FROM %q WHERE "instance" = %s AND time > %du AND time <= %du`, entries, influxql.String(instance), int64(one.Done), int64(at))
		err := f.query(ctx, `SELECT count("readings") `+where+`; SELECT first("readings") `+where, func(_ map[string]string, _ []string, r row) {
			if _, counted := r["count"]; counted {
				n += int(r.number("count"))
			} else {
				earliest = r.micros("time")
			}
		})
		if err != nil {
			return 0, 0, fmt.Errorf("count what is new in the ledger: %w", err)
		}
		if n > 0 && (oldest == 0 || earliest < oldest) {
			oldest = earliest
		}
		count += max(0, n)
	}
	return count, oldest, nil
}

// newest finds the newest entry of each instance.
func (f *Feed) newest(ctx context.Context) (map[string]device.Micros, error) {
	newest := make(map[string]device.Micros)
	err := f.query(ctx, fmt.Sprintf(`SELECT last("epoch") FROM %q GROUP BY "instance"`, entries), func(tags map[string]string, _ []string, r row) {
		newest[tags["instance"]] = max(newest[tags["instance"]], r.micros("time"))
	})
	if err != nil {
		return nil, fmt.Errorf("find what was added to the ledger: %w", err)
	}
	return newest, nil
}

// query gives the rows of an answer; a ledger that is not there yet has none.
func (f *Feed) query(ctx context.Context, q string, each func(tags map[string]string, columns []string, r row)) error {
	err := f.store.Query(ctx, Database, q, func(_ string, tags map[string]string, columns []string, rows [][]any) error {
		for _, values := range rows {
			each(tags, columns, rowOf(columns, values))
		}
		return nil
	})
	if missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err); ok && missing.DatabaseMissing() {
		return nil
	}
	return err
}

func (m mark) given() map[device.Micros]bool {
	given := make(map[device.Micros]bool, len(m.Given))
	for _, after := range m.Given {
		given[m.Done+device.Micros(after)] = true
	}
	return given
}

// hold notes which entries after Done were given; m.Given is then relative to the
// present Done.
func (m *mark) hold(held []device.Micros) {
	m.Given = nil
	slices.Sort(held)
	for _, at := range slices.Compact(held) {
		if at > m.Done {
			m.Given = append(m.Given, int64(at-m.Done))
		}
	}
}

func parsePosition(text json.RawMessage) (marks, error) {
	m := make(marks)
	if len(text) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read a position in the ledger: %w", err)
	}
	return m, nil
}
