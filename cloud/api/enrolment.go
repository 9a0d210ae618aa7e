package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

// Boxes that wait for their approval ask again every few seconds, all of a
// building perhaps from one address.
const (
	enrolBurst = 60
	enrolEvery = 500 * time.Millisecond
	// askAgain is when a box that waits for its approval should.
	askAgain = 5 * time.Second
)

// enrols is POST /api/v1/enrolments, and .../renew. A box has no token of a
// person: what it knows is a join token or the key in force, which the registry
// checks.
func (s *Server) enrols(verb string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if wait, ok := s.enrolling.take(network(c.IP()), time.Now()); !ok {
			p := newProblem(http.StatusTooManyRequests, "too many enrolments from this address; try again later")
			p.retry = max(wait, time.Second)
			return p
		}
		if err := noParameters(c); err != nil {
			return err
		}
		r, err := s.requestOf(c, verb)
		if err != nil {
			return err
		}
		b, err := readBody(c)
		if err != nil {
			return err
		}
		if r.Content, err = json.Marshal(b.members); err != nil {
			return err
		}
		answer, err := s.askRegistry("command", "enrolment", r)
		if err != nil {
			return err
		}
		var state struct{ State contract.Trust }
		status := http.StatusOK
		if json.Unmarshal(answer.Content, &state) == nil && state.State == contract.Pending {
			status = http.StatusAccepted
			c.Set(fiber.HeaderRetryAfter, seconds(askAgain))
		}
		return sendRegistered(c, status, answer)
	}
}
