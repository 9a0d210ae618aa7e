package outbox

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Commit makes what is pending durable. On an error it is pending still.
func (o *Outbox) Commit() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		if err := o.mend(o.broken); err != nil {
			return err
		}
	}
	if o.file.db == nil {
		return errors.New("outbox is closed")
	}
	readings, unclocked := o.takePending()
	// Those without time first: when the clock has been set since, they become
	// batches before what was read later.
	if err := o.commitAll(nil, unclocked); err != nil {
		o.putBack(readings, unclocked)
		return err
	}
	err := o.setTimes()
	if errors.Is(err, errDamaged) {
		err = o.mend(err)
	}
	if failed := o.commitAll(readings, nil); failed != nil {
		o.putBack(readings, nil)
		return errors.Join(err, failed)
	}
	return errors.Join(err, o.makeRoom())
}

func (o *Outbox) takePending() (readings, unclocked []device.Reading) {
	o.pendingMu.Lock()
	defer o.pendingMu.Unlock()
	readings, unclocked = o.pending, o.unclocked
	o.pending, o.unclocked = nil, nil
	return readings, unclocked
}

// putBack restores the order of arrival.
func (o *Outbox) putBack(readings, unclocked []device.Reading) {
	o.pendingMu.Lock()
	defer o.pendingMu.Unlock()
	o.pending = append(readings, o.pending...)
	o.unclocked = append(unclocked, o.unclocked...)
}

// What a commit takes at most: a reading uncompressed, and the pages that every
// transaction rewrites: some ten, more when it drops.
const (
	readingBytes = 400
	reserve      = 32 * pageSize
)

// commitAll commits, and when the disk is full or the file damaged does what
// can be done and tries again. On a full disk it drops before it commits, while
// there is room inside the file for saying what was dropped.
func (o *Outbox) commitAll(readings, unclocked []device.Reading) error {
	if len(readings)+len(unclocked) == 0 {
		return nil
	}
	need := int64(len(readings)+len(unclocked))*readingBytes + reserve
	if o.cramped() && o.file.spare() < need && o.file.counts.Bytes > 2*need {
		if _, err := o.drop(o.share(2 * need)); err != nil {
			return err
		}
	}
	err := o.commitOnce(readings, unclocked)
	if errors.Is(err, errDamaged) {
		if err = o.mend(err); err == nil {
			err = o.commitOnce(readings, unclocked)
		}
	}
	if isFull(err) {
		o.freeBallast()
	}
	for isFull(err) && o.file.counts.Bytes > pageSize {
		if dropped, derr := o.drop(o.share(2 * need)); derr != nil || dropped == 0 {
			break
		}
		err = o.commitOnce(readings, unclocked)
	}
	if err != nil {
		return fmt.Errorf("commit %d readings: %w", len(readings)+len(unclocked), err)
	}
	return nil
}

// share bounds what is dropped for a commit to a quarter of what waits: that is
// worth as much as what comes, and where little waits dropping it all would
// make no lasting room.
func (o *Outbox) share(want int64) int64 { return min(want, o.file.counts.Bytes/4) }

func (o *Outbox) commitOnce(readings, unclocked []device.Reading) error {
	if err := o.lookBack(readings); err != nil {
		return err
	}
	readings = slices.Clone(readings) // a commit that fails must leave their times as they are
	o.separate(readings)
	e := o.nextEpoch()
	err := o.file.update(func(tx *bbolt.Tx) error {
		for _, batch := range split(readings) {
			if err := o.putBatch(tx, &e, headFor(o.previous, batch), batch); err != nil {
				return err
			}
		}
		return o.putUnclocked(tx, unclocked)
	})
	if err != nil {
		return err
	}
	o.remember(readings)
	o.committed(e)
	return nil
}

// putBatch encodes and appends one batch as the next of the epoch.
func (o *Outbox) putBatch(tx *bbolt.Tx, e *epoch, head contract.BatchHead, readings []device.Reading) error {
	id := contract.BatchID{Epoch: e.id, Sequence: e.last + 1}
	payload, err := o.encode(id, head, readings)
	if err != nil {
		return err
	}
	if err := o.file.put(tx, *e, contract.Block{ID: id, Readings: len(readings), Payload: payload}, head); err != nil {
		return err
	}
	e.last++
	return nil
}

// nextEpoch is the current epoch, with an ordinal behind all others.
func (o *Outbox) nextEpoch() epoch {
	e := o.current
	if e.ordinal == 0 {
		e.ordinal = o.file.nextOrdinal()
	}
	return e
}

// committed takes over what a transaction has made true.
func (o *Outbox) committed(e epoch) {
	if e.last == o.current.last {
		return
	}
	if _, known := o.file.epochs[e.id]; !known {
		o.file.epochs[e.id] = e.ordinal
		o.file.order = append(o.file.order, e)
	}
	i := slices.IndexFunc(o.file.order, func(known epoch) bool { return known.id == e.id })
	o.file.order[i] = e
	o.current = e
	select {
	case o.news <- struct{}{}:
	default:
	}
}

// lookBack prepares separate: only a clock that went back makes work. Whether it
// did is asked per device, because readings of different plugs overtake each
// other all the time.
func (o *Outbox) lookBack(readings []device.Reading) error {
	behind := slices.ContainsFunc(readings, func(r device.Reading) bool { return r.Time <= max(o.floor, o.newest[r.Device]) })
	if !behind {
		o.seen = nil
		return nil
	}
	if o.seen != nil && !o.seen.outlived(o.file.counts.Readings) {
		return nil
	}
	seen, err := o.collectSeen()
	o.seen = seen
	return err
}

// separate moves a reading by a microsecond as often as it takes to differ from
// every earlier one of its device in the outbox: a point's identity is its
// device and time, and two would become one.
func (o *Outbox) separate(readings []device.Reading) {
	type moment struct {
		id device.ID
		at device.Micros
	}
	within := make(map[moment]bool, len(readings))
	for i := range readings {
		r := &readings[i]
		for within[moment{r.Device, r.Time}] || o.seen != nil && o.seen.has(r.Device.String(), r.Time) {
			r.Time++
		}
		within[moment{r.Device, r.Time}] = true
	}
}

// remember notes the times of readings that are in the outbox now.
func (o *Outbox) remember(readings []device.Reading) {
	for _, r := range readings {
		o.newest[r.Device] = max(o.newest[r.Device], r.Time)
		if o.seen != nil {
			o.seen.add(r.Device.String(), r.Time)
		}
	}
}

// oldest finds the first waiting batch that is not set aside, and the time of
// its first reading.
func (o *Outbox) oldest() (id contract.BatchID, from device.Micros, ok bool) {
	if o.file.db == nil || o.file.counts.Batches == 0 {
		return id, 0, false
	}
	err := o.read(func(tx *bbolt.Tx) error {
		ok = false
		cursor := tx.Bucket(bucketBatches).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			b, err := parseBlock(v)
			if err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			if _, aside := o.file.aside[b.ID]; aside {
				continue
			}
			head, err := headOf(b.Payload)
			id, from, ok = b.ID, head.From, err == nil
			return err
		}
		return nil
	})
	return id, from, ok && err == nil
}
