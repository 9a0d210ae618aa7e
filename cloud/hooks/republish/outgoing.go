package republish

import "sync"

// message is what a topic is to say; without payload it is taken back.
type message struct {
	payload []byte
	value   bool // a reading, of which the newest is enough
}

// outgoing is what waits to be published: one message of each topic, in the
// order in which the topics came.
type outgoing struct {
	mu     sync.Mutex // protects the fields below
	topics []string
	say    map[string]message
	wake   chan struct{}
	shed   func()
}

func newOutgoing(shed func()) *outgoing {
	return &outgoing{say: make(map[string]message), wake: make(chan struct{}, 1), shed: shed}
}

// put replaces what waits on the topic.
func (o *outgoing) put(topic string, m message) {
	o.mu.Lock()
	before, waits := o.say[topic]
	if !waits {
		o.topics = append(o.topics, topic)
	}
	o.say[topic] = m
	o.mu.Unlock()
	if waits && before.value && m.value {
		o.shed()
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take gives all that waits, in order.
func (o *outgoing) take() (topics []string, say map[string]message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	topics, say = o.topics, o.say
	o.topics, o.say = nil, make(map[string]message)
	return topics, say
}
