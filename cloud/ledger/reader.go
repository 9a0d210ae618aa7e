package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxSources bounds the names of strangers that are remembered: anybody on the
// bus may call itself a gateway.
const maxSources = 10_000

// Reader follows the ledger: it keeps a position per instance of a storing
// hook, reads what was added since, and answers from memory. Safe for
// concurrent use.
type Reader struct {
	store Store
	// Now is the wall clock by which a gateway is silent; set it before use.
	Now func() device.Micros
	// Log hears of what does not fit; set it before use, nil for nobody.
	Log *slog.Logger

	turn      chan struct{} // holds one value while somebody reads; protects what follows
	full      bool
	states    map[string]*State
	positions map[string]map[string]*position // by measurement and instance
}

// position is how far one measurement of one instance was read.
type position struct {
	done device.Micros // everything until here was read for good
	// newest is the newest entry that was seen, since when it is that, and whether
	// it was read when nothing could be under way any more.
	newest, since device.Micros
	settled       bool
	// again are the entries after done that were taken in already.
	again map[read]bool
}

// read is an entry that was read: of one instance, time and gateway tell them apart.
type read struct {
	at      device.Micros
	gateway string
}

// settleAfter is how long a write may be under way, beyond every time-out: the
// newest one is read again until it is older.
const settleAfter = 5 * 60 * 1_000_000

// NewReader allocates a reader; the first question reads the whole ledger.
func NewReader(store Store) *Reader {
	return &Reader{
		store: store, Now: func() device.Micros { return device.MicrosOf(time.Now()) },
		turn: make(chan struct{}, 1), states: make(map[string]*State), positions: map[string]map[string]*position{entries: {}, heads: {}},
	}
}

// Prove answers for one gateway, or for all when gateway is empty, for the
// measurement times from..to, 0 meaning no bound. Calls wait for each other, each
// until its ctx ends.
func (r *Reader) Prove(ctx context.Context, gateway string, from, to device.Micros) ([]Proof, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the ledger: %w", context.Cause(ctx))
	}
	// Heads first: whatever a head says is stored was entered before it spoke.
	if err := r.read(ctx, heads); err != nil {
		return nil, err
	}
	if err := r.read(ctx, entries); err != nil {
		return nil, err
	}
	proofs := []Proof{}
	now := r.Now()
	for name, state := range r.states {
		if gateway == "" || gateway == name {
			proofs = append(proofs, state.Prove(name, from, to, now))
		}
	}
	slices.SortFunc(proofs, func(a, b Proof) int { return strings.Compare(a.Gateway, b.Gateway) })
	return proofs, nil
}

// read takes what was added to a measurement, instance by instance: only within
// one do writes follow each other.
func (r *Reader) read(ctx context.Context, measurement string) error {
	newest := make(map[string]device.Micros)
	find := fmt.Sprintf(`SELECT last("epoch") FROM %q GROUP BY "instance"`, measurement)
	err := r.store.Query(ctx, Database, find, func(_ string, tags map[string]string, columns []string, rows [][]any) error {
		for _, values := range rows {
			row := rowOf(columns, values)
			newest[tags["instance"]] = max(newest[tags["instance"]], row.micros("time"))
		}
		return nil
	})
	if missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err); ok && missing.DatabaseMissing() {
		return nil // nothing was ever entered
	}
	if err != nil {
		return fmt.Errorf("find what was added to the ledger: %w", err)
	}
	for _, instance := range slices.Sorted(maps.Keys(newest)) {
		p := r.positions[measurement][instance]
		if p == nil {
			p = &position{}
			r.positions[measurement][instance] = p
		}
		if err := r.readOn(ctx, measurement, instance, p, newest[instance]); err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
	}
	return nil
}

