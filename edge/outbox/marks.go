package outbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// mark is what the status has to say of a waiting batch, so that nobody takes
// it for granted or for missing: that it is dated before batches accepted
// earlier, or which batches it is the tombstone of. Few batches have one.
type mark struct {
	From     device.Micros    `json:"from,omitempty"`
	Replaces []contract.Range `json:"replaces,omitempty"`
}

// mark notes a batch that needs it, and keeps count of the newest time. A
// tombstone's times are those of what it replaces, and move nothing.
func (f *file) mark(tx *bbolt.Tx, key []byte, head contract.BatchHead) error {
	m := mark{Replaces: head.Replaces}
	if len(head.Replaces) > 0 {
		m.From = head.From // nothing from then on may be taken for complete before the tombstone has arrived
	}
	if head.Readings > 0 && len(head.Replaces) == 0 {
		if head.From <= f.counts.Newest {
			m.From = head.From
		}
		f.counts.Newest = max(f.counts.Newest, head.To)
	}
	if m.From == 0 && len(m.Replaces) == 0 {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	if err := tx.Bucket(bucketMarks).Put(key, text); err != nil {
		return fmt.Errorf("put mark: %w", err)
	}
	return nil
}

// marked gathers the marks: the earliest time of batches dated before others,
// readings without time included (0: none), and what waiting tombstones replace.
func (o *Outbox) marked() (behind device.Micros, replaced []contract.Range, err error) {
	earliest := func(at device.Micros) {
		if at = max(at, 1); behind == 0 || at < behind {
			behind = at
		}
	}
	if o.file.db == nil && o.broken == nil {
		return 0, nil, nil // closed
	}
	err = o.read(func(tx *bbolt.Tx) error {
		behind, replaced = 0, nil
		if o.file.counts.Unclocked > 0 {
			err := tx.Bucket(bucketBoots).ForEach(func(_, v []byte) error {
				earliest(knownTime(v) + 1)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMarks).ForEach(func(_, v []byte) error {
			var m mark
			if err := json.Unmarshal(v, &m); err != nil {
				return fmt.Errorf("%w: mark: %w", errDamaged, err)
			}
			if m.From != 0 {
				earliest(m.From)
			}
			replaced = append(replaced, m.Replaces...)
			return nil
		})
	})
	return behind, join(replaced), err
}

// join sorts ranges and joins those that touch or overlap.
func join(list []contract.Range) (out []contract.Range) {
	slices.SortFunc(list, func(a, b contract.Range) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.From, b.From))
	})
	for _, r := range list {
		if last := len(out) - 1; last >= 0 && out[last].Epoch == r.Epoch && r.From <= out[last].To+1 {
			out[last].To = max(out[last].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}
