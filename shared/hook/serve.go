package hook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// Limits of a component.
const (
	handlers    = 16               // requests handled at once, unless the component says otherwise
	queued      = 256              // requests that wait
	requestTime = 30 * time.Second // for one request, unless the component says otherwise
	nextPart    = 30 * time.Second // how long the asker may take to ask for the next part
	answerLimit = 1 << 20          // bytes of one part
)

// Family is the kind of requests that a component serves.
type Family string

// The families.
const (
	Queries  Family = "query"
	Commands Family = "command"
)

// Component answers the requests of one family below its name.
type Component struct {
	Name   string
	Family Family
	// Timeout bounds one request; 0 means 30 s.
	Timeout time.Duration
	// Concurrent is how many requests are handled at once; 0 means 16.
	Concurrent int
	// Handle answers one request. An error becomes the answer's error, word for
	// word, unless the handler has answered already. Called concurrently.
	Handle func(ctx context.Context, r Request, w *Answer) error
	// Malformed counts requests that could not be read; may be nil.
	Malformed func()
}

// Request is one query or command.
type Request struct {
	// Subpath is the topic below the component's name, Data the content.
	Subpath   string
	ID        string
	Data      json.RawMessage
	Subtopics []string
	// Wanted tells whether anybody waits for the answer.
	Wanted bool
}

// Serve connects and answers requests until ctx ends; requests under way then
// are cut off, and their askers hear nothing.
func (c Component) Serve(ctx context.Context, options bus.Options, log *slog.Logger) error {
	s := &server{Component: c, log: log, work: make(chan bus.Message, queued), open: make(map[string]chan int), instance: Instance()}
	own := "responses/" + c.Name + "/" + s.instance + "/parts/#"
	up := options.Up
	options.Up = func(ctx context.Context, session *bus.Session) error {
		if err := session.Subscribe(ctx, own, s.next); err != nil || up == nil {
			return err
		}
		return up(ctx, session)
	}
	// The filter matches the topic without a subpath too (MQTT 3.1.1 section
	// 4.7.1.2); a second one for it would handle such a request twice.
	s.link = NewListener(c.Name, options, log, s.take, string(c.Family)+"/"+c.Name+"/#")
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range cmp.Or(c.Concurrent, handlers) {
		workers.Go(func() { s.workUntil(ctx) })
	}
	err := s.link.Run(ctx)
	stop() // it may have ended before ctx, with an error
	workers.Wait()
	return err
}

type server struct {
	Component
	log      *slog.Logger
	link     *bus.Link
	work     chan bus.Message
	instance string
	sparing  Sparing

	mu   sync.Mutex // protects open
	open map[string]chan int
}

// take hands a request to the workers; when all are busy and the queue is full
// it is refused, so that the asker need not wait for nothing.
func (s *server) take(m bus.Message) {
	select {
	case s.work <- m:
	default:
		if e, err := bus.Decode(m.Payload); err == nil && bus.IsResponse(e.ResponseTopic) {
			s.send(e.ResponseTopic, bus.Envelope{ID: e.ID, Error: bus.Text(s.Name + " is busy, try again")})
		}
	}
}

// nobody stands for the part that an asker wants who wants no more.
const nobody = -1

// next notes that an asker wants the next part of its answer, or has gone.
func (s *server) next(m bus.Message) {
	e, err := bus.Decode(m.Payload)
	if err != nil || e.Part == nil && len(e.Error) == 0 {
		return
	}
	part := nobody
	if len(e.Error) == 0 {
		part = *e.Part
	}
	s.mu.Lock()
	wanted := s.open[m.Topic]
	s.mu.Unlock()
	select {
	case wanted <- part: // a nil channel is never ready
	default:
	}
}

func (s *server) workUntil(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.work:
			s.handle(ctx, m)
		}
	}
}

func (s *server) handle(ctx context.Context, m bus.Message) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Timeout, requestTime))
	defer cancel()
	e, err := bus.Decode(m.Payload)
	answer := &Answer{server: s, id: e.ID, topic: e.ResponseTopic}
	if answer.topic != "" && !bus.IsResponse(answer.topic) {
		err = errors.Join(err, errors.New("the response topic is not below responses/"))
		answer.topic = ""
	}
	if err != nil {
		if s.Malformed != nil {
			s.Malformed()
		}
		if s.sparing.May(m.Topic) {
			s.log.WarnContext(ctx, "malformed request", slog.String("component", s.Name), slog.String("topic", m.Topic), slog.Any("err", err))
		}
		answer.end(ctx, err)
		return
	}
	r := Request{Subpath: bus.Subpath(m.Topic), ID: e.ID, Data: e.Data, Subtopics: e.Subtopics, Wanted: answer.topic != ""}
	answer.end(ctx, s.guard(ctx, r, answer))
}

