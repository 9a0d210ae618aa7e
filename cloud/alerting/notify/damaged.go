package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"go.etcd.io/bbolt"
)

var errDamaged = errors.New("damaged")

// mend sets aside what of a queue cannot be read, so that the rest is told.
func (d *Desk) mend(w *window) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		q, err := queueOf(tx, w.Name)
		if err != nil {
			return err
		}
		if _, err := q.flight(); errors.Is(err, errDamaged) {
			if err := w.setAside(q, q.state.Get(flightKey), err); err != nil {
				return err
			}
			if err := q.state.Delete(flightKey); err != nil {
				return err
			}
			tx.OnCommit(w.landedNowhere)
		}
		var keys [][]byte
		_ = q.items.ForEach(func(k, text []byte) error {
			if json.Unmarshal(text, new(waiting)) != nil {
				keys = append(keys, bytes.Clone(k))
			}
			return nil
		})
		for _, key := range keys {
			_, _, damage := q.get(key)
			if err := w.setAside(q, q.items.Get(key), damage); err != nil {
				return err
			}
			if err := q.items.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// landedNowhere forgets how the attempts went for a message that there is no more.
func (w *window) landedNowhere() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries, w.next, w.failing, w.fault, w.flying = 0, time.Time{}, time.Time{}, "", false
}

// setAside keeps the last of what could not be read for who wants to look at it,
// and counts it as one item that the next message leaves out.
func (w *window) setAside(q queue, text []byte, why error) error {
	q.items.Tx().OnCommit(func() {
		w.mu.Lock()
		w.damaged++
		w.mu.Unlock()
		w.log.Error("a notification cannot be read; it is set aside, and the others are told", slog.String("receiver", w.Name), slog.Any("err", why))
	})
	if err := q.state.Put(damagedKey, bytes.Clone(text)); err != nil {
		return err
	}
	return q.omit(1)
}

// Damaged counts what was set aside since the start.
func (d *Desk) Damaged() (n int) {
	for _, s := range d.Statuses() {
		n += s.Damaged
	}
	return n
}
