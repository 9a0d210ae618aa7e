package notify

import (
	"encoding/json"
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
//	state: flight -> Message, sent -> times
var (
	root       = []byte("notify")
	queueName  = []byte("queue")
	toldName   = []byte("told")
	stateName  = []byte("state")
	flightKey  = []byte("flight")
	sentKey    = []byte("sent")
	bucketsOf  = [][]byte{queueName, toldName, stateName}
	severities = []contract.Severity{contract.Info, contract.Warning, contract.Critical}
)

// waiting is an alert in a queue, once for all that happened to it.
type waiting struct {
	Item
	Entered device.Micros `json:"entered"` // 0: send at once
}

// queue is one receiver's part of the file.
type queue struct{ items, told, state *bbolt.Bucket }

func queueOf(tx *bbolt.Tx, receiver string) (queue, error) {
	b := tx.Bucket(root)
	if b != nil {
		b = b.Bucket([]byte(receiver))
	}
	if b == nil {
		return queue{}, fmt.Errorf("receiver %s has no queue", receiver)
	}
	return queue{b.Bucket(queueName), b.Bucket(toldName), b.Bucket(stateName)}, nil
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
		w.flying = b.Bucket(stateName).Get(flightKey) != nil
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
		q.items.Tx().OnCommit(func() { w.add(-1) })
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

// put counts when the transaction is committed: one that fails is tried again, for
// as long as the disk is full.
func (w *window) put(q queue, item waiting) error {
	key := []byte(item.Alert.ID)
	isNew := q.items.Get(key) == nil
	w.mu.Lock()
	full := isNew && w.waiting >= maxWaiting
	w.mu.Unlock()
	if full {
		q.items.Tx().OnCommit(w.omit)
		return nil
	}
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	if isNew {
		q.items.Tx().OnCommit(func() { w.add(1) })
	}
	return q.items.Put(key, text)
}

func (w *window) omit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.omitted++
}

func (w *window) add(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting += n
}

func (q queue) get(key []byte) (item waiting, ok bool, err error) {
	text := q.items.Get(key)
	if text == nil {
		return waiting{}, false, nil
	}
	err = json.Unmarshal(text, &item)
	return item, err == nil, err
}
