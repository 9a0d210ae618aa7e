package hook

import (
	"sync/atomic"

	"github.com/wattline/wattline/shared/bus"
)

// Queue holds messages between the connection's one reader, who must not wait,
// and those who work on them. It is bounded in messages and in bytes. Safe for
// concurrent use.
type Queue struct {
	messages chan bus.Message
	most     int64
	bytes    atomic.Int64
}

// NewQueue allocates a queue for so many messages of so many bytes together.
func NewQueue(messages, bytes int) *Queue {
	return &Queue{messages: make(chan bus.Message, messages), most: int64(bytes)}
}

// Put queues a message, or reports false when it does not fit. It never blocks.
func (q *Queue) Put(m bus.Message) bool {
	size := sizeOf(m)
	if q.bytes.Add(size) > q.most {
		q.bytes.Add(-size)
		return false
	}
	select {
	case q.messages <- m:
		return true
	default:
		q.bytes.Add(-size)
		return false
	}
}

// Next is where messages come out, in order; whoever takes one says so by
// [Queue.Took].
func (q *Queue) Next() <-chan bus.Message { return q.messages }

// Took gives back the room of a message that was received from [Queue.Next].
func (q *Queue) Took(m bus.Message) { q.bytes.Add(-sizeOf(m)) }

// sizeOf counts the topic too: many messages of little are much.
func sizeOf(m bus.Message) int64 { return int64(len(m.Topic) + len(m.Payload)) }
