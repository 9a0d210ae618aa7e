package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Database and measurements of the ledger.
const (
	Database = "wattline"
	entries  = "batch"
	heads    = "head"
)

// Store is where the ledger is kept.
type Store interface {
	Write(ctx context.Context, database string, lines []byte) error
	Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error
}

// Head is how far a gateway says it came, and what it still has.
type Head struct {
	Gateway  string
	At       device.Micros // when the head was heard
	Epoch    contract.Epoch
	Sequence uint64
	Previous *contract.BatchID
	Oldest   *contract.BatchID // first batch that waits and is not set aside; nil when none does
	SetAside []contract.BatchID
	// Instance is the run of the hook that heard it.
	Instance string
	// Uptime orders the heads of one epoch: the gateway's time since its boot.
	Uptime device.Micros
	// Behind is the earliest time of what waits out of order; 0 when nothing does.
	Behind device.Micros
	// Tombstoned names dropped batches whose tombstones wait.
	Tombstoned []contract.Range
	// Earlier are the gateway's runs before, newest first.
	Earlier []contract.Run
}

// A write has times of its own: it begins at a full millisecond, and its entries
// follow by microseconds. A reader that meets a write under way, of which
// InfluxDB shows some series and fields before others, can tell so where it
// begins, and reads it again.
const (
	writeUnit = device.Micros(1000)
	perWrite  = int(writeUnit)
)

// startOf is where the write with an entry at the given time begins.
func startOf(at device.Micros) device.Micros { return at - at%writeUnit }

// Book writes the ledger. Safe for concurrent use; writes of one measurement
// wait for each other: of one instance, only the newest can be under way.
type Book struct {
	store    Store
	instance string
	now      func() device.Micros
	turns    map[string]chan struct{} // of each measurement: holds one value while it is being written

	mu   sync.Mutex // protects last
	last device.Micros
}

// NewBook allocates a book for one run of a hook; instance is 64 random bits.
func NewBook(store Store, instance string, now func() device.Micros) *Book {
	if now == nil {
		now = func() device.Micros { return device.MicrosOf(time.Now()) }
	}
	turns := map[string]chan struct{}{entries: make(chan struct{}, 1), heads: make(chan struct{}, 1)}
	return &Book{store: store, instance: instance, now: now, turns: turns}
}

// Enter adds entries; nil means that they are stored. The order of times is the
// order of calls, whatever the wall clock does.
func (b *Book) Enter(ctx context.Context, list []contract.Entry) error {
	for some := range slices.Chunk(list, perWrite) {
		err := b.write(ctx, entries, func(at device.Micros) (lines []byte) {
			for i, e := range some {
				lines = appendEntry(lines, e, b.instance, at+device.Micros(i))
			}
			return lines
		})
		if err != nil {
			return fmt.Errorf("enter %d batches into the ledger: %w", len(list), err)
		}
	}
	return nil
}

// EnterHead adds a gateway's head.
func (b *Book) EnterHead(ctx context.Context, h Head) error {
	fields := []line.Field{
		line.String("epoch", h.Epoch.String()), line.Int("sequence", int64(h.Sequence)), //nolint:gosec // far below 2^63
		line.String("previous", text(h.Previous)), line.String("oldest", text(h.Oldest)), line.String("aside", list(h.SetAside, contract.BatchID.String)),
		line.Int("uptime", int64(h.Uptime)), line.Int("behind", int64(h.Behind)), line.String("tombstoned", list(h.Tombstoned, contract.Range.String)),
		line.String("earlier", list(h.Earlier, runText)),
	}
	tags := []line.Tag{{Key: "gateway", Value: h.Gateway}, {Key: "instance", Value: b.instance}}
	err := b.write(ctx, heads, func(at device.Micros) []byte { return line.Append(nil, heads, tags, fields, int64(at)) })
	if err != nil {
		return fmt.Errorf("enter the head of %s into the ledger: %w", h.Gateway, err)
	}
	return nil
}

// write makes lines and writes them while nobody else writes to the measurement.
func (b *Book) write(ctx context.Context, measurement string, lines func(at device.Micros) []byte) error {
	turn := b.turns[measurement]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return b.store.Write(ctx, Database, lines(b.begin()))
}

// begin is the time of a write: that of the wall clock, after every write before.
func (b *Book) begin() device.Micros {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = max(startOf(b.now()), b.last+writeUnit)
	return b.last
}

// list joins texts of what has no comma in it.
func list[T any](items []T, text func(T) string) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = text(item)
	}
	return strings.Join(texts, ",")
}

// runText is "<epoch>-<last>", last being 0 for a run without batches.
func runText(r contract.Run) string { return fmt.Sprintf("%v-%d", r.Epoch, r.Last) }

func parseRun(s string) (r contract.Run, err error) {
	epoch, last, _ := strings.Cut(s, "-")
	if r.Epoch, err = contract.ParseEpoch(epoch); err != nil {
		return r, err
	}
	if r.Last, err = strconv.ParseUint(last, 10, 64); err != nil {
		return r, fmt.Errorf("last batch of epoch %s: %w", epoch, err)
	}
	return r, nil
}

func text(id *contract.BatchID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

func appendEntry(dst []byte, e contract.Entry, instance string, at device.Micros) []byte {
	epoch, sequence := "", uint64(0)
	if e.Batch != nil {
		epoch, sequence = e.Batch.Epoch.String(), e.Batch.Sequence
	}
	var estimated contract.Span
	if e.Estimated != nil {
		estimated = *e.Estimated
	}
	return line.Append(dst, entries, []line.Tag{{Key: "gateway", Value: e.Source}, {Key: "instance", Value: instance}}, []line.Field{
		line.String("id", e.ID), line.String("epoch", epoch), line.Int("sequence", int64(sequence)), line.String("digest", e.Digest.String()),
		line.Int("from", int64(e.From)), line.Int("to", int64(e.To)), line.Int("readings", int64(e.Readings)), line.Int("refused", int64(e.Refused)),
		line.Bool("quarantined", e.Quarantined), line.Bool("expired", e.Expired),
		line.String("previous", text(e.Previous)), line.String("replaces", list(e.Replaces, contract.Range.String)),
		line.Int("estimated_from", int64(estimated.From)), line.Int("estimated_to", int64(estimated.To)),
	}, int64(at))
}