// guard keeps a panic of one request from the others.
func (s *server) guard(ctx context.Context, r Request, w *Answer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "request panicked", slog.String("component", s.Name), slog.String("topic", r.Subpath),
				slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			err = errors.New("internal error")
		}
	}()
	return s.Handle(ctx, r, w)
}

func (s *server) send(topic string, e bus.Envelope) {
	if topic == "" {
		return
	}
	payload, err := e.Encode()
	if err != nil {
		payload, _ = bus.Envelope{ID: e.ID, Error: bus.Text("the answer could not be encoded")}.Encode()
	}
	if err := s.link.Send(bus.Message{Topic: topic, Payload: payload}); err != nil {
		s.log.Debug("answer not sent", slog.String("topic", topic), slog.Any("err", err))
	}
}

// Answer is how a handler answers: either once with Data and Error, or in parts.
type Answer struct {
	server   *server
	id       string
	topic    string
	answered bool
	part     int
	held     json.RawMessage // the newest part, kept until it is known whether another follows
	// where the asker says that it wants what follows the part sent last, and
	// what it said; wanted is nil before one was sent.
	where  string
	wanted chan int
}

// Send answers in one piece, with data, error or both; either may be nil.
func (a *Answer) Send(data, failure json.RawMessage) {
	if a.answered {
		return
	}
	a.answered = true
	a.server.send(a.topic, bus.Envelope{ID: a.id, Data: data, Error: failure})
}

// Part adds a part to a long answer, a JSON array that the asker joins to those
// before. Each is sent when the asker has asked for it, and Part waits until the
// one before has been: an answer of any length takes bounded memory on the way,
// and the next part is made while the asker looks at the last. An asker that
// stops asking gives an error. data is kept until it is sent. The answer ends
// when the handler returns.
func (a *Answer) Part(ctx context.Context, data json.RawMessage) error {
	if len(data) > answerLimit {
		return fmt.Errorf("part of %d bytes, at most %d fit", len(data), answerLimit)
	}
	if a.held == nil {
		a.held = data
		return nil
	}
	if a.topic == "" {
		return nil
	}
	if err := a.turn(ctx); err != nil {
		return err
	}
	a.where = fmt.Sprintf("responses/%s/%s/parts/%s", a.server.Name, a.server.instance, bus.NewID())
	a.wanted = make(chan int, 1)
	a.server.mu.Lock()
	a.server.open[a.where] = a.wanted
	a.server.mu.Unlock()
	n := a.part
	a.server.send(a.topic, bus.Envelope{ID: a.id, ResponseTopic: a.where, Part: &n, Data: a.held})
	a.part++
	a.held = data
	return nil
}

// turn waits until the asker has asked for what follows the part that was sent
// last, if one was.
func (a *Answer) turn(ctx context.Context) error {
	if a.wanted == nil {
		return nil
	}
	defer a.forget()
	patience := time.NewTimer(nextPart)
	defer patience.Stop()
	select {
	case part := <-a.wanted:
		if part == nobody {
			a.answered = true
			return errors.New("the asker has gone")
		}
		return nil
	case <-patience.C:
		a.answered = true
		return errors.New("the asker stopped asking")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget stops listening for the asker's wish.
func (a *Answer) forget() {
	a.server.mu.Lock()
	delete(a.server.open, a.where)
	a.server.mu.Unlock()
	a.wanted = nil
}

// end closes the answer with what is left, when it is wanted, or with the error.
func (a *Answer) end(ctx context.Context, err error) {
	if err == nil && !a.answered {
		err = a.turn(ctx)
	}
	if a.wanted != nil {
		a.forget()
	}
	if a.answered {
		return
	}
	a.answered = true
	e := bus.Envelope{ID: a.id, Data: a.held}
	if a.part > 0 {
		n := a.part
		e.Part, e.Last = &n, true
	}
	if err != nil {
		e.Data, e.Error = nil, bus.Text(err.Error())
	}
	a.server.send(a.topic, e)
}
