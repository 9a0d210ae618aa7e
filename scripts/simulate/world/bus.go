package world

import (
	"bytes"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// conn is one connection of a box to the broker.
type conn struct {
	box *box
	run int  // of the process that made it
	cut bool // nothing passes, though the box may not know yet
}

// travel carries a message of a connection, or towards one, and calls deliver
// as often as it arrives: not at all, once, or more often.
func (w *world) travel(c *conn, what string, deliver func()) {
	p := w.plan
	if c.cut {
		w.counts.Lost++
		w.trace("lost on a dead connection: %s", what)
		return
	}
	times := 1
	if !w.healing && w.chance(p.loss) {
		w.counts.Lost++
		w.trace("lost: %s", what)
		times = 0
	}
	if !w.healing && w.chance(p.repeat) {
		w.counts.Repeated++
		times++
	}
	for range times {
		delay := w.between(time.Millisecond, 30*time.Millisecond)
		if !w.healing && w.chance(p.late) {
			delay = w.between(0, 40*time.Second)
		}
		w.after(delay, func() {
			if !w.brokerUp || c.cut && w.chance(0.5) {
				w.counts.Lost++
				w.trace("died under way: %s", what)
				return
			}
			deliver()
		})
	}
}

// toHooks hands a message to one of the replicas that share the subscription.
func (w *world) toHooks(m bus.Message) {
	if r := w.anyReplica(); r != nil {
		r.take(m)
	}
}

func (w *world) anyReplica() *replica {
	var alive []*replica
	for _, r := range w.replicas {
		if r.alive {
			alive = append(alive, r)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return alive[w.rand.IntN(len(alive))]
}

// toGateways hands an answer to every box that subscribed to it.
func (w *world) toGateways(topic string, payload []byte) {
	for _, g := range w.gateways {
		if bus.ReceiptsTopic(g.name) != topic {
			continue
		}
		for _, b := range g.boxes {
			if c := b.conn; c != nil {
				w.travel(c, "receipts for "+b.name, func() {
					if b.conn == c && b.f != nil {
						b.hear(payload)
					}
				})
			}
		}
	}
}

// corrupted gives a payload that was damaged on the way.
func (w *world) corrupted(payload []byte) []byte {
	if w.healing || !w.chance(w.plan.corrupt) {
		return payload
	}
	w.counts.Corrupted++
	if bytes.HasPrefix(payload, []byte("{")) { // still JSON, so that it is answered with an error
		return bytes.Replace(payload, []byte(`"readings":`), []byte(`"previous":7,"readings":`), 1)
	}
	return payload[:len(payload)/2]
}

// restartBroker ends all connections and what is under way, for a while.
func (w *world) restartBroker() {
	if !w.brokerUp {
		return
	}
	w.counts.BrokerRestarts++
	w.trace("broker down")
	w.brokerUp = false
	for _, g := range w.gateways {
		for _, b := range g.boxes {
			if b.conn != nil {
				b.conn.cut = true
				b.disconnected(b.conn)
			}
		}
	}
	w.after(w.between(100*time.Millisecond, time.Minute), func() {
		w.trace("broker up")
		w.brokerUp = true
	})
}
