package webhook

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// Where data goes whose topic names no database.
const defaultDatabase = "sp"

// Bounds of what waits to be looked at, and of what waits for one receiver that
// has no entry in the ledger.
const (
	queueLength   = 2048
	queueBytes    = 16 << 20
	withoutLength = 512
	withoutBytes  = 2 << 20
)

// batchKey names a batch as its entry does.
type batchKey struct {
	source, id string
	digest     contract.Digest
}

func keyOf(e contract.Added) batchKey { return batchKey{e.Source, e.ID, e.Digest} }

// heard keeps the newest batches of the bus for all receivers. It is bounded in
// bytes: the oldest goes first. Safe for concurrent use.
type heard struct {
	most int

	mu    sync.Mutex // protects what follows
	bytes int
	order *list.List // of batchKey, oldest first
	of    map[batchKey]bus.Message
}

func newHeard(most int) *heard {
	return &heard{most: most, order: list.New(), of: make(map[batchKey]bus.Message)}
}

// overhead is about what a batch takes beside its payload.
const overhead = 512

func cost(m bus.Message) int { return overhead + len(m.Payload) + len(m.Topic) }

func (h *heard) put(key batchKey, m bus.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.of[key]; known || cost(m) > h.most {
		return
	}
	h.of[key] = m
	h.order.PushBack(key)
	for h.bytes += cost(m); h.bytes > h.most; {
		oldest := h.order.Front()
		h.order.Remove(oldest)
		old, _ := oldest.Value.(batchKey)
		h.bytes -= cost(h.of[old])
		delete(h.of, old)
	}
}

func (h *heard) find(key batchKey) (m bus.Message, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok = h.of[key]
	return m, ok
}

// listen looks at what the bus brings until ctx ends.
func (h *Hook) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-h.queue.Next():
			h.queue.Took(m)
			if err := h.hear(m); err != nil {
				h.count.malformed.Inc()
				h.log.DebugContext(ctx, "data not looked at", slog.Any("err", err))
			}
		}
	}
}

// take is called by the connection's reader.
func (h *Hook) take(m bus.Message) {
	if !h.queue.Put(m) {
		h.count.unheard.Inc() // its entry will tell
	}
}

// hear keeps a batch that will have an entry, and gives what will have none to the
// receivers at once.
func (h *Hook) hear(m bus.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the code panicked over it: %v", p)
		}
	}()
	topic, err := bus.ParseData(m.Topic)
	if err != nil {
		return err
	}
	if topic.Batch == "" { // otherwise it is a gateway's, which wants a receipt
		e, err := bus.Decode(m.Payload)
		if err != nil {
			return err
		}
		if e.ID == "" || e.ResponseTopic == "" || !hook.MayAnswer(e.ResponseTopic, topic.Source) {
			for _, r := range h.receivers {
				r.hearWithout(m, topic)
			}
			return nil
		}
		topic.Batch = e.ID
	}
	h.heard.put(batchKey{topic.Source, topic.Batch, contract.DigestOf(m.Payload)}, m)
	return nil
}

// hearWithout queues data that has no entry: what does not fit is shed.
func (r *receiver) hearWithout(m bus.Message, topic bus.Data) {
	if len(r.databasesOf(topic)) > 0 && !r.without.Put(m) {
		r.count.shed.Inc()
	}
}

// databasesOf are those of the receiver's databases that data of a topic goes to.
func (r *receiver) databasesOf(topic bus.Data) (list []string) {
	database := topic.Database
	if database == "" {
		database = defaultDatabase
	}
	for _, d := range append([]string{database}, r.copies[database]...) {
		if slices.Contains(r.config.Databases, d) && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// read gives the wanted records of a message that was heard, and the databases
// they go to; none where it is for nobody or holds what cannot be read.
func (r *receiver) read(m bus.Message) (records []record, databases []string, err error) {
	topic, err := bus.ParseData(m.Topic)
	if err != nil {
		return nil, nil, err
	}
	if databases = r.databasesOf(topic); len(databases) == 0 {
		return nil, nil, nil
	}
	e, err := bus.Decode(m.Payload)
	if err != nil {
		return nil, nil, err
	}
	records, err = recordsOf(e.Data, bus.MaxRecords, r.choice)
	return records, databases, err
}
