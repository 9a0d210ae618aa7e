package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	switcher = "sp_command" // the component that switches
	// grace is how much longer than the deadline an answer may take.
	grace      = 2 * time.Second
	maxIDs     = 1000
	maxOrdinal = 999_999 // floors, rows and columns are below a million
)

var placeType = regexp.MustCompile(`^[a-z]{1,32}$`)

// statusOfOutcome is the status of a switch of one device.
var statusOfOutcome = map[contract.Outcome]int{
	contract.Confirmed:   http.StatusOK,
	contract.DryRun:      http.StatusOK,
	contract.Refused:     http.StatusLocked,
	contract.Stale:       http.StatusConflict,
	contract.Superseded:  http.StatusConflict,
	contract.Mismatch:    http.StatusBadGateway,
	contract.Unreachable: http.StatusServiceUnavailable,
	contract.Expired:     http.StatusGatewayTimeout,
	contract.Unknown:     http.StatusGatewayTimeout,
	contract.NoSuchPlace: http.StatusNotFound,
}

// switchView is a switch of one device that went well.
type switchView struct {
	Command string `json:"command"`
	contract.Result
}

// relay is PUT /api/v1/devices/{id}/relay.
func (s *Server) relay(c *fiber.Ctx) error {
	if err := noParameters(c); err != nil { // dry_run is a member here, and nobody may think otherwise
		return err
	}
	b, err := readBody(c)
	if err != nil {
		return err
	}
	request := switchRequest(c, b, "on", "reason", "deadline_s", "dry_run")
	if err := mistaken(b.mistakes); err != nil {
		return err
	}
	p, _, err := s.place(c)
	if err != nil {
		return err
	}
	answer, err := s.switchPlaces(p.Device.String(), request)
	if silent, ok := errors.AsType[*silentError](err); ok {
		unknown := problemOf(silent)
		unknown.Device, unknown.Outcome, unknown.Gateway = p.Device.String(), contract.Unknown, p.Gateway
		unknown.Detail += ": it may have happened, the next reading tells"
		return unknown
	}
	if err != nil {
		return err
	}
	if len(answer.Results) != 1 {
		return fmt.Errorf("%w: %s gave %d results for one device", errBadAnswer, switcher, len(answer.Results))
	}
	return sendResult(c, answer.ID, answer.Results[0])
}

func sendResult(c *fiber.Ctx, command string, r contract.Result) error {
	status, known := statusOfOutcome[r.Outcome]
	switch {
	case !known:
		return fmt.Errorf("%w: %s gave the outcome %.40q", errBadAnswer, switcher, r.Outcome)
	case status == http.StatusOK:
		return c.JSON(switchView{command, r})
	}
	p := newProblem(status, string(r.Outcome))
	if r.Detail != "" {
		p.Detail += ": " + r.Detail
	}
	p.Command, p.Device, p.Gateway, p.Outcome = command, r.Device.String(), r.Gateway, r.Outcome
	return p
}

// commands is POST /api/v1/commands: 200 with one result per device.
func (s *Server) commands(c *fiber.Ctx) error {
	if err := noParameters(c); err != nil { // dry_run is a member here, and nobody may think otherwise
		return err
	}
	b, err := readBody(c)
	if err != nil {
		return err
	}
	request := switchRequest(c, b, "select", "on", "reason", "deadline_s", "dry_run")
	site, err := s.knownSite()
	if err != nil {
		return err
	}
	request.Select = s.selection(b, site)
	if err := mistaken(b.mistakes); err != nil {
		return err
	}
	if err := s.ownSelection(c, request.Select, site); err != nil {
		return err
	}
	if len(request.Select.IDs) == 0 && len(s.selected(request.Select)) == 0 {
		return newProblem(http.StatusNotFound, "the selection matches no registered place, so that nothing was switched")
	}
	answer, err := s.switchPlaces("select", request)
	if silent, ok := errors.AsType[*silentError](err); ok {
		unknown := problemOf(silent)
		unknown.Outcome = contract.Unknown
		unknown.Detail += ": it may have happened, the next readings tell"
		return unknown
	}
	if err != nil {
		return err
	}
	if answer.Results == nil {
		answer.Results = []contract.Result{}
	}
	return c.JSON(answer)
}

// switchRequest reads what the switch of one and of many have in common.
func switchRequest(c *fiber.Ctx, b *body, members ...string) contract.SwitchRequest {
	r := contract.SwitchRequest{On: b.boolean("on"), Reason: b.text("reason"), DryRun: b.boolean("dry_run"), Who: callerOf(c).who}
	if !b.has("on") {
		b.mistake("on", "required: true or false")
	}
	if b.has("deadline_s") {
		what := fmt.Sprintf("not a number of seconds over 0, at most %v", contract.MaxAllowed.Seconds())
		if b.into("deadline_s", &r.DeadlineSeconds, what) && (r.DeadlineSeconds <= 0 || r.DeadlineSeconds > contract.MaxAllowed.Seconds()) {
			b.mistake("deadline_s", what)
		}
	}
	b.known(members...)
	return r
}

