package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// convertChunks bounds one transaction of setting times: so many commits' worth.
const convertChunks = 64

// putUnclocked keeps readings whose times count from the boot.
func (o *Outbox) putUnclocked(tx *bbolt.Tx, readings []device.Reading) error {
	if len(readings) == 0 {
		return nil
	}
	boot, _ := o.options.Boot()
	boots := tx.Bucket(bucketBoots)
	if boots.Get([]byte(boot)) == nil {
		if err := boots.Put([]byte(boot), newestKnown(o.file.counts.Newest)); err != nil {
			return fmt.Errorf("put boot: %w", err)
		}
	}
	bucket := tx.Bucket(bucketUnclocked)
	for _, chunk := range split(readings) {
		text, err := json.Marshal(chunk)
		if err != nil {
			return fmt.Errorf("encode readings without time: %w", err)
		}
		n, err := bucket.NextSequence()
		if err != nil {
			return fmt.Errorf("number readings without time: %w", err)
		}
		packed := bus.Compress(text)
		if err := bucket.Put(unclockedKey(n, boot), packed); err != nil {
			return fmt.Errorf("put readings without time: %w", err)
		}
		o.file.counts.Unclocked += int64(len(chunk))
		o.file.counts.UnclockedBytes += int64(len(packed))
	}
	return nil
}

// unclockedKey orders by arrival; boots follow each other.
func unclockedKey(n uint64, boot string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, n), boot...)
}

// newestKnown is the lower bound of everything that happens in a boot: the
// newest time accepted before it.
func newestKnown(newest device.Micros) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(newest)) //nolint:gosec // bits
}

// knownTime reads what newestKnown wrote; 0 when nothing was known.
func knownTime(v []byte) device.Micros {
	if len(v) != 8 {
		return 0
	}
	return device.Micros(binary.BigEndian.Uint64(v)) //nolint:gosec // bits
}

// setTimes turns readings without time into batches, once the clock is set:
// those of this boot with their true times, those of earlier boots with times
// estimated between what was known before and the start of this boot. Those of
// a box that never knew any time stay where they are, counted, and are not
// looked at again in this run.
func (o *Outbox) setTimes() error {
	if o.file.counts.Unclocked == o.file.undatable {
		return nil
	}
	now, set := o.options.Clock()
	if !set {
		return nil
	}
	boot, monotonic := o.options.Boot()
	if o.offset == 0 {
		o.offset = now - device.Micros(monotonic*1e6)
	}
	if o.seen == nil { // not inside the transaction that needs it
		seen, err := o.collectSeen()
		if err != nil {
			return err
		}
		o.seen = seen
	}
	t := timing{boot: boot, offset: o.offset}
	for {
		n, err := o.setSomeTimes(&t)
		if err != nil {
			return fmt.Errorf("set the times of readings: %w", err)
		}
		if n == 0 {
			o.file.undatable = o.file.counts.Unclocked
			return nil
		}
		o.log.Info("readings got their times", slog.Int("readings", n))
	}
}

// timing is where the conversion stands.
type timing struct {
	boot   string
	offset device.Micros
	old    map[string]device.Micros // offset of each earlier boot
	end    device.Micros            // of what was estimated so far
	skip   uint64                   // numbers up to this stay
}

