package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/shared/contract"
)

// ballastSize is freed first when the disk is full, so that there is room to
// write down what has to be dropped.
const ballastSize = 4 << 20

// A drop takes a twentieth of the limit, so that it is not needed at each commit.
const dropShare = 20

// The file is made small again when it is larger than this and nearly empty.
const (
	shrinkAbove = 32 << 20
	nearlyEmpty = 1 << 20
)

// dropStep bounds one transaction of a drop, in bytes of blocks.
const dropStep = 32 << 20

func (o *Outbox) ballastPath() string { return o.options.Path + ".ballast" }

// layBallast writes the ballast if there is room for it; written bytes, because
// a sparse file would hold no room.
func (o *Outbox) layBallast() {
	if info, err := os.Stat(o.ballastPath()); err == nil && info.Size() == ballastSize {
		o.ballast = true
		return
	}
	if free, err := o.freeDisk(); err != nil || free < 2*ballastSize {
		return
	}
	if err := os.WriteFile(o.ballastPath(), bytes.Repeat([]byte{'b'}, ballastSize), 0o600); err != nil {
		_ = os.Remove(o.ballastPath())
		o.ballast = false
		return
	}
	o.ballast = true
}

func (o *Outbox) freeBallast() bool {
	if !o.ballast {
		return false
	}
	o.ballast = false
	o.log.Error("disk is full: ballast freed", slog.String("file", o.ballastPath()))
	return os.Remove(o.ballastPath()) == nil
}

