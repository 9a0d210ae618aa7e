package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxWaiting bounds the alerts that wait for one receiver, those of one transaction
// excepted.
const maxWaiting = 10_000

// The file: notify / <receiver> / queue / <alert's id> -> waiting
//
//	told / <alert's id> -> when
//	state: flight -> Message, sent -> times, omitted -> items that were lost since
//	       the last message, damaged -> what was set aside last
var (
	root       = []byte("notify")
	queueName  = []byte("queue")
	toldName   = []byte("told")
	stateName  = []byte("state")
	flightKey  = []byte("flight")
	sentKey    = []byte("sent")
	omittedKey = []byte("omitted")
	damagedKey = []byte("damaged")
	bucketsOf  = [][]byte{queueName, toldName, stateName}
	severities = []contract.Severity{contract.Info, contract.Warning, contract.Critical}
)

// waiting is an alert in a queue, once for all that happened to it.
type waiting struct {
	Item
	Entered device.Micros `json:"entered"` // 0: send at once
}

// queue is one receiver's part of the file, in one transaction.
type queue struct {
	items, told, state *bbolt.Bucket
	// added are items that wait once the transaction is committed.
	added *int
}

func queueOf(tx *bbolt.Tx, receiver string) (queue, error) {
	b := tx.Bucket(root)
	if b != nil {
		b = b.Bucket([]byte(receiver))
	}
	if b == nil {
		return queue{}, fmt.Errorf("receiver %s has no queue", receiver)
	}
	return queue{b.Bucket(queueName), b.Bucket(toldName), b.Bucket(stateName), new(int)}, nil
}

// open makes what is missing, counts what waits, and deletes the queues of
// receivers that are gone.
func (d *Desk) open(tx *bbolt.Tx) (gone []string, err error) {
	all, err := tx.CreateBucketIfNotExists(root)
	if err != nil {
		return nil, err
	}
	for _, w := range d.windows {
		b, err := all.CreateBucketIfNotExists([]byte(w.Name))
		if err != nil {
			return nil, err
		}
		for _, name := range bucketsOf {
			if _, err := b.CreateBucketIfNotExists(name); err != nil {
				return nil, err
			}
		}
		w.log, w.flying = d.log, b.Bucket(stateName).Get(flightKey) != nil
		err = b.Bucket(queueName).ForEach(func(_, _ []byte) error {
			w.waiting++
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	_ = all.ForEachBucket(func(k []byte) error {
		if !slices.ContainsFunc(d.windows, func(w *window) bool { return w.Name == string(k) }) {
			gone = append(gone, string(k))
		}
		return nil
	})
	for _, name := range gone {
		if err := all.DeleteBucket([]byte(name)); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// wants reports whether a change is anything to a receiver.
func (w *window) wants(c engine.Change) bool {
	return slices.Index(severities, c.Alert.Severity) >= slices.Index(severities, w.From) &&
		(len(c.Receivers) == 0 || slices.Contains(c.Receivers, w.Name))
}

// owes reports whether a receiver must hear of the end of what it was told of, or
// is about to be, although the rule tells others by now.
func (q queue) owes(c engine.Change) bool {
	id := []byte(c.Alert.ID)
	return c.Kind == engine.Ended && (q.told.Get(id) != nil || q.items.Get(id) != nil)
}

// enter puts a change into the queue, or together with what waits there already.
func (w *window) enter(q queue, c engine.Change, now device.Micros) error {
	key := []byte(c.Alert.ID)
	before, queued, err := q.get(key)
	if errors.Is(err, errDamaged) { // as if nothing had happened to it yet
		queued = true
		err = w.setAside(q, q.items.Get(key), err)
	}
	if err != nil {
		return err
	}
	after := before
	after.Alert = c.Alert
	if !queued {
		after.Entered = now
	}
	event := w.event(before.Event, c, q.told.Get(key) != nil)
	if c.Kind == engine.Ended {
		if err := q.told.Delete(key); err != nil {
			return err
		}
	}
	switch {
	case event != "":
		after.Event = event
		return w.put(q, after)
	case queued:
		w.add(q, -1)
		return q.items.Delete(key)
	default:
		return nil
	}
}

// event is what a receiver is to be told of an alert after a change, when before
// waits in the queue; "" is nothing.
func (w *window) event(before Event, c engine.Change, told bool) Event {
	switch c.Kind {
	case engine.Ended:
		switch {
		case told && w.Over:
			return Over
		case before != "" && !told && w.Over && (w.Digest != nil || c.Alert.Severity != contract.Info):
			return Was
		default:
			return ""
		}
	case engine.Late:
		return before
	case engine.Raised, engine.Flapping, engine.Wakened, engine.Reminder, engine.Updated:
	}
	switch {
	case c.Alert.Hushed != nil:
		return "" // whoever has hushed it has seen it
	case c.Kind == engine.Updated:
		return before
	case c.Kind == engine.Flapping:
		return Flaps
	case told:
		return Still
	default:
		return Began
	}
}

func (w *window) put(q queue, item waiting) error {
	key := []byte(item.Alert.ID)
	isNew := q.items.Get(key) == nil
	w.mu.Lock()
	full := isNew && w.waiting+*q.added >= maxWaiting
	w.mu.Unlock()
	if full {
		return q.omit(1)
	}
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	if isNew {
		w.add(q, 1)
	}
	return q.items.Put(key, text)
}

// add counts an item once the transaction is committed: one that fails, as where
// the disk is full, is tried again and again.
func (w *window) add(q queue, n int) {
	*q.added += n
	q.items.Tx().OnCommit(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waiting += n
	})
}

// omitted are the items that were lost since the last message.
func (q queue) omitted() (n int) {
	if text := q.state.Get(omittedKey); text != nil && json.Unmarshal(text, &n) != nil {
		return 1 // some
	}
	return n
}

func (q queue) omit(n int) error { return q.store(omittedKey, q.omitted()+n) }

func (q queue) get(key []byte) (item waiting, ok bool, err error) {
	text := q.items.Get(key)
	if text == nil {
		return waiting{}, false, nil
	}
	if err := json.Unmarshal(text, &item); err != nil {
		return waiting{}, false, fmt.Errorf("%w: item %.200q: %w", errDamaged, key, err)
	}
	return item, true, nil
}
