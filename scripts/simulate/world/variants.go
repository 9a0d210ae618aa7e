package world

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/edge/forwarder"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Variant names a protection that is turned off, to see that the checks notice.
// Each is a wrapper around the real parts; none is in them.
type Variant string

// The variants; the zero Variant is Wattline as it is.
const (
	ReceiptBeforeWrite Variant = "a receipt is sent before the write"
	ReceiptForRefused  Variant = "refused content is receipted as stored, without the quarantine"
	EntryBeforeWrite   Variant = "the ledger's entry is written before the readings"
	EntryLost          Variant = "a receipt is sent though the ledger did not take the entry"
	EntryTimesRepeat   Variant = "two entries of an instance may have one time"
	OnePosition        Variant = "the ledger's reader keeps one position for all instances"
	SkipKnown          Variant = "the hook answers batches that the ledger knows without storing them"
	StoreTimes         Variant = "what a record becomes depends on when it is stored"
	DeleteOnPublish    Variant = "a batch is deleted when it is published"
	DeleteOnError      Variant = "any answer deletes a batch"
	DigestNotCompared  Variant = "a receipt's digest is not compared"
	GiveUp             Variant = "a batch is given up after a few sends"
	AsideDeletes       Variant = "a batch set aside is deleted"
	CommitNotDurable   Variant = "a commit is not on disk when it says so"
	ReuseEpoch         Variant = "a run takes the epoch of the one before and counts from 1"
	TombstoneApart     Variant = "the tombstone is not in the transaction that drops"
	TombstonesNotTold  Variant = "the status does not tell of tombstones that wait"
	BehindNotTold      Variant = "the status does not tell of readings that wait out of order"
	EarlierRunsNotTold Variant = "the status does not tell of earlier runs"
	PreviousNotTold    Variant = "nobody names the run before"
)

// Variants lists them.
func Variants() []Variant {
	return []Variant{
		ReceiptBeforeWrite, ReceiptForRefused, EntryBeforeWrite, EntryLost, EntryTimesRepeat, OnePosition, SkipKnown, StoreTimes,
		DeleteOnPublish, DeleteOnError, DigestNotCompared, GiveUp, AsideDeletes, CommitNotDurable, ReuseEpoch, TombstoneApart,
		TombstonesNotTold, BehindNotTold, EarlierRunsNotTold, PreviousNotTold,
	}
}

func (w *world) is(v Variant) bool { return w.options.Variant == v }

// receiptOf is the receipt for a payload as a gateway sends it.
func receiptOf(payload []byte) (contract.Receipt, bus.Envelope, error) {
	e, err := bus.Decode(payload)
	if err != nil {
		return contract.Receipt{}, e, err
	}
	id, err := contract.ParseBatchID(e.ID)
	return contract.Receipt{ID: id, Digest: contract.DigestOf(payload)}, e, err
}

// handle gives messages to the hook.
func (w *world) handle(ctx context.Context, r *replica, messages []bus.Message, send func(string, []byte) error) {
	switch {
	case w.is(ReceiptBeforeWrite):
		for _, m := range messages {
			answer(m, send)
		}
	case w.is(SkipKnown):
		messages = slices.DeleteFunc(messages, func(m bus.Message) bool {
			_, e, err := receiptOf(m.Payload)
			if err != nil || !w.store.entered(e.ID) {
				return false
			}
			answer(m, send)
			return true
		})
	case w.is(EntryBeforeWrite):
		for _, m := range messages {
			receipt, e, err := receiptOf(m.Payload)
			if err != nil || e.Batch == nil {
				continue
			}
			topic, _ := bus.ParseData(m.Topic) // made by us
			entry := contract.Entry{
				Source: topic.Source, ID: e.ID, Batch: &receipt.ID, Digest: receipt.Digest, Readings: e.Batch.Readings, Refused: e.Batch.Refused,
				From: e.Batch.From, To: e.Batch.To, Previous: e.Batch.Previous, Replaces: e.Batch.Replaces, Estimated: e.Batch.Estimated,
			}
			if r.book.Enter(ctx, []contract.Entry{entry}) != nil {
				return
			}
		}
	}
	r.hook.Handle(ctx, messages, send)
}

// answer receipts a message as stored.
func answer(m bus.Message, send func(string, []byte) error) {
	receipt, e, err := receiptOf(m.Payload)
	if err != nil {
		return
	}
	data, _ := json.Marshal(contract.Receipts{Stored: []contract.Receipt{receipt}}) // texts
	payload, _ := bus.Envelope{Data: data}.Encode()                                 // texts
	_ = send(e.ResponseTopic, payload)
}

func (s *store) entered(id string) bool {
	for _, r := range s.w.replicas {
		for _, instance := range r.instances {
			if slices.ContainsFunc(s.rows["batch"][instance], func(e *entry) bool { return e.columns["id"] == id }) {
				return true
			}
		}
	}
	return false
}

// hookStore is where the hook writes.
func (w *world) hookStore() influxdata.Store {
	if !w.is(ReceiptForRefused) && !w.is(StoreTimes) {
		return w.store
	}
	return altered(func(ctx context.Context, database string, lines []byte) error {
		if w.is(StoreTimes) && database == "sp" {
			lines = []byte(strings.ReplaceAll(string(lines), "\n", "0\n")) // nanoseconds of another server, say
			if w.chance(0.8) {
				lines = []byte(strings.ReplaceAll(string(lines), "0\n", "\n"))
			}
		}
		err := w.store.Write(ctx, database, lines)
		if w.is(ReceiptForRefused) && errors.As(err, &refusal{}) {
			return nil
		}
		return err
	})
}

type altered func(ctx context.Context, database string, lines []byte) error

func (a altered) Write(ctx context.Context, database string, lines []byte) error {
	return a(ctx, database, lines)
}

