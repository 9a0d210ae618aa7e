package archive

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Bounds of what is kept; variables for the tests.
var (
	// What has ended, and who did what, is kept for keepFor, and not more than
	// keepMost of each.
	keepFor  = 400 * 24 * time.Hour
	keepMost = 200_000
	// pruneAtOnce bounds one transaction of Prune.
	pruneAtOnce = 1000
)

// Prune deletes what ended long ago, and who did what before, a bounded number at
// once; call it again while it says that there is more.
func (a *Archive) Prune(now time.Time) (more bool, err error) {
	moreAlerts, err := a.pruneAlerts(device.MicrosOf(now.Add(-keepFor)))
	if err != nil {
		return false, fmt.Errorf("prune alerts: %w", err)
	}
	moreAudit, err := a.pruneAudit(device.MicrosOf(now.Add(-keepFor)))
	if err != nil {
		return false, fmt.Errorf("prune who did what to alerts: %w", err)
	}
	return moreAlerts || moreAudit, nil
}

func (a *Archive) pruneAlerts(oldest device.Micros) (more bool, err error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	count := a.count
	err = a.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(alertsBucket).Cursor()
		for k, text := c.First(); k != nil && !more; k, text = c.Next() {
			if atOf(k) >= oldest && count <= keepMost {
				return nil
			}
			var alert contract.Alert
			if json.Unmarshal(text, &alert) == nil && alert.State != contract.Resolved {
				continue
			}
			if err := errors.Join(tx.Bucket(keysBucket).Delete(k[8:]), c.Delete()); err != nil {
				return err
			}
			count--
			more = a.count-count >= pruneAtOnce
		}
		return nil
	})
	if err == nil {
		a.count = count
	}
	return more, err
}

// pruneAudit counts first, without writing: entries are made in transactions of
// others.
func (a *Archive) pruneAudit(oldest device.Micros) (more bool, err error) {
	old, count := 0, 0
	err = a.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(auditBucket).ForEach(func(k, _ []byte) error {
			if count++; atOf(k) < oldest {
				old++
			}
			return nil
		})
	})
	due := max(old, count-keepMost)
	if err != nil || due == 0 {
		return false, err
	}
	return due > pruneAtOnce, a.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(auditBucket).Cursor()
		k, _ := c.First()
		for n := 0; k != nil && n < min(due, pruneAtOnce); n++ {
			if err := c.Delete(); err != nil {
				return err
			}
			k, _ = c.First() // bbolt's Next may leave one out after Delete
		}
		return nil
	})
}

// atOf is the time with which a key begins.
func atOf(key []byte) device.Micros {
	return device.Micros(binary.BigEndian.Uint64(key)) //nolint:gosec // written from one
}
