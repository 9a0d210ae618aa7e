package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

const (
	// brokerPatience is how long a request waits for a broker that is away; it
	// is back within half a second when it was only restarted.
	brokerPatience = 2 * time.Second
	// maxCollected bounds an answer in parts that is not streamed, in bytes.
	maxCollected = 8 << 20
	// maxEmptyParts is how many parts without anything may follow each other:
	// while nothing is written, nobody notices that the client has gone.
	maxEmptyParts = 1000
)

var (
	errBusy      = errors.New("too many questions wait for their answers; try again")
	errAway      = errors.New("no connection to the broker at the moment; try again")
	errBadAnswer = errors.New("the answer makes no sense")
)

// silentError is a component that did not answer in time.
type silentError struct {
	component string
	request   string // its id on the bus
	command   bool
	waited    time.Duration
}

func (e *silentError) Error() string {
	text := fmt.Sprintf("%s did not answer within %v to request %s; look whether it runs and is connected to the broker", e.component, e.waited, e.request)
	if e.command {
		return text // doing it again is for people to decide
	}
	return text + ", then ask again"
}

// question is one message that wants an answer.
type question struct {
	topic string
	data  json.RawMessage
	wait  time.Duration // for the answer, and again for each further part
	// part gets the parts of an answer in parts; nil collects them.
	part func(json.RawMessage) error
}

// reserve takes n of the places for questions under way, or none.
func (s *Server) reserve(n int) error {
	if s.asking.Add(int64(n)) > int64(s.config.HTTP.Questions) {
		s.release(n)
		return errBusy
	}
	return nil
}

func (s *Server) release(n int) { s.asking.Add(int64(-n)) }

// ask reserves, asks and waits. The envelope's data is empty when part got it.
func (s *Server) ask(q question) (bus.Envelope, error) {
	if err := s.reserve(1); err != nil {
		return bus.Envelope{}, err
	}
	defer s.release(1)
	return s.askReserved(q)
}

// askerOf keeps commands and queries apart.
func (s *Server) askerOf(topic string) *bus.Asker {
	if strings.HasPrefix(topic, "command/") {
		return s.commander
	}
	return s.querier
}

func (s *Server) askReserved(q question) (bus.Envelope, error) {
	patience, cancelPatience := context.WithTimeout(s.life, brokerPatience)
	defer cancelPatience()
	asker := s.askerOf(q.topic)
	if asker.Link().AwaitUp(patience) != nil {
		return bus.Envelope{}, errAway
	}
	ctx, cancel := context.WithCancelCause(s.life)
	defer cancel(nil)
	id := bus.NewID()
	silent := &silentError{component: moduleOf(q.topic), request: id, command: asker == s.commander, waited: q.wait}
	timer := time.AfterFunc(q.wait, func() { cancel(silent) })
	defer timer.Stop()
	collected, empty := joiner{}, 0
	answer, err := asker.OnceAs(ctx, id, q.topic, q.data, func(part json.RawMessage) error {
		timer.Stop() // what follows is our client's time, not the component's
		defer timer.Reset(q.wait)
		if inner, ok := elements(part); ok && len(inner) == 0 {
			if empty++; empty > maxEmptyParts {
				return fmt.Errorf("%w: more than %d parts of it are empty", errBadAnswer, maxEmptyParts)
			}
		} else {
			empty = 0
		}
		if q.part != nil {
			return q.part(part)
		}
		return collected.add(part)
	})
	switch {
	case errors.Is(err, silent):
		return bus.Envelope{}, silent
	case err != nil && s.life.Err() != nil:
		return bus.Envelope{}, errAway
	case errors.Is(err, bus.ErrAnswer):
		_, why, _ := strings.Cut(err.Error(), ": ")
		return bus.Envelope{}, fmt.Errorf("%w: %s", errBadAnswer, why)
	case err != nil:
		return bus.Envelope{}, err
	case answer.Part != nil:
		answer.Data = collected.array()
	}
	return answer, nil
}

// moduleOf is the component or agent of a topic <family>/<module>/...
func moduleOf(topic string) string {
	_, rest, _ := strings.Cut(topic, "/")
	module, _, _ := strings.Cut(rest, "/")
	return module
}

// joiner makes one JSON array of many.
type joiner struct{ b bytes.Buffer }

func (j *joiner) add(part json.RawMessage) error {
	inner, ok := elements(part)
	switch {
	case !ok:
		return fmt.Errorf("%w: a part of it is not an array", errBadAnswer)
	case j.b.Len()+len(inner) > maxCollected:
		return fmt.Errorf("%w: it is longer than %d MiB", errBadAnswer, maxCollected>>20)
	case len(inner) == 0:
		return nil
	}
	if j.b.Len() > 0 {
		j.b.WriteByte(',')
	}
	j.b.Write(inner)
	return nil
}

// array is nil when nothing was added.
func (j *joiner) array() json.RawMessage {
	if j.b.Len() == 0 {
		return nil
	}
	return append(append(json.RawMessage{'['}, j.b.Bytes()...), ']')
}

// elements is what stands between the brackets of an array.
func elements(array json.RawMessage) ([]byte, bool) {
	array = bytes.TrimSpace(array)
	if len(array) < 2 || array[0] != '[' || array[len(array)-1] != ']' {
		return nil, false
	}
	return bytes.TrimSpace(array[1 : len(array)-1]), true
}

func isArray(data json.RawMessage) bool {
	_, ok := elements(data)
	return ok
}