// selection reads "select". One that names nothing would be the whole house.
func (s *Server) selection(b *body, site contract.Site) *contract.Select {
	if !b.has("select") {
		b.mistake("select", "required: ids, floor, row, column or type")
		return nil
	}
	inner := &body{}
	if json.Unmarshal(b.members["select"], &inner.members) != nil || inner.members == nil {
		b.mistake("select", "not an object")
		return nil
	}
	sel := &contract.Select{Type: inner.text("type"), Floor: inner.ordinal("floor", -maxOrdinal), Row: inner.ordinal("row", 0), Column: inner.ordinal("column", 0)}
	inner.into("ids", &sel.IDs, "not a list of texts")
	if inner.has("type") && !placeType.MatchString(sel.Type) {
		inner.mistake("type", "not lower-case letters, as in w, g or p")
	}
	if inner.has("ids") && (len(sel.IDs) == 0 || len(sel.IDs) > maxIDs) {
		inner.mistake("ids", fmt.Sprintf("from 1 to %d ids", maxIDs))
		sel.IDs = nil
	}
	for i, id := range sel.IDs {
		if _, err := device.Parse(id); err != nil {
			inner.mistake("ids/"+strconv.Itoa(i), err.Error())
		}
	}
	inner.known("ids", "floor", "row", "column", "type")
	if len(inner.members) == 0 {
		inner.mistake("", "it names nothing: give ids, floor, row, column or type")
	}
	if (sel.Row != nil || sel.Column != nil) && sel.Floor == nil && len(s.house.Floors()) > 1 {
		inner.mistake("floor", fmt.Sprintf("required with row or column: there are the floors %v (%d is the default)", s.house.Floors(), site.DefaultFloor))
	}
	for _, m := range inner.mistakes {
		b.mistake(trimSlash("select"+m.Pointer), m.Detail)
	}
	return sel
}

func trimSlash(pointer string) string {
	if n := len(pointer); pointer[n-1] == '/' {
		return pointer[:n-1]
	}
	return pointer
}

// ordinal is a whole number from low on; nil when it is not given.
func (b *body) ordinal(name string, low int) *int {
	var n *int
	b.into(name, &n, "not a whole number")
	if n != nil && (*n < low || *n > maxOrdinal) {
		b.mistake(name, fmt.Sprintf("not from %d to %d", low, maxOrdinal))
	}
	return n
}

// patience is how long the answer to a switch may take: as long as the gateway
// with the most to do has for it.
func (s *Server) patience(r contract.SwitchRequest) time.Duration {
	standard := s.config.HTTP.AnswerTimeout
	if r.DeadlineSeconds > 0 {
		return max(standard, time.Duration(r.DeadlineSeconds*float64(time.Second))+grace)
	}
	if r.Select == nil || !r.On {
		return standard
	}
	longest := standard
	for gateway, n := range s.selected(r.Select) {
		if g, _ := s.house.Gateway(gateway); g.Info != nil {
			longest = max(longest, g.Info.Allowed(standard, n, r.On))
		}
	}
	if longest > standard {
		longest += grace
	}
	return longest
}

// selected counts the places of a selection by gateway.
func (s *Server) selected(sel *contract.Select) map[string]int {
	site, _ := s.house.Site()
	ids := make(map[device.ID]bool, len(sel.IDs))
	for _, text := range sel.IDs {
		if id, err := device.Parse(text); err == nil {
			ids[id.On(site.DefaultFloor)] = true
		}
	}
	counts := make(map[string]int)
	for _, p := range s.house.Places() {
		id := p.Device.On(site.DefaultFloor)
		floor, _ := id.Floor()
		row, column, _ := id.Grid()
		asked := (len(ids) == 0 || ids[id]) && (sel.Type == "" || sel.Type == id.PlaceType())
		if asked && is(sel.Floor, floor) && is(sel.Row, row) && is(sel.Column, column) {
			counts[p.Gateway]++
		}
	}
	return counts
}

func is(asked *int, n int) bool { return asked == nil || *asked == n }

// switchPlaces asks sp_command. The answer's results may still all be bad.
func (s *Server) switchPlaces(target string, request contract.SwitchRequest) (contract.SwitchAnswer, error) {
	var result contract.SwitchAnswer
	topic, err := bus.Command(switcher, target)
	if err != nil {
		return result, err
	}
	data, err := json.Marshal(request)
	if err != nil {
		return result, err
	}
	answer, err := s.ask(question{topic: topic, data: data, wait: s.patience(request)})
	if err != nil {
		return result, err
	}
	if len(answer.Data) == 0 || string(answer.Data) == "null" {
		if err := componentProblem(switcher, answer); err != nil {
			return result, err
		}
	}
	if err := json.Unmarshal(answer.Data, &result); err != nil {
		return result, fmt.Errorf("%w: %s gave no results", errBadAnswer, switcher)
	}
	return result, nil
}
