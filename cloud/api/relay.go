package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// maxSubtopics bounds the messages that one request makes.
const maxSubtopics = 1000

// reply is an answer as clients of the relay see it: never an id or a response
// topic, and what the module left out is left out.
type reply struct {
	Data  json.RawMessage `json:"data,omitempty"`
	Error json.RawMessage `json:"error,omitempty"`
}

// target takes the agent or component and the subpath out of the URL. One
// trailing slash means nothing.
func target(c *fiber.Ctx) (module, subpath string, err error) {
	raw := strings.TrimSuffix(c.Params("*"), "/")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return "", "", mistaken([]mistake{{Detail: "the path is not well escaped"}})
	}
	module, subpath, _ = strings.Cut(path, "/")
	switch {
	case module == "":
		return "", "", fiber.ErrNotFound
	case module == registrar || module == alerter || module == keeper && strings.Trim(subpath, "/") == switchesPath:
		return "", "", newProblem(http.StatusForbidden, "the relay does not lead there; /api/v1 has routes for the registry, the alerts and the audit log, which look at who asks")
	case module == archivist || strings.HasSuffix(module, "_copy"): // whole files of the roles
		return "", "", newProblem(http.StatusForbidden, "the relay does not lead there: what a backup is made of is for the backup alone")
	}
	return module, subpath, nil
}

// relayIn is PUT /api/in/<agent>/<subpath>: a command for any agent, one message
// per subtopic. The answer has a member for each topic, null for one that did
// not answer in time; the status is 200 only when all were reached.
func (s *Server) relayIn(c *fiber.Ctx) error {
	agent, subpath, err := target(c)
	if err != nil {
		return err
	}
	if who := callerOf(c); agent == keeper && !covers(who.role, contract.Admin) {
		return s.denied(c, who, "what is in quarantine is replayed by an admin; that is POST /api/v1/quarantine/{id}/replay")
	}
	b, err := readBody(c)
	if err != nil {
		return err
	}
	payload, given := b.members["payload"]
	if !given {
		b.mistake("payload", "required: what to send to the agent")
	}
	subtopics, listed := b.subtopics()
	b.known("payload", "subtopics")
	topics := commandTopics(b, agent, subpath, subtopics, listed)
	if err := mistaken(b.mistakes); err != nil {
		return err
	}
	if err := s.reserve(len(topics)); err != nil {
		return err
	}
	defer s.release(len(topics))
	who := callerOf(c)
	wait := s.config.HTTP.AnswerTimeout
	if agent == switcher {
		payload = signed(payload, who.who)
		wait = s.relayPatience(topics)
	}
	replies, status, err := s.command(topics, payload, wait)
	if who.anonymous {
		s.noteAnonymous(c, who, agent+"/"+subpath, status, err)
	}
	if err != nil {
		return err
	}
	return sendReplies(c, status, topics, replies)
}

// commandTopics builds the topic of each subtopic, once each.
func commandTopics(b *body, agent, subpath string, subtopics []string, listed bool) []string {
	if !listed {
		topic, err := bus.Command(agent, subpath)
		if err != nil {
			b.mistakes = append(b.mistakes, mistake{Detail: "path: " + err.Error()})
		}
		return []string{topic}
	}
	var topics []string
	seen := map[string]bool{}
	for i, sub := range subtopics {
		path := sub
		if subpath != "" {
			path = subpath + "/" + sub
		}
		topic, err := bus.Command(agent, path)
		if err == nil && sub == "" {
			err = fmt.Errorf("%w: an empty subtopic", bus.ErrTopic)
		}
		switch {
		case err != nil:
			b.mistake(fmt.Sprintf("subtopics/%d", i), err.Error())
		case !seen[topic]:
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

// command asks all topics at once. A topic that got no answer has nil; one that
// could not be asked has an error of its own, unless none could: the others may
// have been obeyed.
func (s *Server) command(topics []string, payload json.RawMessage, wait time.Duration) (replies []*reply, status int, err error) {
	replies = make([]*reply, len(topics))
	errs := make([]error, len(topics))
	var all sync.WaitGroup
	ask := func(i int) {
		answer, err := s.askReserved(question{topic: topics[i], data: payload, wait: wait})
		if err != nil {
			errs[i] = err
			return
		}
		replies[i] = &reply{answer.Data, answer.Error}
	}
	for i := range topics[1:] {
		all.Go(func() { ask(i + 1) })
	}
	ask(0)
	all.Wait()
	failed := 0
	status = http.StatusOK
	for i, err := range errs {
		if err == nil {
			continue
		}
		p := problemOf(err)
		if p.Status != http.StatusGatewayTimeout {
			failed++
			replies[i] = &reply{Error: bus.Text(p.Detail)}
		}
		if status != http.StatusGatewayTimeout {
			status = p.Status
		}
	}
	if failed == len(topics) {
		return nil, 0, errs[0]
	}
	return replies, status, nil
}

func sendReplies(c *fiber.Ctx, status int, topics []string, replies []*reply) error {
	var b bytes.Buffer
	for i, topic := range topics {
		b.WriteByte("{,"[min(i, 1)])
		name, err := json.Marshal(strings.TrimPrefix(topic, "command/"))
		if err != nil {
			return err
		}
		value, err := json.Marshal(replies[i])
		if err != nil {
			return fmt.Errorf("%w: %w", errBadAnswer, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	if status != http.StatusOK {
		c.Context().SetConnectionClose() // as in fail
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Status(status).Send(b.Bytes())
}

// relayOut is GET /api/out/<component>/<subpath>: a question to any component,
// with the query's parameters as its data.
func (s *Server) relayOut(c *fiber.Ctx) error {
	component, subpath, err := target(c)
	if err != nil {
		return err
	}
	topic, err := bus.Query(component, subpath)
	if err != nil {
		return mistaken([]mistake{{Detail: "path: " + err.Error()}})
	}
	q := readQuery(c)
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	data, err := json.Marshal(q.joined())
	if err != nil {
		return err
	}
	if who := callerOf(c); who.anonymous {
		s.noteSparingly(c, contract.Audited{Who: who.who, What: "read by relay", Result: done}, s.read)
	}
	array := &arrayStream{nanoseconds: s.config.IoToad.Nanoseconds}
	return s.stream(c, question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout}, fiber.MIMEApplicationJSON, array,
		func(answer bus.Envelope) error { return s.sendRelayed(c, answer) })
}

// sendRelayed answers with an answer in one piece: the bare array, or else data
// and error.
func (s *Server) sendRelayed(c *fiber.Ctx, answer bus.Envelope) error {
	failed := len(answer.Error) > 0 && answer.ErrorText() != ""
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	if isArray(answer.Data) && !failed {
		if s.config.IoToad.Nanoseconds {
			return c.Send(inNanoseconds(answer.Data))
		}
		return c.Send(answer.Data)
	}
	text, err := json.Marshal(reply{answer.Data, answer.Error})
	if err != nil {
		return fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	if failed && (len(answer.Data) == 0 || string(answer.Data) == "null") {
		c.Status(statusOfError(answer.ErrorText()))
	}
	return c.Send(text)
}
