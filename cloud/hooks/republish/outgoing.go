package republish

import "sync"

// message is what a topic is to say; without payload it is taken back. Of a
// value the payload is made when it is sent.
type message struct {
	payload []byte
	value   bool // a reading, of which the newest is enough
}

// outgoing is what waits to be published: one message of each topic, in the
// order in which the topics came. Values wait for their turn; what says who is
// there, and what may be switched, does not wait behind them.
type outgoing struct {
	mu     sync.Mutex // protects the fields below
	words  []string   // topics
	values []string   // topics; those that say no more, or something else now, are passed over
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
	switch {
	case waits && (before.value == m.value || m.value): // it keeps its place
	case m.value:
		o.values = append(o.values, topic)
	default:
		o.words = append(o.words, topic)
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

// said is a message on its way.
type said struct {
	topic string
	message
}

// take gives at most so many messages, words first.
func (o *outgoing) take(most int) (out []said) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, list := range []*[]string{&o.words, &o.values} {
		for ; len(out) < most && len(*list) > 0; *list = (*list)[1:] {
			topic := (*list)[0]
			if m, waits := o.say[topic]; waits {
				out = append(out, said{topic, m})
				delete(o.say, topic)
			}
		}
	}
	return out
}
