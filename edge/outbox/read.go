package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

// Next gives up to n batches that follow after in the order of sending, without
// those set aside. The zero id means from the beginning. The blocks are the
// caller's.
func (o *Outbox) Next(after contract.BatchID, n int) ([]contract.Block, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var blocks []contract.Block
	err := o.read(func(tx *bbolt.Tx) error {
		blocks = blocks[:0]
		cursor := tx.Bucket(bucketBatches).Cursor()
		for k, v := o.seek(cursor, after); k != nil && len(blocks) < n; k, v = cursor.Next() {
			block, err := parseBlock(v)
			if err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			if _, aside := o.file.aside[block.ID]; !aside {
				block.Payload = bytes.Clone(block.Payload)
				blocks = append(blocks, block)
			}
		}
		return nil
	})
	return blocks, err
}

func (o *Outbox) seek(cursor *bbolt.Cursor, after contract.BatchID) (k, v []byte) {
	key, known := o.file.key(after)
	if !known {
		return cursor.First()
	}
	k, v = cursor.Seek(key)
	if bytes.Equal(k, key) {
		return cursor.Next()
	}
	return k, v
}

// Block gives one batch; ok is false when it does not wait (any more).
func (o *Outbox) Block(id contract.BatchID) (block contract.Block, ok bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err = o.read(func(tx *bbolt.Tx) error {
		key, known := o.file.key(id)
		v := tx.Bucket(bucketBatches).Get(key)
		if !known || v == nil {
			return nil
		}
		b, err := parseBlock(v)
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		b.Payload = bytes.Clone(b.Payload)
		block, ok = b, true
		return nil
	})
	return block, ok, err
}

// Delete releases the batches that the receipts name, where the digest is that
// of the payload kept here. It returns the ids it released; a receipt for
// another content, or for a batch that is not here, releases nothing.
func (o *Outbox) Delete(receipts ...contract.Receipt) (released []contract.BatchID, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file.db == nil {
		return nil, errors.New("outbox is closed")
	}
	once := func() error {
		released = released[:0]
		return o.file.update(func(tx *bbolt.Tx) error {
			for _, r := range receipts {
				ok, err := o.release(tx, r)
				if err != nil {
					return err
				}
				if ok {
					released = append(released, r.ID)
				}
			}
			return nil
		})
	}
	err = once()
	if isFull(err) && o.freeBallast() {
		err = once()
	}
	if errors.Is(err, errDamaged) {
		if err = o.mend(err); err == nil {
			err = once()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("release %d batches: %w", len(receipts), err)
	}
	for _, id := range released {
		delete(o.file.aside, id)
	}
	o.shrink()
	return released, nil
}

func (o *Outbox) release(tx *bbolt.Tx, r contract.Receipt) (bool, error) {
	key, known := o.file.key(r.ID)
	if !known {
		return false, nil
	}
	v := tx.Bucket(bucketBatches).Get(key)
	if v == nil {
		return false, nil
	}
	b, err := parseBlock(v)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if b.ID != r.ID || contract.DigestOf(b.Payload) != r.Digest {
		return false, nil
	}
	return true, o.file.remove(tx, key, v)
}

// SetAside keeps a batch but takes it out of what Next gives, at time now. One
// that does not wait (any more) is none to keep.
func (o *Outbox) SetAside(id contract.BatchID, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key, known := o.file.key(id)
	if !known || o.file.db == nil {
		return nil
	}
	waits := false
	err := o.file.update(func(tx *bbolt.Tx) error {
		if waits = tx.Bucket(bucketBatches).Get(key) != nil; !waits {
			return nil
		}
		return tx.Bucket(bucketAside).Put(key, binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))) //nolint:gosec // bits
	})
	if err != nil {
		return fmt.Errorf("set batch %v aside: %w", id, err)
	}
	if waits {
		o.file.aside[id] = now
	}
	return nil
}

// Aside lists the batches set aside, in the order of sending.
func (o *Outbox) Aside() []contract.BatchID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.setAside()
}

func (o *Outbox) setAside() []contract.BatchID {
	ids := make([]contract.BatchID, 0, len(o.file.aside))
	for id := range o.file.aside {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b contract.BatchID) int {
		ka, _ := o.file.key(a)
		kb, _ := o.file.key(b)
		return bytes.Compare(ka, kb)
	})
	return ids
}

// read runs a transaction, and once more when the file had to be mended.
func (o *Outbox) read(view func(tx *bbolt.Tx) error) error {
	if o.file.db == nil {
		return errors.New("outbox is closed")
	}
	err := o.file.view(view)
	if errors.Is(err, errDamaged) {
		if err = o.mend(err); err == nil {
			err = o.file.view(view)
		}
	}
	return err
}
