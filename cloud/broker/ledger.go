package broker

import (
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// ledger knows the size of what a client was sent and has not acknowledged, by
// packet identifier.
type ledger struct {
	limits *limits
	bytes  atomic.Int64

	mu    sync.Mutex // protects sizes
	sizes map[uint16]int
}

// set notes that the identifier now stands for so many bytes; 0 for none.
func (l *ledger) set(id uint16, size int) {
	l.mu.Lock()
	before := l.sizes[id]
	switch {
	case size > 0 && l.sizes == nil:
		l.sizes = map[uint16]int{id: size}
	case size > 0:
		l.sizes[id] = size
	case before > 0:
		delete(l.sizes, id)
	}
	l.mu.Unlock()
	if by := int64(size - before); by != 0 {
		l.bytes.Add(by)
		l.limits.waiting.Add(by)
	}
}

func (l *ledger) clear() {
	l.mu.Lock()
	l.sizes = nil
	l.mu.Unlock()
	l.limits.waiting.Add(-l.bytes.Swap(0))
}

// OnQosPublish, OnQosComplete and OnQosDropped keep count of what is under way.
// mochi keeps its own acknowledgements in the same map; they weigh nothing.
func (g *guard) OnQosPublish(cl *mqtt.Client, pk packets.Packet, _ int64, _ int) {
	size := 0
	if pk.FixedHeader.Type == packets.Publish {
		size = len(pk.Payload) + messageCost
	}
	if c := connOf(cl); c != nil {
		c.inflight.set(pk.PacketID, size)
	}
}

// OnQosComplete is described with OnQosPublish.
func (g *guard) OnQosComplete(cl *mqtt.Client, pk packets.Packet) {
	if c := connOf(cl); c != nil {
		c.inflight.set(pk.PacketID, 0)
	}
}

// OnQosDropped is described with OnQosPublish.
func (g *guard) OnQosDropped(cl *mqtt.Client, pk packets.Packet) { g.OnQosComplete(cl, pk) }

// retained bounds the retained messages of all clients.
type retained struct {
	most, mostBytes int

	mu    sync.Mutex // protects the fields below
	sizes map[string]int
	bytes int
}

// admit notes the message now retained on a topic, size 0 for none; false means
// that it does not fit and must not be retained.
func (r *retained) admit(topic string, size int) bool {
	if size > 0 {
		size += len(topic)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.sizes[topic]
	switch {
	case size == 0:
		delete(r.sizes, topic)
	case !known && len(r.sizes) >= r.most, r.bytes+size-before > r.mostBytes:
		return false
	default:
		r.sizes[topic] = size
	}
	r.bytes += size - before
	return true
}
