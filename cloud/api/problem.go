package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// maxMistakes bounds how many mistakes of one request are told.
const maxMistakes = 32

// problem is an error as clients see it (RFC 9457). The members behind errors
// are extensions, for what became of a switch.
type problem struct {
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail,omitempty"`
	Errors []mistake `json:"errors,omitempty"`

	Component string           `json:"component,omitempty"`
	Request   string           `json:"request,omitempty"` // its id on the bus
	Command   string           `json:"command,omitempty"`
	Device    string           `json:"device,omitempty"`
	Gateway   string           `json:"gateway,omitempty"`
	Outcome   contract.Outcome `json:"outcome,omitempty"`

	retry     time.Duration // when the client may try again; 0 says nothing
	challenge string        // WWW-Authenticate, of a 401
}

// mistake is one thing wrong with a request: a query parameter, or the place in
// the body that the JSON pointer (RFC 6901) leads to.
type mistake struct {
	Parameter string `json:"parameter,omitempty"`
	Pointer   string `json:"pointer,omitempty"`
	// Line and Field are a place in a file of many lines.
	Line   int    `json:"line,omitempty"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail) }

func newProblem(status int, detail string) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Detail: detail}
}

// mistaken is the problem of a request with mistakes; nil when there are none.
func mistaken(mistakes []mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	p := newProblem(http.StatusBadRequest, "the request has a mistake")
	if n := len(mistakes); n > 1 {
		p.Detail = fmt.Sprintf("the request has %d mistakes", n)
	}
	p.Errors = mistakes[:min(len(mistakes), maxMistakes)]
	return p
}

// problemOf is the one place where errors become status codes. Text of the
// inside of Wattline, or of a library, does not get out.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if silent, ok := errors.AsType[*silentError](err); ok {
		p := newProblem(http.StatusGatewayTimeout, silent.Error())
		p.Component, p.Request = silent.component, silent.request
		return p
	}
	switch {
	case errors.Is(err, bus.ErrTopic):
		return newProblem(http.StatusBadRequest, err.Error())
	case errors.Is(err, errBusy):
		p := newProblem(http.StatusServiceUnavailable, err.Error())
		p.retry = time.Second
		return p
	case errors.Is(err, errAway), errors.Is(err, bus.ErrDown):
		p := newProblem(http.StatusServiceUnavailable, errAway.Error())
		p.retry = time.Second
		return p
	case errors.Is(err, errBadAnswer):
		return newProblem(http.StatusBadGateway, err.Error())
	}
	if f, ok := errors.AsType[*fiber.Error](err); ok {
		return libraryProblem(f.Code)
	}
	return newProblem(http.StatusInternalServerError, "internal error; the log of the api says more")
}

func libraryProblem(status int) *problem {
	details := map[int]string{
		http.StatusBadRequest:                  "the request is not well-formed HTTP",
		http.StatusNotFound:                    "no such route; / lists what there is",
		http.StatusMethodNotAllowed:            "the route exists, but not with this method; see the header Allow",
		http.StatusRequestTimeout:              "the request took too long to arrive",
		http.StatusRequestEntityTooLarge:       "the body is larger than the server takes",
		http.StatusRequestHeaderFieldsTooLarge: "request line and header are larger than the server takes",
	}
	if http.StatusText(status) == "" {
		status = http.StatusInternalServerError
	}
	return newProblem(status, details[status])
}

// encode writes JSON for people too: with a line break at its end, and without
// escapes for HTML, which this is not.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// fail answers with the problem of err. After a failure of ours the connection
// ends: a client that sent a hundred more questions to nobody without waiting,
// and left, would otherwise hold its place until each has timed out.
func (s *Server) fail(c *fiber.Ctx, err error) error {
	p := problemOf(err)
	body, err := encode(p)
	if err != nil {
		body = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	if p.retry > 0 {
		c.Set(fiber.HeaderRetryAfter, seconds(p.retry))
	}
	if p.challenge != "" {
		c.Set(fiber.HeaderWWWAuthenticate, p.challenge)
	}
	c.Set(fiber.HeaderContentType, "application/problem+json")
	if p.Status >= http.StatusInternalServerError {
		c.Context().SetConnectionClose()
	}
	return c.Status(p.Status).Send(body)
}

// seconds are whole ones, rounded up, as Retry-After has them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.0f", math.Ceil(d.Seconds())) }
