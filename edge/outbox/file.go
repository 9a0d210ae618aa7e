package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var (
	bucketMeta      = []byte("meta")
	bucketEpochs    = []byte("epochs")
	bucketBatches   = []byte("batches")
	bucketAside     = []byte("aside")
	bucketMarks     = []byte("marks")
	bucketBoots     = []byte("boots")
	bucketUnclocked = []byte("unclocked")
	buckets         = [][]byte{bucketMeta, bucketEpochs, bucketBatches, bucketAside, bucketMarks, bucketBoots, bucketUnclocked}

	keyCounts = []byte("counts")
)

// Settings of the file. Of 4, 8, 16 and 32 kB, pages of 8 kB lose little to
// rounding with the batches of a second and cost little to write
// (BenchmarkDiskPerReading); the file grows by a megabyte at a time (bbolt's own
// 16 MB would be most of a short outage's file).
const (
	pageSize  = 8 << 10
	allocSize = 1 << 20
	lockWait  = 2 * time.Second
)

// Errors of the file. They are the outbox's own business but for ErrLocked.
var (
	// ErrLocked means that another process has the outbox open.
	ErrLocked  = errors.New("outbox is in use by another process")
	errDamaged = errors.New("outbox file is damaged")
)

// file is the bbolt database with what is kept in memory of it. It is not safe
// for concurrent use; Outbox has the lock.
type file struct {
	path   string
	db     *bbolt.DB
	counts counts
	epochs map[contract.Epoch]uint32 // ordinals
	order  []epoch                   // by ordinal
	aside  map[contract.BatchID]time.Time
	// undatable readings without time were found to stay without.
	undatable int64
}

// epoch is a run; last is 0 when it committed no batch.
type epoch struct {
	ordinal uint32
	id      contract.Epoch
	last    uint64
	// torn: what there is of it was salvaged from a broken file, and last is only
	// the highest number found. Nobody may be told that it ended there.
	torn bool
}

// tornBit marks a torn epoch in the file; no number comes near it.
const tornBit = 1 << 63

func (e epoch) marshal() []byte {
	last := e.last
	if e.torn {
		last |= tornBit
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(e.id)), last)
}

// counts are of the batches that wait; they are kept in the file so that
// opening need not read it.
type counts struct {
	Batches, Readings, Bytes int64
	Newest                   device.Micros // newest time ever accepted
	Dropped, Refused         int64         // readings, since the file began
	Unclocked                int64         // readings
	UnclockedBytes           int64
	Untold                   int64 // readings without time that were dropped; the next tombstone tells
}

func openFile(path string, noSync bool) (*file, error) {
	f := &file{path: path, epochs: make(map[contract.Epoch]uint32), aside: make(map[contract.BatchID]time.Time)}
	err := guard(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockWait, PageSize: pageSize, FreelistType: bbolt.FreelistMapType, NoSync: noSync,
		})
		if errors.Is(err, berrors.ErrTimeout) {
			return fmt.Errorf("open %s: %w", path, ErrLocked)
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		db.AllocSize = allocSize
		f.db = db
		return f.load()
	})
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// load makes the buckets of a new file and reads what is kept in memory.
func (f *file) load() error {
	if err := f.checkLength(); err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("make bucket %s: %w", name, err)
			}
		}
		f.counts.unmarshal(tx.Bucket(bucketMeta).Get(keyCounts))
		err := tx.Bucket(bucketEpochs).ForEach(func(k, v []byte) error {
			if len(k) != 4 || len(v) != 16 {
				return errDamaged
			}
			last := binary.BigEndian.Uint64(v[8:])
			e := epoch{binary.BigEndian.Uint32(k), contract.Epoch(binary.BigEndian.Uint64(v)), last &^ tornBit, last&tornBit != 0}
			f.epochs[e.id] = e.ordinal
			f.order = append(f.order, e)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketAside).ForEach(func(k, v []byte) error {
			id, ok := f.id(k)
			if !ok || len(v) != 8 {
				return errDamaged
			}
			f.aside[id] = time.Unix(int64(binary.BigEndian.Uint64(v)), 0) //nolint:gosec // written by us
			return nil
		})
	})
}

// checkLength finds a file that was cut off: reading behind its end would be a
// bus error.
func (f *file) checkLength() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("stat outbox: %w", err)
	}
	return f.db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %d bytes, its own record says %d", errDamaged, info.Size(), tx.Size())
		}
		return nil
	})
}

func (f *file) close() {
	if f.db == nil {
		return
	}
	_ = guard(f.db.Close)
	f.db = nil
}