// ledger is where the hook enters.
func (w *world) ledger(r *replica) influxdata.Ledger {
	if !w.is(EntryLost) {
		return r.book
	}
	return careless(func(ctx context.Context, list []contract.Entry) error {
		if err := r.book.Enter(ctx, list); errors.Is(err, errKilled) {
			return err
		}
		return nil
	})
}

type careless func(ctx context.Context, list []contract.Entry) error

func (c careless) Enter(ctx context.Context, list []contract.Entry) error { return c(ctx, list) }

// bookStore is where the book writes.
func (w *world) bookStore(*replica) ledger.Store {
	if !w.is(EntryTimesRepeat) {
		return w.store
	}
	return coarse{w.store}
}

// coarse keeps times to the second.
type coarse struct{ *store }

func (c coarse) Write(ctx context.Context, database string, lines []byte) error {
	list := strings.SplitAfter(string(lines), "\n")
	for i, l := range list {
		if strings.HasSuffix(l, "\n") {
			list[i] = l[:len(l)-7] + "000000\n"
		}
	}
	return c.store.Write(ctx, database, []byte(strings.Join(list, "")))
}

// position is from where the reader reads on.
func (w *world) position(after int64) int64 {
	if w.is(OnePosition) {
		w.farthest = max(w.farthest, after)
		return w.farthest
	}
	return after
}

// source is what the forwarder sends from.
func (w *world) source(b *box) forwarder.Source {
	if w.is(AsideDeletes) {
		return forgetful{b.o}
	}
	return counting{b.o, &w.counts.SetAside}
}

// counting counts the batches set aside.
type counting struct {
	forwarder.Source
	n *int
}

func (c counting) SetAside(id contract.BatchID, now time.Time) error {
	*c.n++
	return c.Source.SetAside(id, now)
}

type forgetful struct{ forwarder.Source }

func (f forgetful) SetAside(id contract.BatchID, _ time.Time) error {
	block, ok, err := f.Block(id)
	if ok {
		_, err = f.Delete(contract.Receipt{ID: id, Digest: contract.DigestOf(block.Payload)})
	}
	return err
}

// afterSend is what a box does with a batch that it published.
func (w *world) afterSend(b *box, id contract.BatchID, payload []byte) {
	if w.is(DeleteOnPublish) || w.is(GiveUp) && w.truth.sends[id] > 4 {
		_, _ = b.o.Delete(contract.Receipt{ID: id, Digest: contract.DigestOf(payload)}) // then not
	}
}

// heard is what a box makes of an answer.
func (w *world) heard(b *box, payload []byte) []byte {
	e, err := bus.Decode(payload)
	if err != nil {
		return payload
	}
	if id, err := contract.ParseBatchID(e.ID); err == nil && w.is(DeleteOnError) && e.ErrorText() != "" {
		return own(b, []contract.BatchID{id})
	}
	var receipts contract.Receipts
	if w.is(DigestNotCompared) && json.Unmarshal(e.Data, &receipts) == nil {
		var ids []contract.BatchID
		for _, r := range receipts.All() {
			ids = append(ids, r.ID)
		}
		return own(b, ids)
	}
	return payload
}

// own makes receipts with whatever digest the box has of the batches.
func own(b *box, ids []contract.BatchID) []byte {
	var receipts contract.Receipts
	for _, id := range ids {
		if block, ok, err := b.o.Block(id); ok && err == nil {
			receipts.Stored = append(receipts.Stored, contract.Receipt{ID: id, Digest: contract.DigestOf(block.Payload)})
		}
	}
	data, _ := json.Marshal(receipts)               // texts
	payload, _ := bus.Envelope{Data: data}.Encode() // texts
	return payload
}

// beforeCommit and afterStop: a commit that is not durable is gone after a crash.
func (w *world) beforeCommit(b *box) {
	if w.is(CommitNotDurable) && w.chance(0.5) {
		b.lastSync = b.read()
	}
}

func (w *world) afterStop(b *box) {
	if w.is(CommitNotDurable) && b.lastSync != nil {
		b.write(b.lastSync)
		b.lastSync = nil
	}
}

// beforeStart makes the run that reuses an epoch count from 1.
func (w *world) beforeStart(b *box) {
	if !w.is(ReuseEpoch) {
		return
	}
	db, err := bbolt.Open(b.path, 0o600, nil)
	if err != nil {
		return
	}
	_ = db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("epochs"))
		if bucket == nil {
			return nil
		}
		k, v := bucket.Cursor().Last()
		if len(v) != 16 {
			return nil
		}
		return bucket.Put(slices.Clone(k), append(slices.Clone(v[:8]), make([]byte, 8)...))
	})
	_ = db.Close()
}

// afterCommit loses a tombstone that was put after the drop: the process died
// in between.
func (w *world) afterCommit(b *box) {
	if !w.is(TombstoneApart) || !w.chance(0.3) {
		return
	}
	head, _ := b.o.Head()
	known := w.truth.batches[head]
	if known == nil || len(known.replaces) == 0 {
		return
	}
	if block, ok, err := b.o.Block(head); ok && err == nil {
		_, _ = b.o.Delete(contract.Receipt{ID: head, Digest: contract.DigestOf(block.Payload)}) // then not
		b.crash()
	}
}

// tells is what a status tells.
func (w *world) tells(h ledger.Head) ledger.Head {
	switch {
	case w.is(TombstonesNotTold):
		h.Tombstoned = nil
	case w.is(BehindNotTold):
		h.Behind = device.Micros(0)
	case w.is(EarlierRunsNotTold):
		h.Earlier = nil
	case w.is(PreviousNotTold):
		h.Previous, h.Earlier = nil, nil
	}
	return h
}
