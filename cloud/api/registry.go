package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// registrar is the component that keeps places, plugs, gateways and tokens.
const registrar = "registry"

// maxQuestion bounds the message that a request becomes: receivers read no
// longer ones.
const maxQuestion = bus.MaxInflated - 4096

// inventoryWait is how long the registry may take for ten thousand places, many
// times over.
const inventoryWait = time.Minute

// statusOfProblem is the status of what the registry did not do.
var statusOfProblem = map[contract.ProblemKind]int{
	contract.Invalid:  http.StatusBadRequest,
	contract.NotFound: http.StatusNotFound,
	contract.Conflict: http.StatusConflict,
	contract.Changed:  http.StatusPreconditionFailed,
	contract.Denied:   http.StatusForbidden,
	contract.NotNow:   http.StatusServiceUnavailable,
}

// askRegistry asks and gives the answer; a problem in it is an error.
func (s *Server) askRegistry(family, resource string, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	wait := s.config.HTTP.AnswerTimeout
	if resource == "inventory" {
		wait = max(wait, inventoryWait)
	}
	return s.askAs(registrar, family, resource, r, wait)
}

// askAs asks a component that speaks as the registry does.
func (s *Server) askAs(component, family, resource string, r contract.RegistryRequest, wait time.Duration) (contract.RegistryAnswer, error) {
	var result contract.RegistryAnswer
	data, err := json.Marshal(r)
	if err != nil {
		return result, err
	}
	if len(data) > maxQuestion {
		return result, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has become %d bytes, more than the %d that can be passed on; split it", len(data), maxQuestion))
	}
	answer, err := s.ask(question{topic: family + "/" + component + "/" + resource, data: data, wait: wait})
	if err != nil {
		return result, err
	}
	if err := componentProblem(component, answer); err != nil {
		return result, err
	}
	if err := json.Unmarshal(answer.Data, &result); err != nil {
		return result, fmt.Errorf("%w: that of %s has not its form", errBadAnswer, component)
	}
	if result.Problem != nil {
		return result, registryProblem(result.Problem, family == "query")
	}
	return result, nil
}

// registryProblem is a problem of the registry for clients. Every mistake is
// told, however many: they are the lines of a file that somebody must correct.
func registryProblem(p *contract.Problem, parameters bool) *problem {
	status, known := statusOfProblem[p.Kind]
	if !known {
		status = http.StatusBadGateway
	}
	detail := p.Detail
	if len(p.Mistakes) > 0 { // a text of many lines has them once more
		detail, _, _ = strings.Cut(detail, "\n")
	}
	told := newProblem(status, strings.TrimSuffix(detail, ":"))
	if status == http.StatusServiceUnavailable {
		told.retry = time.Second
	}
	for _, m := range p.Mistakes {
		one := mistake{Detail: m.Detail}
		switch {
		case m.Line > 0:
			one.Line, one.Field = m.Line, m.Field
		case parameters:
			one.Parameter = m.Field
		case m.Field != "":
			one.Pointer = "/" + strings.ReplaceAll(pointerEscape.Replace(m.Field), ".", "/")
		}
		told.Errors = append(told.Errors, one)
	}
	return told
}

// requestOf begins the request of whoever asks.
func (s *Server) requestOf(c *fiber.Ctx, verb string) (contract.RegistryRequest, error) {
	who := callerOf(c).who
	if who == "" {
		who = "address " + c.IP()
	}
	r := contract.RegistryRequest{Verb: verb, Who: who, From: c.IP()}
	if c.Params("id") == "" {
		return r, nil
	}
	key, err := pathID(c)
	r.Key = key
	return r, err
}

// lists is GET of a resource of which there are many: its filters are the
// registry's to judge.
func (s *Server) lists(resource string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		q := readQuery(c)
		r, err := s.listRequest(c, q)
		if err != nil {
			return err
		}
		answer, err := s.askRegistry("query", resource, r)
		if err != nil {
			return err
		}
		if !isArray(answer.Content) {
			return fmt.Errorf("%w: the registry gave no list", errBadAnswer)
		}
		return sendPage(c, dated(answer.Content), answer.Next)
	}
}

