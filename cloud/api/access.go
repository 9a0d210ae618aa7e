package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Clients that show wrong tokens may do so often enough to mistype, and then
// once in a while. A right token always opens: it has 256 random bits, and who
// shares an address with a stranger must not be locked out by him.
const (
	wrongBurst = 10
	wrongEvery = 6 * time.Second
)

// localCaller is where a request keeps who it is from.
const localCaller = "caller"

// access is what a route asks of whoever wants to use it.
type access struct {
	role contract.Role // "" opens it to everybody
	// floors tells that the route keeps to the floors of a token; other routes
	// are closed to tokens that have floors.
	floors bool
	// relay tells that clients of the predecessor may use it without a token,
	// where the configuration lets them.
	relay bool
}

var (
	open          = access{}
	looks         = access{role: contract.Viewer, floors: true}
	looksAll      = access{role: contract.Viewer}
	switches      = access{role: contract.Operator, floors: true}
	changes       = access{role: contract.Admin}
	relayReads    = access{role: contract.Viewer, relay: true}
	relayControls = access{role: contract.Operator, relay: true}
)

// roles in the order of what they may.
var roles = []contract.Role{contract.Viewer, contract.Operator, contract.Admin}

func covers(has, needs contract.Role) bool {
	return slices.Index(roles, has) >= slices.Index(roles, needs)
}

// caller is who a request is from.
type caller struct {
	who    string // as the audit log names him
	role   contract.Role
	floors []int // nil means all
	// anonymous tells a client of the predecessor without a token.
	anonymous bool
}

// callerOf gives who the request is from, once it was admitted.
func callerOf(c *fiber.Ctx) caller {
	who, _ := c.Locals(localCaller).(caller) // nobody, who may nothing, before
	return who
}

// admit lets a request through to its route, or says why not.
func (s *Server) admit(c *fiber.Ctx, needs access) error {
	if needs.role == "" {
		return nil
	}
	who, err := s.identify(c, needs)
	if err != nil {
		return err
	}
	c.Locals(localCaller, who)
	switch {
	case !covers(who.role, needs.role) && who.anonymous:
		return s.denied(c, who, "clients without a token may only read here (iotoad.anonymous.allow is read)")
	case !covers(who.role, needs.role):
		return s.denied(c, who, fmt.Sprintf("this needs the role %s; the token %q has %s. An admin can make another token", needs.role, who.who, who.role))
	case who.floors != nil && !needs.floors:
		return s.denied(c, who, fmt.Sprintf("the token %q is limited to %s, and this is about the whole site", who.who, floorsText(who.floors)))
	}
	return nil
}

// identify finds out who the request is from.
func (s *Server) identify(c *fiber.Ctx, needs access) (caller, error) {
	secret, shown := bearer(c)
	switch {
	case shown:
		return s.holder(c, secret)
	case !s.guarded:
		return caller{who: "api " + c.IP(), role: contract.Admin}, nil
	case needs.relay && s.fromNetwork(c):
		role := contract.Viewer
		if s.config.IoToad.Anonymous.Allow == AllowControl {
			role = contract.Operator
		}
		return caller{who: "iotoad " + c.IP(), role: role, anonymous: true}, nil
	}
	p := newProblem(http.StatusUnauthorized, "this needs a token; send it in the header Authorization: Bearer <token>. An admin of the site makes one")
	p.challenge = `Bearer realm="Wattline"`
	return caller{}, p
}

// bearer is the token in the header (RFC 6750 section 2.1); other schemes are
// as good as none.
func bearer(c *fiber.Ctx) (secret string, shown bool) {
	scheme, secret, _ := strings.Cut(strings.TrimSpace(c.Get(fiber.HeaderAuthorization)), " ")
	return strings.TrimSpace(secret), strings.EqualFold(scheme, "bearer")
}

// holder is who holds the token.
func (s *Server) holder(c *fiber.Ctx, secret string) (caller, error) {
	t, known, early := s.house.Token(secret)
	switch {
	case !known && early:
		p := newProblem(http.StatusServiceUnavailable, "the tokens have not all been heard yet; try again")
		p.retry = time.Second
		return caller{}, p
	case !known:
		return caller{}, s.wrongToken(c)
	case t.Expires != nil && *t.Expires <= device.MicrosOf(time.Now()):
		return caller{}, invalidToken(fmt.Sprintf("the token %q has expired on %s; an admin can make another", t.Name, t.Expires.Time().Format(time.RFC3339)))
	case !slices.Contains(roles, t.Role):
		return caller{}, invalidToken("the token has a role that this version does not know")
	}
	return caller{who: t.Name, role: t.Role, floors: t.Floors}, nil
}

func invalidToken(detail string) *problem {
	p := newProblem(http.StatusUnauthorized, detail)
	p.challenge = `Bearer realm="Wattline", error="invalid_token"`
	return p
}

// wrongToken counts a token that is none of this site's.
func (s *Server) wrongToken(c *fiber.Ctx) error {
	address := network(c.IP())
	s.count.wrong.Inc()
	wait, ok := s.wrong.take(address, time.Now())
	if ok {
		s.note(c, contract.Audited{Who: "address " + address, What: "show a wrong token", Object: routeOf(c), Result: refused})
		return invalidToken("the token is none of this site's: it was deleted, cut short, or is of another site")
	}
	s.note(c, contract.Audited{Who: "address " + address, What: "show wrong tokens too often", Result: refused, Detail: "throttled"})
	p := newProblem(http.StatusTooManyRequests, "too many wrong tokens from this address; try again later, with the right one")
	p.retry = max(wait, time.Second)
	return p
}

// denied is a request that its sender may not make; the audit log hears of it.
func (s *Server) denied(c *fiber.Ctx, who caller, detail string) error {
	s.note(c, contract.Audited{Who: who.who, What: routeOf(c), Object: shorten(objectOf(c)), Result: refused, Detail: detail})
	return newProblem(http.StatusForbidden, detail)
}

// fromNetwork tells whether the client is in one of the networks of
// iotoad.anonymous.
func (s *Server) fromNetwork(c *fiber.Ctx) bool {
	ip, err := netip.ParseAddr(c.IP())
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(s.networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// routeOf names what was asked for in the audit log.
func routeOf(c *fiber.Ctx) string {
	pattern, ok := c.Locals(localRoute).(string)
	if !ok {
		pattern = "other"
	}
	return c.Method() + " " + pattern
}

// objectOf is what a request is about, as far as its path tells.
func objectOf(c *fiber.Ctx) string {
	if id := c.Params("id"); id != "" {
		return id
	}
	return c.Params("*")
}
