package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
)

// renderer writes an answer that comes in parts, each a JSON array, as one
// document.
type renderer interface {
	part(w io.Writer, part json.RawMessage) error
	end(w io.Writer) error
}

// begin is what is known when the first word of the answer has come.
type begin struct {
	parts  bool // the document flows from the pipe
	answer bus.Envelope
	err    error
}

// stream asks and answers. An answer in one piece goes to whole; one in parts
// flows through render to the client, and the next part is asked for when the
// client has taken the one before. An answer that breaks off breaks the
// connection: a client must not take half of it for all.
func (s *Server) stream(c *fiber.Ctx, q question, contentType string, render renderer, whole func(bus.Envelope) error) error {
	from, to := io.Pipe()
	first := make(chan begin, 1)
	s.work.Go(func() { s.feed(q, render, to, first) })
	b := <-first
	switch {
	case b.err != nil:
		return b.err
	case b.parts:
		c.Set(fiber.HeaderContentType, contentType)
		c.Context().SetBodyStream(from, -1) // closes the pipe at its end, which ends feed
		return nil
	default:
		return whole(b.answer)
	}
}

func (s *Server) feed(q question, render renderer, to *io.PipeWriter, first chan<- begin) {
	begun := false
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(s.life, "answer panicked", slog.String("topic", q.topic), slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			_ = to.CloseWithError(io.ErrUnexpectedEOF)
			if !begun {
				first <- begin{err: errBadAnswer}
			}
		}
	}()
	q.part = func(part json.RawMessage) error {
		if !begun {
			if !isArray(part) { // while the client can still be told
				return fmt.Errorf("%w: a part of it is not an array", errBadAnswer)
			}
			begun = true
			first <- begin{parts: true}
		}
		return render.part(to, part)
	}
	answer, err := s.ask(q)
	if !begun {
		begun = true
		first <- begin{answer: answer, err: err}
		return
	}
	if err == nil && answer.ErrorText() != "" {
		err = fmt.Errorf("%w: %.200s", errBadAnswer, answer.ErrorText())
	}
	if err == nil {
		err = render.end(to)
	}
	if err != nil {
		s.log.DebugContext(s.life, "answer broken off", slog.String("topic", q.topic), slog.Any("err", err))
	}
	_ = to.CloseWithError(err) // nil is the proper end
}

// render writes an answer in one piece.
func render(c *fiber.Ctx, contentType string, r renderer, data json.RawMessage) error {
	var b bytes.Buffer
	if len(data) > 0 && string(data) != "null" {
		if err := r.part(&b, data); err != nil {
			return err
		}
	}
	if err := r.end(&b); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, contentType)
	return c.Send(b.Bytes())
}

// arrayStream passes arrays on as one array.
type arrayStream struct {
	nanoseconds bool
	begun       bool // the bracket is written
	filled      bool
}

func (a *arrayStream) part(w io.Writer, part json.RawMessage) error {
	if a.nanoseconds {
		part = inNanoseconds(part)
	}
	inner, ok := elements(part)
	if !ok {
		return fmt.Errorf("%w: it is not an array", errBadAnswer)
	}
	opening := ""
	if !a.begun {
		a.begun, opening = true, "["
	}
	if len(inner) > 0 && a.filled {
		opening += ","
	}
	a.filled = a.filled || len(inner) > 0
	if _, err := io.WriteString(w, opening); err != nil {
		return err
	}
	_, err := w.Write(inner)
	return err
}

func (a *arrayStream) end(w io.Writer) error {
	closing := "]"
	if !a.begun {
		closing = "[]"
	}
	_, err := io.WriteString(w, closing)
	return err
}

// The manners of components' errors. A mistake of the asker begins with the
// name of what is wrong, several are joined by semicolons; IoToad's components
// say "Error parsing". What may be tried again ends in these words.
var mistakeForm = regexp.MustCompile(`^([A-Za-z0-9_./\-]{1,80}|"[^"]{0,64}"(?:\.\.\.)?): `)

const (
	oldMistake = "Error parsing"
	tryAgain   = "try again"
)

// statusOfError is the status of an answer that has nothing but an error.
func statusOfError(text string) int {
	switch {
	case strings.HasPrefix(text, oldMistake), mistakeForm.MatchString(text):
		return http.StatusBadRequest
	case strings.HasSuffix(text, tryAgain):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}

// componentProblem is what /api/v1 makes of an answer that is an error; nil when
// it is none.
func componentProblem(component string, answer bus.Envelope) error {
	text := answer.ErrorText()
	if text == "" {
		return nil
	}
	status := statusOfError(text)
	if status == http.StatusBadRequest {
		return mistaken(mistakesOf(text))
	}
	p := newProblem(status, component+" says: "+text)
	p.Component = component
	return p
}

// mistakesOf takes the mistakes apart that a component has joined. A semicolon
// that no name follows is part of a text.
func mistakesOf(text string) []mistake {
	var all []mistake
	for item := range strings.SplitSeq(text, "; ") {
		name := mistakeForm.FindStringSubmatch(item)
		switch {
		case name != nil && !strings.HasPrefix(item, oldMistake):
			all = append(all, mistake{Parameter: strings.Trim(name[1], `".`), Detail: item[len(name[0]):]})
		case len(all) > 0:
			all[len(all)-1].Detail += "; " + item
		default:
			all = append(all, mistake{Detail: item})
		}
	}
	return all
}
