package archive

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// MaxWindows bounds the maintenance windows that are kept.
const MaxWindows = 1000

// Rules gives the rules and their revision, which grows with each change; 0 when
// none were ever set.
func (a *Archive) Rules() (file rule.File, revision uint64, err error) {
	err = a.db.View(func(tx *bbolt.Tx) error {
		state := tx.Bucket(stateBucket)
		text := state.Get(rulesKey)
		if text == nil {
			return nil
		}
		revision = binary.BigEndian.Uint64(state.Get(revisionKey))
		return json.Unmarshal(text, &file)
	})
	if err != nil {
		return rule.File{}, 0, fmt.Errorf("read the rules: %w", err)
	}
	return file, revision, nil
}

// SetRules replaces the rules, and says who did.
func (a *Archive) SetRules(file rule.File, who contract.Audited) (revision uint64, err error) {
	text, err := json.Marshal(file)
	if err != nil {
		return 0, err
	}
	err = a.db.Update(func(tx *bbolt.Tx) error {
		state := tx.Bucket(stateBucket)
		if before := state.Get(revisionKey); before != nil {
			revision = binary.BigEndian.Uint64(before)
		}
		revision++
		if err := state.Put(revisionKey, binary.BigEndian.AppendUint64(nil, revision)); err != nil {
			return err
		}
		if err := state.Put(rulesKey, text); err != nil {
			return err
		}
		return audit(tx, who)
	})
	if err != nil {
		return 0, fmt.Errorf("keep the rules: %w", err)
	}
	return revision, nil
}

// Windows gives the maintenance windows that are not over at now, and forgets the
// others at the next change.
func (a *Archive) Windows(now device.Micros) ([]engine.Maintenance, error) {
	all := []engine.Maintenance{}
	err := a.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(windowsBucket).ForEach(func(_, text []byte) error {
			var m engine.Maintenance
			if err := json.Unmarshal(text, &m); err != nil {
				a.unreadable("maintenance", err)
			} else if m.To > now {
				all = append(all, m)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the maintenance windows: %w", err)
	}
	return all, nil
}

// SetWindows replaces the maintenance windows.
func (a *Archive) SetWindows(all []engine.Maintenance, who contract.Audited) error {
	err := a.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(windowsBucket); err != nil {
			return err
		}
		b, err := tx.CreateBucket(windowsBucket)
		if err != nil {
			return err
		}
		for _, m := range all {
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if err := b.Put([]byte(m.ID), text); err != nil {
				return err
			}
		}
		return audit(tx, who)
	})
	if err != nil {
		return fmt.Errorf("keep the maintenance windows: %w", err)
	}
	return nil
}