// readOn reads what one instance has added, up to the newest that is known. The
// writes before that one had ended when it was seen; of itself only a part may
// show, so that it is read again.
func (r *Reader) readOn(ctx context.Context, measurement, instance string, p *position, newest device.Micros) error {
	now := r.Now()
	if newest > p.newest {
		p.newest, p.since, p.settled = newest, now, false
	}
	if p.settled {
		return nil
	}
	settled, begin := now-p.since > settleAfter, startOf(p.newest)
	again := make(map[read]bool)
	q := fmt.Sprintf(`SELECT * FROM %q WHERE "instance" = %s AND time > %du AND time <= %du`, measurement, influxql.String(instance), int64(p.done), int64(p.newest))
	err := r.store.Query(ctx, Database, q, func(_ string, _ map[string]string, columns []string, rows [][]any) error {
		for _, values := range rows {
			row := rowOf(columns, values)
			at, source := row.micros("time"), row.text("gateway")
			key := read{at, source}
			switch {
			case at >= begin && !settled && !row.isWhole(columns):
				continue
			case !p.again[key]:
				r.take(ctx, measurement, instance, row)
			}
			if at >= begin {
				again[key] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.done, p.again, p.settled = begin-1, again, settled
	return nil
}

// take takes one row in.
func (r *Reader) take(ctx context.Context, measurement, instance string, row row) {
	at, source := row.micros("time"), row.text("gateway")
	switch state := r.state(ctx, source); {
	case state == nil:
	case measurement == heads:
		state.AddHead(row.head(source, instance, at))
	default:
		state.Add(row.entry(source), at)
	}
}

// state is that of a source; nil for a further one when there are too many.
func (r *Reader) state(ctx context.Context, source string) *State {
	if s := r.states[source]; s != nil {
		return s
	}
	if len(r.states) >= maxSources {
		if !r.full && r.Log != nil {
			r.Log.WarnContext(ctx, "too many sources in the ledger, further ones are left out", slog.String("source", source))
		}
		r.full = true
		return nil
	}
	s := NewState()
	r.states[source] = s
	return s
}

// row is a row of an answer by column.
type row map[string]any

func rowOf(columns []string, values []any) row {
	r := make(row, len(columns))
	for i, c := range columns {
		if i < len(values) {
			r[c] = values[i]
		}
	}
	return r
}

// isWhole tells whether every column has a value, as each was given one.
func (r row) isWhole(columns []string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { return r[c] == nil })
}

func (r row) text(column string) string {
	s, _ := r[column].(string)
	return s
}

func (r row) number(column string) int64 {
	n, _ := r[column].(json.Number)
	v, _ := n.Int64()
	return v
}

func (r row) micros(column string) device.Micros { return device.Micros(r.number(column)) }

func (r row) bool(column string) bool {
	b, _ := r[column].(bool)
	return b
}

func (r row) batch(column string) *contract.BatchID {
	id, err := contract.ParseBatchID(r.text(column))
	if err != nil {
		return nil
	}
	return &id
}

func (r row) entry(source string) contract.Entry {
	e := contract.Entry{
		Source: source, ID: r.text("id"), Readings: int(r.number("readings")), Refused: int(r.number("refused")),
		From: r.micros("from"), To: r.micros("to"), Previous: r.batch("previous"), Quarantined: r.bool("quarantined"), Expired: r.bool("expired"),
	}
	_ = e.Digest.UnmarshalText([]byte(r.text("digest")))
	if epoch, err := contract.ParseEpoch(r.text("epoch")); err == nil && r.number("sequence") > 0 {
		e.Batch = &contract.BatchID{Epoch: epoch, Sequence: uint64(r.number("sequence"))} //nolint:gosec // positive
	}
	e.Replaces = parse(r.text("replaces"), contract.ParseRange)
	if to := r.micros("estimated_to"); to != 0 {
		e.Estimated = &contract.Span{From: r.micros("estimated_from"), To: to}
	}
	return e
}

func (r row) head(gateway, instance string, at device.Micros) Head {
	h := Head{
		Gateway: gateway, At: at, Sequence: uint64(r.number("sequence")), Previous: r.batch("previous"), Oldest: r.batch("oldest"), //nolint:gosec // positive
		Instance: instance, Uptime: r.micros("uptime"), Behind: r.micros("behind"),
		SetAside: parse(r.text("aside"), contract.ParseBatchID), Tombstoned: parse(r.text("tombstoned"), contract.ParseRange),
		Earlier: parse(r.text("earlier"), parseRun),
	}
	h.Epoch, _ = contract.ParseEpoch(r.text("epoch"))
	return h
}

// parse undoes list.
func parse[T any](text string, one func(string) (T, error)) (out []T) {
	for part := range strings.SplitSeq(text, ",") {
		if item, err := one(part); err == nil {
			out = append(out, item)
		}
	}
	return out
}