func (o *Outbox) freeDisk() (int64, error) {
	if o.options.FreeDisk != nil {
		return o.options.FreeDisk(o.options.Path)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(o.options.Path), &s); err != nil {
		return 0, fmt.Errorf("ask for free disk space: %w", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec,unconvert // a disk's size; Bsize has 32 bits on ARM
}

// makeRoom drops the oldest batches while a limit is reached, and tells of
// readings that were refused.
func (o *Outbox) makeRoom() error {
	if !o.ballast {
		o.layBallast()
	}
	over := o.waiting() - o.options.Limit
	if free, err := o.freeDisk(); err == nil && free < o.options.MinFree && o.file.spare() < reserve && o.file.counts.Bytes > nearlyEmpty {
		over = max(over, 1)
	}
	if over <= 0 && o.untold() == 0 {
		return nil
	}
	want := int64(0)
	if over > 0 {
		want = over + min(o.options.Limit, o.waiting())/dropShare
	}
	if _, err := o.drop(want); err != nil {
		return err
	}
	// What waits without time is of this boot, younger than the batches, or can't
	// be dated at all.
	through := want <= dropStep || o.file.counts.Bytes <= nearlyEmpty // no batch is left that could go
	if over := o.waiting() - o.options.Limit; over > 0 && through && o.file.counts.UnclockedBytes > 0 {
		return o.dropUnclocked(over + o.options.Limit/dropShare)
	}
	return nil
}

// waiting is the bytes that count against the limit.
func (o *Outbox) waiting() int64 { return o.file.counts.Bytes + o.file.counts.UnclockedBytes }

// untold is the number of refused readings to be told of. Before the clock is
// set there is no time for a tombstone of them, and nothing is sent anyway.
func (o *Outbox) untold() int {
	if _, set := o.options.Clock(); !set {
		return 0
	}
	o.pendingMu.Lock()
	defer o.pendingMu.Unlock()
	return o.refused + int(o.file.counts.Untold)
}

// cramped reports whether the disk is full: the ballast is gone and there is no
// room to lay it again.
func (o *Outbox) cramped() bool {
	if o.ballast {
		return false
	}
	free, err := o.freeDisk()
	return err == nil && free < 2*ballastSize
}

// dropped is what a tombstone tells.
type dropped struct {
	head  contract.BatchHead
	ids   []contract.BatchID
	fresh int64 // readings that no tombstone told of before
	bytes int64
}

// drop makes room of so many bytes: it deletes the oldest batches outside the
// window and puts a tombstone, in one transaction. With want 0 it only tells of
// refused readings.
func (o *Outbox) drop(want int64) (batches int, err error) {
	refused, told := o.untold(), 0
	e := o.nextEpoch()
	before := e
	var d dropped
	err = o.file.update(func(tx *bbolt.Tx) error {
		e, d, told = before, dropped{}, 0
		if err := o.collect(tx, &d, min(want, dropStep)); err != nil {
			return err
		}
		if len(d.ids) == 0 && refused == 0 {
			return nil
		}
		d.head.Previous = o.previous
		d.head.Refused += refused
		d.head.Replaces = join(d.head.Replaces)
		if d.head.From == 0 {
			now, _ := o.options.Clock()
			d.head.From, d.head.To = now, now
		}
		o.file.counts.Dropped += d.fresh
		o.file.counts.Refused += int64(refused)
		if refused > 0 { // all, those without time included
			told, o.file.counts.Untold = int(o.file.counts.Untold), 0
		}
		return o.putBatch(tx, &e, d.head, nil)
	})
	if errors.Is(err, errDamaged) {
		return 0, o.mend(err) // what is too much goes with the next commit
	}
	if err != nil {
		return 0, fmt.Errorf("drop batches: %w", err)
	}
	o.committed(e)
	for _, id := range d.ids {
		delete(o.file.aside, id)
	}
	o.pendingMu.Lock()
	o.refused -= refused - told
	o.pendingMu.Unlock()
	if len(d.ids)+refused > 0 {
		o.log.Error("outbox is full: the oldest readings were dropped", slog.Int("batches", len(d.ids)),
			slog.Int("readings", d.head.Readings), slog.Int("refused", refused),
			slog.Time("from", d.head.From.Time()), slog.Time("to", d.head.To.Time()))
	}
	return len(d.ids), nil
}

// collect deletes the oldest batches outside the window until so many bytes are
// free, and notes what they were.
func (o *Outbox) collect(tx *bbolt.Tx, d *dropped, want int64) error {
	type victim struct{ key, block []byte }
	var victims []victim
	cursor := tx.Bucket(bucketBatches).Cursor()
	for k, v := cursor.First(); k != nil && d.bytes < want; k, v = cursor.Next() {
		b, err := parseBlock(v)
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if o.options.InWindow != nil && o.options.InWindow(b.ID) {
			continue
		}
		d.add(b)
		d.bytes += int64(len(v))
		victims = append(victims, victim{bytes.Clone(k), v})
	}
	for _, victim := range victims {
		if err := o.file.remove(tx, victim.key, victim.block); err != nil {
			return err
		}
	}
	return nil
}

// add notes a batch; one that is a tombstone itself hands on what it told. One
// that can't be understood is known by its number and the readings it holds.
func (d *dropped) add(b contract.Block) {
	d.ids = append(d.ids, b.ID)
	d.fresh += int64(b.Readings)
	d.head.Replaces = append(d.head.Replaces, contract.Range{Epoch: b.ID.Epoch, From: b.ID.Sequence, To: b.ID.Sequence})
	head, err := headOf(b.Payload)
	if err != nil {
		d.head.Readings += b.Readings
		return
	}
	if d.head.From == 0 || head.From < d.head.From {
		d.head.From = head.From
	}
	d.head.To = max(d.head.To, head.To)
	d.head.Readings += head.Readings
	d.head.Refused += head.Refused
	d.head.Replaces = append(d.head.Replaces, head.Replaces...)
}

// shrink gives the space of a drained backlog back: what little waits is copied
// into a new file that takes the old one's place.
func (o *Outbox) shrink() {
	if o.file.counts.Bytes > nearlyEmpty || o.file.counts.Unclocked > 0 {
		return
	}
	info, err := os.Stat(o.options.Path)
	if err != nil || info.Size() < shrinkAbove {
		return
	}
	if err := o.copyFile(); err != nil {
		o.log.Warn("outbox file not made smaller", slog.Any("err", err))
	}
}

func (o *Outbox) copyFile() error {
	path := o.options.Path + ".new"
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an old copy: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, PageSize: pageSize, NoSync: o.options.NoSync})
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	err = guard(func() error { return bbolt.Compact(db, o.file.db, dropStep) })
	if err = errors.Join(err, db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	// The copy is complete and on disk. It is opened before it takes the place of
	// the old one, so that there is one to go on with whatever fails.
	f, err := openFile(path, o.options.NoSync)
	if err != nil {
		return err
	}
	if err := os.Rename(path, o.options.Path); err != nil {
		f.close()
		return fmt.Errorf("put the copy in place: %w", err)
	}
	f.path, f.undatable = o.options.Path, o.file.undatable
	o.file.close()
	o.file = f
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// Warning is the share of the limit, in percent, that a warning is due for: 0,
// 50, 80 or 90.
func Warning(s contract.OutboxStatus) int {
	for _, percent := range []int64{90, 80, 50} {
		if s.Limit > 0 && s.Bytes >= s.Limit/100*percent {
			return int(percent)
		}
	}
	return 0
}
