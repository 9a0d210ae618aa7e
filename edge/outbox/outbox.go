package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// A commit takes what came within commitEvery, or batchReadings, whichever is
// first.
const (
	commitEvery   = time.Second
	batchReadings = 1000
	// maxPending bounds the readings that wait in memory while the disk takes
	// nothing; more are refused and counted.
	maxPending = 20_000
)

// Options is what the program passes beside the operator's Config.
type Options struct {
	Config
	// Gateway is the source of the batches; receipts are asked for below it.
	Gateway string
	// Epoch of this run: 64 random bits.
	Epoch contract.Epoch
	// Clock tells the time, and whether the clock has been set; Boot the boot id
	// and the seconds since boot.
	Clock func() (device.Micros, bool)
	Boot  func() (id string, monotonic float64)
	// InWindow reports whether a batch is being sent; such ones are not dropped.
	// nil means none is.
	InWindow func(contract.BatchID) bool
	// FreeDisk tells the free bytes beside path; nil asks the file system.
	FreeDisk func(path string) (int64, error)
	// NoSync skips fsync. For simulations only.
	NoSync bool
}

// Outbox is the buffer of one gateway. Its methods are safe for concurrent use.
type Outbox struct {
	options Options
	log     *slog.Logger
	wake    chan struct{} // a batch's worth is pending
	news    chan struct{} // something was committed
	failing bool          // as Run has logged; its own

	pendingMu sync.Mutex // protects pending, unclocked and refused
	pending   []device.Reading
	unclocked []device.Reading // times since boot
	refused   int              // not told by a tombstone yet

	mu       sync.Mutex // protects what follows; taken before pendingMu
	file     *file
	broken   error // damage that is not mended yet; file is closed then
	previous *contract.BatchID
	current  epoch                       // ordinal 0 until the first commit of this run
	seen     *seen                       // times already given, while the clock is behind
	newest   map[device.ID]device.Micros // of this run
	floor    device.Micros               // newest time of the runs before
	damaged  string
	offset   device.Micros // true time of this boot's start, once known
	ballast  bool
}

// Open opens or makes the file. One that is damaged, or that this user may not
// open, is moved aside, what can be read of it is salvaged into a new one, and the
// outbox goes on; [Outbox.Stats] and the log tell. Anything else is an error, and
// the file stays as it is for another start: it is in use by another process, its
// directory can't be written, the system is short of descriptors, memory or room,
// or the disk does not answer.
func Open(options Options, log *slog.Logger) (*Outbox, error) {
	o := &Outbox{options: options, log: log, wake: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	if err := os.MkdirAll(filepath.Dir(options.Path), 0o750); err != nil {
		return nil, fmt.Errorf("make the outbox's directory: %w", err)
	}
	_, err := os.Stat(o.ballastPath())
	o.ballast = err == nil // until it is looked at more closely
	f, err := openFile(options.Path, options.NoSync)
	if isFull(err) && o.freeBallast() {
		f, err = openFile(options.Path, options.NoSync)
	}
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("%w; is another gateway running?", err)
	}
	if err != nil {
		if !isDamage(err) {
			return nil, err
		}
		if f, err = o.replace(err, func(*file) error { return nil }); err != nil {
			return nil, err
		}
	}
	o.adopt(f)
	if err := o.begin(); err != nil {
		log.Warn("run not recorded: if it commits nothing, the ledger will not learn of its end", slog.Any("err", err))
	}
	o.layBallast()
	return o, nil
}

// adopt starts this run's epoch behind those in the file.
func (o *Outbox) adopt(f *file) {
	o.file = f
	o.current = epoch{id: o.options.Epoch}
	o.previous = nil
	for _, e := range slices.Backward(f.order) {
		if e.id == o.current.id { // drawn before, or copied while it ran: its numbers are given
			o.current = e
			continue
		}
		if e.torn { // where it ended is not known, nor what came before
			break
		}
		if e.last > 0 && o.previous == nil {
			o.previous = &contract.BatchID{Epoch: e.id, Sequence: e.last}
		}
	}
	o.seen, o.newest, o.floor = nil, make(map[device.ID]device.Micros), f.counts.Newest
}

// begin records this run before anybody hears of it: should it end without a
// batch, the next run can say so. Of the runs before it forgets those of which
// nothing waits, but for the newest.
func (o *Outbox) begin() error {
	e := o.nextEpoch()
	if _, again := o.file.epochs[e.id]; again {
		return nil
	}
	var old []epoch
	err := o.file.update(func(tx *bbolt.Tx) (err error) {
		old, err = o.file.forgettable(tx, o.previous)
		if err != nil {
			return err
		}
		for _, e := range old {
			if err := tx.Bucket(bucketEpochs).Delete(ordinalKey(e.ordinal)); err != nil {
				return fmt.Errorf("forget epoch %v: %w", e.id, err)
			}
		}
		return tx.Bucket(bucketEpochs).Put(ordinalKey(e.ordinal), e.marshal())
	})
	if err != nil {
		return fmt.Errorf("record epoch %v: %w", e.id, err)
	}
	for _, e := range old {
		delete(o.file.epochs, e.id)
	}
	o.file.order = slices.DeleteFunc(o.file.order, func(e epoch) bool { return slices.Contains(old, e) })
	o.file.order = append(o.file.order, e)
	o.file.epochs[e.id] = e.ordinal
	o.current = e
	return nil
}

