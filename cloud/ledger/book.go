package ledger

import (
	"context"
	"fmt"
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
	Oldest   *contract.BatchID // first batch that waits; nil when none does
	SetAside []contract.BatchID
}

// Book writes the ledger. Safe for concurrent use.
type Book struct {
	store    Store
	instance string
	now      func() device.Micros

	mu   sync.Mutex // protects last
	last device.Micros
}

// NewBook allocates a book for one run of a hook; instance is 64 random bits.
func NewBook(store Store, instance string, now func() device.Micros) *Book {
	if now == nil {
		now = func() device.Micros { return device.MicrosOf(time.Now()) }
	}
	return &Book{store: store, instance: instance, now: now}
}

// Enter adds entries; nil means that they are stored. The order of times is the
// order of calls, whatever the wall clock does.
func (b *Book) Enter(ctx context.Context, list []contract.Entry) error {
	var lines []byte
	for _, e := range list {
		lines = appendEntry(lines, e, b.instance, b.tick())
	}
	if err := b.store.Write(ctx, Database, lines); err != nil {
		return fmt.Errorf("enter %d batches into the ledger: %w", len(list), err)
	}
	return nil
}

// EnterHead adds a gateway's head.
func (b *Book) EnterHead(ctx context.Context, h Head) error {
	aside := make([]string, len(h.SetAside))
	for i, id := range h.SetAside {
		aside[i] = id.String()
	}
	fields := []line.Field{
		line.String("epoch", h.Epoch.String()), line.Int("sequence", int64(h.Sequence)), //nolint:gosec // far below 2^63
		line.String("previous", text(h.Previous)), line.String("oldest", text(h.Oldest)), line.String("aside", strings.Join(aside, ",")),
	}
	lines := line.Append(nil, heads, []line.Tag{{Key: "gateway", Value: h.Gateway}, {Key: "instance", Value: b.instance}}, fields, int64(b.tick()))
	if err := b.store.Write(ctx, Database, lines); err != nil {
		return fmt.Errorf("enter the head of %s into the ledger: %w", h.Gateway, err)
	}
	return nil
}

// tick is max(wall clock, last + 1 us).
func (b *Book) tick() device.Micros {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = max(b.now(), b.last+1)
	return b.last
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
	replaces := make([]string, len(e.Replaces))
	for i, r := range e.Replaces {
		replaces[i] = r.String()
	}
	var estimated contract.Span
	if e.Estimated != nil {
		estimated = *e.Estimated
	}
	return line.Append(dst, entries, []line.Tag{{Key: "gateway", Value: e.Source}, {Key: "instance", Value: instance}}, []line.Field{
		line.String("id", e.ID), line.String("epoch", epoch), line.Int("sequence", int64(sequence)), line.String("digest", e.Digest.String()), //nolint:gosec // far below 2^63
		line.Int("from", int64(e.From)), line.Int("to", int64(e.To)), line.Int("readings", int64(e.Readings)), line.Int("refused", int64(e.Refused)),
		line.Bool("quarantined", e.Quarantined), line.Bool("expired", e.Expired),
		line.String("previous", text(e.Previous)), line.String("replaces", strings.Join(replaces, ",")),
		line.Int("estimated_from", int64(estimated.From)), line.Int("estimated_to", int64(estimated.To)),
	}, int64(at))
}