// setSomeTimes converts up to convertChunks chunks in one transaction: a crash
// leaves each chunk on exactly one side.
func (o *Outbox) setSomeTimes(t *timing) (readings int, err error) {
	e := o.nextEpoch()
	before := e
	err = o.file.update(func(tx *bbolt.Tx) error {
		e, readings = before, 0
		bucket := tx.Bucket(bucketUnclocked)
		cursor := bucket.Cursor()
		var done [][]byte
		freed := int64(0)
		for k, v := cursor.Seek(unclockedKey(t.skip+1, "")); k != nil && len(done) < convertChunks; k, v = cursor.Next() {
			n, err := o.convert(tx, &e, t, string(k[8:]), v)
			if err != nil {
				return err
			}
			if n == 0 {
				t.skip = binary.BigEndian.Uint64(k)
				continue
			}
			readings += n
			done = append(done, bytes.Clone(k))
			freed += int64(len(v))
		}
		for _, k := range done {
			if err := bucket.Delete(k); err != nil {
				return fmt.Errorf("delete readings without time: %w", err)
			}
		}
		o.file.counts.Unclocked -= int64(readings)
		o.file.counts.UnclockedBytes -= freed
		if o.file.counts.Unclocked == 0 {
			return forgetBoots(tx)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	o.committed(e)
	return readings, nil
}

// forgetBoots empties the list of boots: none has readings without time.
func forgetBoots(tx *bbolt.Tx) error {
	if err := tx.DeleteBucket(bucketBoots); err != nil {
		return fmt.Errorf("forget boots: %w", err)
	}
	if _, err := tx.CreateBucket(bucketBoots); err != nil {
		return fmt.Errorf("forget boots: %w", err)
	}
	return nil
}

// convert turns one chunk into a batch; 0 means that it must stay, also because
// it can't be understood: that is no reason to keep the others.
func (o *Outbox) convert(tx *bbolt.Tx, e *epoch, t *timing, boot string, chunk []byte) (int, error) {
	readings, err := unpack(chunk)
	if err != nil || len(readings) == 0 {
		o.log.Error("readings without time not understood: they stay where they are", slog.Any("err", err))
		return 0, nil
	}
	offset, estimated, ok := o.offsetOf(tx, t, boot, readings)
	if !ok {
		return 0, nil
	}
	for i := range readings {
		readings[i].Time += offset
		t.end = max(t.end, readings[i].Time)
	}
	o.separate(readings)
	o.remember(readings) // for the next chunk of this transaction; should it fail, they move a little more
	head := headFor(o.previous, readings)
	head.Estimated = estimated
	return len(readings), o.putBatch(tx, e, head, readings)
}

func unpack(chunk []byte) (readings []device.Reading, err error) {
	text, err := bus.Inflate(chunk)
	if err == nil {
		err = json.Unmarshal(text, &readings)
	}
	return readings, err
}

// dropUnclocked makes room of so many bytes: it deletes the oldest readings
// without time. There may be no time for a tombstone yet, so they are only
// counted in the same transaction, and the next tombstone tells of them.
func (o *Outbox) dropUnclocked(want int64) error {
	var bytesFreed, readings int64
	err := o.file.update(func(tx *bbolt.Tx) error {
		bytesFreed, readings = 0, 0
		bucket := tx.Bucket(bucketUnclocked)
		cursor := bucket.Cursor()
		var keys [][]byte
		for k, v := cursor.First(); k != nil && bytesFreed < want; k, v = cursor.Next() {
			chunk, err := unpack(v)
			if err != nil { // it could never have been dated; how many there were nobody knows
				o.log.Error("readings without time not understood: dropped", slog.Any("err", err))
			}
			keys = append(keys, bytes.Clone(k))
			bytesFreed += int64(len(v))
			readings += int64(len(chunk))
		}
		for _, k := range keys {
			if err := bucket.Delete(k); err != nil {
				return fmt.Errorf("delete readings without time: %w", err)
			}
		}
		o.file.counts.UnclockedBytes -= bytesFreed
		o.file.counts.Unclocked -= readings
		o.file.counts.Untold += readings
		if k, _ := bucket.Cursor().First(); k != nil {
			return nil
		}
		c := &o.file.counts
		c.Untold, c.Unclocked, c.UnclockedBytes = c.Untold+c.Unclocked, 0, 0
		return forgetBoots(tx)
	})
	if err != nil {
		return fmt.Errorf("drop readings without time: %w", err)
	}
	o.file.undatable = 0 // to be counted anew
	o.log.Error("outbox is full: the oldest readings without time were dropped", slog.Int64("readings", readings))
	return nil
}

// offsetOf is what makes a time since the boot a true one.
func (o *Outbox) offsetOf(tx *bbolt.Tx, t *timing, boot string, readings []device.Reading) (device.Micros, *contract.Span, bool) {
	if boot == t.boot {
		return t.offset, nil, true
	}
	v := tx.Bucket(bucketBoots).Get([]byte(boot))
	lower := knownTime(v)
	if lower == 0 {
		return 0, nil, false // this box never knew any time before
	}
	if t.old == nil {
		t.old = make(map[string]device.Micros)
	}
	offset, known := t.old[boot]
	if !known {
		// Some part of a second, other in each run: a box that is restored from an
		// image estimates from the same bound again, and must not give the same
		// times to other readings.
		offset = max(lower, t.end) + 1 + device.Micros(o.current.id%1_000_000) - readings[0].Time
		t.old[boot] = offset
	}
	return offset, &contract.Span{From: lower, To: max(t.offset, readings[len(readings)-1].Time+offset)}, true
}
