package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// maxAnswers bounds the answers to one request that wait to be looked at; an
// answerer that sends more is cut off. Each request reserves room for them (32
// kB), so it is also what thousands of requests under way cost.
const maxAnswers = 256

// maxWaiting bounds the same in bytes: while a part is handed to somebody slow,
// an answerer must not fill the memory.
const maxWaiting = 16 << 20

// ErrAnswer is the class of answers that make no sense.
var ErrAnswer = errors.New("the answer makes no sense")

// waiter is where the answers to one request wait.
type waiter struct {
	answers chan Envelope
	held    atomic.Int64 // bytes
}

func sizeOf(e Envelope) int64 { return int64(len(e.Data) + len(e.Error)) }

// put hands an answer over, or reports false when there is no room. The first
// always has.
func (w *waiter) put(e Envelope) bool {
	size := sizeOf(e)
	if held := w.held.Add(size); held > maxWaiting && held > size {
		w.held.Add(-size)
		return false
	}
	select {
	case w.answers <- e:
		return true
	default:
		w.held.Add(-size)
		return false
	}
}

// NewID draws 128 random bits, as 32 hex digits: an id nobody can guess.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}

// Asker asks over the bus and hears the answers, on responses/<name>/<id>. It
// has a link of its own. Safe for concurrent use.
type Asker struct {
	name string
	link *Link

	mu      sync.Mutex // protects waiting
	waiting map[string]*waiter
	strays  func() // counts answers that nobody waits for
}

// NewAsker allocates an asker; name is one or more topic levels that no other
// asker has. stray, if not nil, is called for each answer that came too late or
// to nobody.
func NewAsker(name string, options Options, stray func(), log *slog.Logger) *Asker {
	a := &Asker{name: name, waiting: make(map[string]*waiter), strays: stray}
	up := options.Up
	options.Up = func(ctx context.Context, s *Session) error {
		if err := s.Subscribe(ctx, Responses(name), a.hear); err != nil {
			return err
		}
		if up != nil {
			return up(ctx, s)
		}
		return nil
	}
	a.link = NewLink(options, log)
	return a
}

// Run keeps the connection until ctx ends.
func (a *Asker) Run(ctx context.Context) error { return a.link.Run(ctx) }

// Link is the asker's connection, for messages that want no answer.
func (a *Asker) Link() *Link { return a.link }

// hear hands an answer to whoever waits for it: the last level of the topic says
// who. The topic may be the asker's own, without a level below it, which the
// filter matches too (MQTT 3.1.1 section 4.7.1.2). An answer that does not decode
// is handed on as an error.
func (a *Asker) hear(m Message) {
	id := m.Topic[strings.LastIndexByte(m.Topic, '/')+1:]
	answer, err := Decode(m.Payload)
	if err != nil {
		answer.Error = Text("the answer could not be read: " + err.Error())
	}
	a.mu.Lock()
	waiting := a.waiting[id]
	a.mu.Unlock()
	if waiting == nil || !waiting.put(answer) {
		a.stray()
	}
}

func (a *Asker) stray() {
	if a.strays != nil {
		a.strays()
	}
}

// Ask sends the request and gives every answer to each, until each wants no
// more, fails, or ctx ends. below is put between the asker's name and the id in
// the response topic; it may be empty. The request's ID is set when empty.
func (a *Asker) Ask(ctx context.Context, topic, below string, request Envelope, each func(Envelope) (more bool, err error)) error {
	if err := CheckTopic(topic); err != nil {
		return err
	}
	key := NewID()
	if request.ID == "" {
		request.ID = key
	}
	request.ResponseTopic = responsesPrefix + a.name + "/" + key
	if below != "" {
		request.ResponseTopic = responsesPrefix + a.name + "/" + below + "/" + key
	}
	waiting := &waiter{answers: make(chan Envelope, maxAnswers)}
	a.mu.Lock()
	a.waiting[key] = waiting
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, key)
		a.mu.Unlock()
	}()
	payload, err := request.Encode()
	if err != nil {
		return err
	}
	if err := a.link.Publish(ctx, Message{Topic: topic, Payload: payload}); err != nil {
		return err
	}
	for {
		select {
		case answer := <-waiting.answers:
			waiting.held.Add(-sizeOf(answer))
			if more, err := each(answer); err != nil || !more {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for the answer to %s: %w", topic, context.Cause(ctx))
		}
	}
}

// Once asks and gives the one answer, whole: the parts of a long one are
// fetched one after the other and handed to part as they come. The envelope
// returned is the last one; its Data has been handed over already when the
// answer had parts. With part nil there must be none.
func (a *Asker) Once(ctx context.Context, topic string, data json.RawMessage, part func(json.RawMessage) error) (Envelope, error) {
	return a.OnceAs(ctx, NewID(), topic, data, part)
}

// OnceAs is Once with the request's id. An answer that names another id is none
// to this request: it is counted, and the right one is waited for. Its error
// wraps [ErrAnswer] when the answerer is to blame.
func (a *Asker) OnceAs(ctx context.Context, id, topic string, data json.RawMessage, part func(json.RawMessage) error) (Envelope, error) {
	var last Envelope
	next := 0
	err := a.Ask(ctx, topic, "", Envelope{ID: id, Data: data}, func(answer Envelope) (bool, error) {
		if answer.ID != "" && answer.ID != id {
			a.stray()
			return true, nil
		}
		last = answer
		if answer.Part == nil {
			if next > 0 && len(answer.Error) == 0 {
				return false, fmt.Errorf("%w: after %d parts came a whole one", ErrAnswer, next)
			}
			return false, nil
		}
		switch {
		case part == nil:
			return false, fmt.Errorf("%w: it comes in parts, which nobody expects", ErrAnswer)
		case *answer.Part < next:
			return true, nil // delivered twice
		case *answer.Part > next:
			return false, fmt.Errorf("%w: part %d came where part %d should", ErrAnswer, *answer.Part, next)
		}
		next++
		if len(answer.Data) > 0 {
			if err := part(answer.Data); err != nil {
				return false, err
			}
		}
		if answer.Last || len(answer.Error) > 0 {
			return false, nil
		}
		return true, a.more(ctx, answer, next)
	})
	if err != nil && last.Part != nil && !last.Last {
		a.leave(last)
	}
	return last, err
}

// leave tells the answerer that nobody wants the rest, so that it need not find
// out by waiting. Best effort.
func (a *Asker) leave(answer Envelope) {
	if checkPartsTopic(answer.ResponseTopic) != nil {
		return
	}
	payload, err := Envelope{ID: answer.ID, Error: Text("the asker has gone")}.Encode()
	if err == nil {
		_ = a.link.Send(Message{Topic: answer.ResponseTopic, Payload: payload})
	}
}

// more asks the answerer for part n.
func (a *Asker) more(ctx context.Context, answer Envelope, n int) error {
	if err := checkPartsTopic(answer.ResponseTopic); err != nil {
		return err
	}
	payload, err := Envelope{ID: answer.ID, Part: &n}.Encode()
	if err != nil {
		return err
	}
	return a.link.Publish(ctx, Message{Topic: answer.ResponseTopic, Payload: payload})
}

// checkPartsTopic says what is wrong with where an answerer wants to be asked
// for more. An asker may publish more than the answerer may, and must not be led
// to do so.
func checkPartsTopic(topic string) error {
	if !strings.HasPrefix(topic, responsesPrefix) || CheckTopic(topic) != nil {
		return fmt.Errorf("%w: it has more parts and says no topic below %s to ask for them", ErrAnswer, responsesPrefix)
	}
	return nil
}
