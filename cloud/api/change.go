package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

// does is a command about a resource. Created things are 201, and their answer
// says where they are; without content the answer is 204.
func (s *Server) does(resource, verb string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		r, err := s.commandRequest(c, verb)
		if err != nil {
			return err
		}
		if resource == "places" { // whose answer has a form that takes the site
			if _, err := s.knownSite(); err != nil {
				return err
			}
		}
		answer, err := s.askRegistry("command", resource, r)
		if err != nil {
			return err
		}
		if !r.DryRun {
			s.awaitHeard(resource, r, answer)
		}
		status := http.StatusOK
		if verb == "create" && !r.DryRun {
			status = http.StatusCreated
			if where := placeOf(c.Path(), answer.Content); where != "" {
				c.Set(fiber.HeaderLocation, where)
			}
		}
		if answer.Content, err = s.asDevice(resource, verb, answer.Content); err != nil {
			return err
		}
		return sendRegistered(c, status, answer)
	}
}

// bodiless are the commands that may do without a body.
var bodiless = map[string]bool{"delete": true, "unplug": true, "join": true, "approve": true, "refuse": true, "revoke": true}

// beginCommand begins a command with what all have in common: If-Match, reason
// and dry_run.
func (s *Server) beginCommand(c *fiber.Ctx, verb string) (contract.RegistryRequest, error) {
	r, err := s.requestOf(c, verb)
	if err != nil {
		return r, err
	}
	q := readQuery(c)
	q.allow("reason", "dry_run")
	q.common(&r)
	if err := mistaken(q.mistakes); err != nil {
		return r, err
	}
	r.Revision, err = revisionOf(c)
	return r, err
}

// commandRequest reads a command whose content is its body.
func (s *Server) commandRequest(c *fiber.Ctx, verb string) (contract.RegistryRequest, error) {
	r, err := s.beginCommand(c, verb)
	if err != nil {
		return r, err
	}
	if len(c.BodyRaw()) == 0 && bodiless[verb] {
		return r, nil
	}
	b, err := readBody(c)
	if err != nil {
		return r, err
	}
	if verb == "create" { // what is called id in answers may be called so here
		b.rename("id", map[string]string{"/api/v1/devices": "device", "/api/v1/gateways": "gateway"}[strings.TrimSuffix(c.Path(), "/")])
	}
	r.Content, err = json.Marshal(b.members)
	return r, err
}

// rename gives a member another name, unless there is one of that already.
func (b *body) rename(from, to string) {
	value, given := b.members[from]
	if _, both := b.members[to]; given && to != "" && !both {
		b.members[to] = value
		delete(b.members, from)
	}
}

// common reads the parameters of every command.
func (q *query) common(r *contract.RegistryRequest) {
	if r.Reason = q.text("reason"); len(r.Reason) > maxText {
		q.mistake("reason", fmt.Sprintf("longer than %d bytes", maxText))
	}
	r.DryRun = q.boolean("dry_run")
}

// boolean is a parameter that is true or false, the latter when it is not given.
func (q *query) boolean(name string) bool {
	switch q.text(name) {
	case "", "false":
		return false
	case "true":
		return true
	default:
		q.mistake(name, "neither true nor false")
		return false
	}
}

var entityTag = regexp.MustCompile(`^"([1-9][0-9]{0,18})"$`)

// revisionOf reads If-Match (RFC 9110 section 13.1.1): the revision that the
// client has seen, 0 when any will do. A tag that is none of ours never matches.
func revisionOf(c *fiber.Ctx) (uint64, error) {
	text := strings.TrimSpace(c.Get(fiber.HeaderIfMatch))
	if text == "" || text == "*" {
		return 0, nil
	}
	if tag := entityTag.FindStringSubmatch(text); tag != nil {
		if n, err := strconv.ParseUint(tag[1], 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, newProblem(http.StatusPreconditionFailed, "If-Match is "+shorten(strconv.Quote(text))+", which is no ETag of this server; look again and send the ETag that comes with what you see")
}