func (f *file) update(change func(tx *bbolt.Tx) error) error {
	before := f.counts
	err := guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			tx.Bucket(bucketBatches).FillPercent = 1 // only ever appended to
			if err := change(tx); err != nil {
				return err
			}
			return tx.Bucket(bucketMeta).Put(keyCounts, f.counts.marshal())
		})
	})
	if err != nil {
		f.counts = before
	}
	return err
}

func (f *file) view(read func(tx *bbolt.Tx) error) error {
	return guard(func() error { return f.db.View(read) })
}

// put appends a batch that says head of itself; tx must be of update.
func (f *file) put(tx *bbolt.Tx, e epoch, b contract.Block, head contract.BatchHead) error {
	block := appendBlock(make([]byte, 0, headerSize+len(b.Payload)), b)
	if err := tx.Bucket(bucketBatches).Put(batchKey(e.ordinal, b.ID.Sequence), block); err != nil {
		return fmt.Errorf("put batch %v: %w", b.ID, err)
	}
	e.last = max(e.last, b.ID.Sequence)
	if err := tx.Bucket(bucketEpochs).Put(ordinalKey(e.ordinal), e.marshal()); err != nil {
		return fmt.Errorf("put epoch %v: %w", e.id, err)
	}
	if err := f.mark(tx, batchKey(e.ordinal, b.ID.Sequence), head); err != nil {
		return err
	}
	f.counts.Batches++
	f.counts.Readings += int64(b.Readings)
	f.counts.Bytes += int64(len(block))
	return nil
}

// remove deletes the batch at key with its block, which the caller has read.
func (f *file) remove(tx *bbolt.Tx, key, block []byte) error {
	if err := tx.Bucket(bucketBatches).Delete(key); err != nil {
		return fmt.Errorf("delete batch: %w", err)
	}
	if err := tx.Bucket(bucketAside).Delete(key); err != nil {
		return fmt.Errorf("delete batch set aside: %w", err)
	}
	if err := tx.Bucket(bucketMarks).Delete(key); err != nil {
		return fmt.Errorf("delete mark: %w", err)
	}
	f.counts.Batches--
	f.counts.Readings -= int64(readingsOf(block))
	f.counts.Bytes -= int64(len(block))
	return nil
}

func (f *file) key(id contract.BatchID) ([]byte, bool) {
	ordinal, ok := f.epochs[id.Epoch]
	return batchKey(ordinal, id.Sequence), ok
}

func (f *file) id(key []byte) (contract.BatchID, bool) {
	if len(key) != 12 {
		return contract.BatchID{}, false
	}
	ordinal := binary.BigEndian.Uint32(key)
	for _, e := range f.order {
		if e.ordinal == ordinal {
			return contract.BatchID{Epoch: e.id, Sequence: binary.BigEndian.Uint64(key[4:])}, true
		}
	}
	return contract.BatchID{}, false
}

// spare is the bytes of pages inside the file that are free: a transaction that
// needs no more takes nothing from the disk.
func (f *file) spare() int64 {
	s := f.db.Stats()
	return int64(s.FreePageN+s.PendingPageN) * pageSize
}

// forgettable are the epochs of which nothing waits, but for the newest ones and
// the one that the next batches name as the one before.
func (f *file) forgettable(tx *bbolt.Tx, previous *contract.BatchID) (old []epoch, err error) {
	cursor := tx.Bucket(bucketBatches).Cursor()
	for i, e := range f.order {
		if i >= len(f.order)-contract.EarlierRuns || previous != nil && e.id == previous.Epoch {
			continue
		}
		k, _ := cursor.Seek(batchKey(e.ordinal, 0))
		if k != nil && len(k) != 12 {
			return nil, errDamaged
		}
		if k == nil || binary.BigEndian.Uint32(k) != e.ordinal {
			old = append(old, e)
		}
	}
	return old, nil
}

// nextOrdinal is behind all others.
func (f *file) nextOrdinal() uint32 {
	if n := len(f.order); n > 0 {
		return f.order[n-1].ordinal + 1
	}
	return 1
}

func ordinalKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func batchKey(ordinal uint32, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(ordinalKey(ordinal), sequence)
}

const countsSize = 9 * 8

func (c counts) marshal() []byte {
	b := make([]byte, 0, countsSize)
	for _, n := range []int64{c.Batches, c.Readings, c.Bytes, int64(c.Newest), c.Dropped, c.Refused, c.Unclocked, c.UnclockedBytes, c.Untold} {
		b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // bits, read back as int64
	}
	return b
}

func (c *counts) unmarshal(b []byte) {
	if len(b) != countsSize && len(b) != countsSize-16 { // without the last two, by an earlier version
		return
	}
	b = append(bytes.Clone(b), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) } //nolint:gosec // bits
	*c = counts{at(0), at(1), at(2), device.Micros(at(3)), at(4), at(5), at(6), at(7), at(8)}
}