// earlier lists the newest runs before this one, newest first, as far back as
// their ends are known.
func (o *Outbox) earlier() (runs []contract.Run) {
	for _, e := range slices.Backward(o.file.order) {
		if e.torn {
			break
		}
		if e.id != o.current.id && len(runs) < contract.EarlierRuns {
			runs = append(runs, contract.Run{Epoch: e.id, Last: e.last})
		}
	}
	return runs
}

// Close commits what is pending and closes the file. Safe twice.
func (o *Outbox) Close() error {
	err := o.Commit()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file.db == nil && o.broken == nil {
		return nil
	}
	o.broken = nil
	o.file.close()
	return err
}

// Abandon closes the file as a crash would: nothing pending is committed.
func (o *Outbox) Abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = nil
	o.file.close()
}

// Accept takes a reading for the next commit. clockSet false means that its
// time counts from the boot. It never blocks on the disk; when so many readings
// wait for the disk that no more fit, or the reading can't be encoded, it is
// refused, counted, and told by the next tombstone.
func (o *Outbox) Accept(r device.Reading, clockSet bool) error {
	pack, err := senml.Append(nil, AppendRecords(nil, r)) // or it would keep all that wait from being committed
	if len(pack) > batchBytes || len(r.Notes) > batchRecords {
		err = fmt.Errorf("it takes %d bytes, more than a receiver would", len(pack))
	}
	o.pendingMu.Lock()
	defer o.pendingMu.Unlock()
	switch {
	case err != nil:
		o.refused++
		return fmt.Errorf("reading of %v: %w", r.Device, err)
	case len(o.pending)+len(o.unclocked) >= maxPending:
		o.refused++
		return errors.New("outbox takes nothing: the disk is full or broken")
	}
	if !clockSet {
		o.unclocked = append(o.unclocked, r)
		return nil
	}
	o.pending = append(o.pending, r)
	if len(o.pending) >= batchReadings {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// News has a value after each commit that added batches.
func (o *Outbox) News() <-chan struct{} { return o.news }

// Run commits every second, or sooner when a batch is full, until ctx ends; then
// once more.
func (o *Outbox) Run(ctx context.Context) error {
	ticker := time.NewTicker(commitEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return o.Commit()
		case <-ticker.C:
		case <-o.wake:
		}
		o.report(ctx, o.Commit())
	}
}

// report logs a disk that stops or starts to take readings, once each.
func (o *Outbox) report(ctx context.Context, err error) {
	switch {
	case err != nil && !o.failing:
		o.log.ErrorContext(ctx, "outbox not written: readings wait in memory", slog.Any("err", err))
	case err == nil && o.failing:
		o.log.InfoContext(ctx, "outbox written again")
	}
	o.failing = err != nil
}

// Head is the last batch that this run committed (Sequence 0 before the first),
// and that of the run before, nil when there was none.
func (o *Outbox) Head() (current contract.BatchID, previous *contract.BatchID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return contract.BatchID{Epoch: o.current.id, Sequence: o.current.last}, o.previous
}

// Stats tells what waits.
func (o *Outbox) Stats() contract.OutboxStatus {
	o.pendingMu.Lock()
	refused := o.refused
	o.pendingMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	oldest, from, waits := o.oldest() // these two may mend the file, and change all that follows
	behind, replaced, err := o.marked()
	if err != nil { // then nothing may be taken for granted
		behind = 1
		o.log.Warn("marks not read", slog.Any("err", err))
	}
	c := o.file.counts
	s := contract.OutboxStatus{
		Readings: int(c.Readings + c.Unclocked), Batches: int(c.Batches), Bytes: c.Bytes, Limit: o.options.Limit,
		Unclocked: int(c.Unclocked), Dropped: int(c.Dropped), Refused: int(c.Refused+c.Untold) + refused, Damaged: o.damaged,
	}
	s.SetAside, s.Earlier, s.Tombstoned = o.setAside(), o.earlier(), replaced
	if info, err := os.Stat(o.options.Path); err == nil {
		s.File = info.Size()
	}
	if waits {
		s.Oldest, s.OldestID = &from, &oldest
	}
	if behind != 0 {
		s.Behind = &behind
	}
	return s
}