// listRequest makes a list's filters, cursor and limit of the parameters.
func (s *Server) listRequest(c *fiber.Ctx, q *query) (contract.RegistryRequest, error) {
	r, err := s.requestOf(c, "list")
	if err != nil {
		return r, err
	}
	r.Limit, r.Cursor = q.paging()
	r.Filter = map[string]string{}
	for _, name := range q.order {
		switch {
		case len(q.values[name]) > 1:
			q.mistake(name, "given more than once")
		case name != "limit" && name != "cursor":
			r.Filter[name] = q.text(name)
		}
	}
	return r, mistaken(q.mistakes)
}

// sendPage sends a list whose items are JSON already.
func sendPage(c *fiber.Ctx, items json.RawMessage, next string) error {
	out := struct {
		Items json.RawMessage `json:"items"`
		Next  *string         `json:"next"`
	}{Items: items}
	if next != "" {
		out.Next = cursorOf(next)
	}
	return c.JSON(out)
}

// gets is GET of one of a resource.
func (s *Server) gets(resource string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := noParameters(c); err != nil {
			return err
		}
		r, err := s.requestOf(c, "get")
		if err != nil {
			return err
		}
		answer, err := s.askRegistry("query", resource, r)
		if err != nil {
			return err
		}
		return sendRegistered(c, http.StatusOK, answer)
	}
}

// sendRegistered sends what the registry has answered, with times by RFC 3339.
func sendRegistered(c *fiber.Ctx, status int, answer contract.RegistryAnswer) error {
	answer.Content = dated(answer.Content)
	return sendAsIs(c, status, answer)
}

// sendAsIs sends what the registry has answered.
func sendAsIs(c *fiber.Ctx, status int, answer contract.RegistryAnswer) error {
	if answer.Revision > 0 {
		c.Set(fiber.HeaderETag, entityTagOf(answer.Revision))
	}
	c.Set(fiber.HeaderCacheControl, "no-store") // it may hold a secret that is shown once
	if len(answer.Content) == 0 || string(answer.Content) == "null" {
		return c.SendStatus(http.StatusNoContent)
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Status(status).Send(append(answer.Content, '\n'))
}

func entityTagOf(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// placeOf is the path of something new, by the member that names it.
func placeOf(list string, content json.RawMessage) string {
	var names struct{ ID, Device, Gateway string }
	if json.Unmarshal(content, &names) != nil {
		return ""
	}
	for _, name := range []string{names.ID, names.Device, names.Gateway} {
		if topicLevel.MatchString(name) {
			return strings.TrimSuffix(list, "/") + "/" + name
		}
	}
	return ""
}

// secondsMember is a time as the bus writes it, in the members that hold one.
// Inside a JSON text its quotes would be escaped.
var secondsMember = regexp.MustCompile(`"(at|created|expires|issued|join_expires|seen)":(-?[0-9]+(?:\.[0-9]+)?)([,}])`)

// dated gives the times of a document by RFC 3339, as all of /api/v1 does.
func dated(document json.RawMessage) json.RawMessage { return datedBy(secondsMember, document) }

// datedBy does so for the members that an expression like [secondsMember] finds.
func datedBy(members *regexp.Regexp, document json.RawMessage) json.RawMessage {
	return members.ReplaceAllFunc(document, func(found []byte) []byte {
		parts := members.FindSubmatch(found)
		var at device.Micros
		if at.UnmarshalJSON(parts[2]) != nil {
			return found
		}
		out := append([]byte{'"'}, parts[1]...)
		out = append(out, `":"`...)
		out = appendTime(out, at, time.UTC)
		return append(append(out, '"'), parts[3]...)
	})
}
