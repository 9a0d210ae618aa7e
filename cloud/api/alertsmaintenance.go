package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxWindows bounds the pages in which a maintenance window is looked for.
const maxWindows = 100

// chosen is what a maintenance window is about: what fits each of the lists that
// are not empty.
type chosen struct {
	Devices  []string `json:"devices,omitempty"`
	Types    []string `json:"types,omitempty"`
	Floors   []int    `json:"floors,omitempty"`
	Gateways []string `json:"gateways,omitempty"`
	Except   []string `json:"except,omitempty"`
}

// window is a maintenance window, as far as it tells whose it is.
type window struct {
	ID     string `json:"id"`
	Select chosen `json:"select"`
}

// within tells whether a window hushes nothing beyond the caller's floors.
func (w caller) within(sel chosen) bool {
	return w.floors == nil || len(sel.Floors) > 0 && !slices.ContainsFunc(sel.Floors, func(f int) bool { return !w.may(f) })
}

// touches tells whether a window may hush something on the caller's floors.
func (s *Server) touches(w caller, sel chosen) bool {
	if w.floors == nil {
		return true
	}
	none := func(n int, fits bool) bool { return n > 0 && !fits }
	onFloors := slices.ContainsFunc(sel.Floors, w.may)
	ofGateways := slices.ContainsFunc(sel.Gateways, func(name string) bool {
		g, ok := s.house.Gateway(name)
		return ok && g.Info != nil && w.may(g.Info.Floor)
	})
	site, _ := s.house.Site()
	ofDevices := slices.ContainsFunc(sel.Devices, func(text string) bool {
		id, err := device.Parse(text)
		floor, _ := id.On(site.DefaultFloor).Floor()
		return err == nil && w.may(floor)
	})
	return !none(len(sel.Floors), onFloors) && !none(len(sel.Gateways), ofGateways) && !none(len(sel.Devices), ofDevices)
}

// maintenance is GET /api/v1/alerts/maintenance: the windows that concern the
// caller.
func (s *Server) maintenance(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("limit", "cursor")
	r, err := s.requestOf(c, "list")
	if err != nil {
		return err
	}
	r.Limit, r.Cursor = q.paging()
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	all, next, err := s.windows(r)
	if err != nil {
		return err
	}
	who := callerOf(c)
	own := slices.DeleteFunc(all, func(one json.RawMessage) bool {
		var w window
		return json.Unmarshal(one, &w) != nil || !s.touches(who, w.Select)
	})
	items, err := json.Marshal(own)
	if err != nil {
		return err
	}
	return sendPage(c, datedBy(alertSeconds, items), next)
}

func (s *Server) windows(r contract.RegistryRequest) (all []json.RawMessage, next string, err error) {
	answer, err := s.askAlerting("query", "maintenance", r)
	if err != nil {
		return nil, "", err
	}
	if !isArray(answer.Content) || json.Unmarshal(answer.Content, &all) != nil {
		return nil, "", fmt.Errorf("%w: the alerting gave no list", errBadAnswer)
	}
	return all, answer.Next, nil
}

// createMaintenance is POST /api/v1/alerts/maintenance
// {"select": {"floors": [2]}, "from": ..., "to": ..., "reason": ...}; without from
// it begins now.
func (s *Server) createMaintenance(c *fiber.Ctx) error {
	r, err := s.beginCommand(c, "create")
	if err != nil {
		return err
	}
	b, err := readBody(c)
	if err != nil {
		return err
	}
	content := struct {
		Select chosen         `json:"select"`
		From   *device.Micros `json:"from"`
		To     *device.Micros `json:"to"`
		Reason string         `json:"reason"`
	}{From: b.moment("from"), To: b.moment("to"), Reason: b.text("reason")}
	if !b.has("to") {
		b.mistake("to", "required: when it is over, by RFC 3339 or in POSIX seconds")
	}
	if now := device.MicrosOf(time.Now()); !b.has("from") {
		content.From = &now
	}
	if content.From != nil && content.To != nil && *content.To <= *content.From {
		b.mistake("to", "not after from")
	}
	content.Select = b.chosen()
	b.known("select", "from", "to", "reason")
	if err := mistaken(b.mistakes); err != nil {
		return err
	}
	if content.Reason == "" {
		content.Reason = r.Reason
	}
	if who := callerOf(c); !who.within(content.Select) {
		if err := s.ownFloors(c, content.Select.Floors); err != nil {
			return err
		}
		return s.beyond(c, who, "name them in select.floors")
	}
	if err := s.strangers(content.Select); err != nil {
		return err
	}
	r.Reason = content.Reason
	if r.Content, err = json.Marshal(content); err != nil {
		return err
	}
	return s.commandAlerting(c, "maintenance", r)
}

// strangers names what is selected and not there: a window for a misspelt floor
// would hush nobody, and nobody would know. Before the house was heard nothing is
// claimed.
func (s *Server) strangers(sel chosen) error {
	if _, heard := s.house.Site(); !heard {
		return nil
	}
	b := &body{}
	for _, text := range slices.Concat(sel.Devices, sel.Except) {
		if id, err := device.Parse(text); err != nil {
			b.mistake("select", err.Error())
		} else if _, known := s.house.Place(id); !known {
			b.mistake("select", fmt.Sprintf("no place %s is registered", text))
		}
	}
	for _, name := range sel.Gateways {
		if _, known := s.house.Gateway(name); !known {
			b.mistake("select/gateways", fmt.Sprintf("there is no gateway %.64q", name))
		}
	}
	floors := s.house.Floors()
	for _, g := range s.house.Gateways() {
		if g.Info != nil {
			floors = append(floors, g.Info.Floor)
		}
	}
	for _, floor := range sel.Floors {
		if !slices.Contains(floors, floor) {
			b.mistake("select/floors", fmt.Sprintf("floor %d has neither a place nor a gateway", floor))
		}
	}
	return mistaken(b.mistakes)
}

// chosen reads "select"; without it everything is meant.
func (b *body) chosen() (sel chosen) {
	if !b.has("select") {
		return sel
	}
	inner := &body{}
	if json.Unmarshal(b.members["select"], &inner.members) != nil || inner.members == nil {
		b.mistake("select", "not an object")
		return sel
	}
	inner.into("devices", &sel.Devices, "not a list of texts")
	inner.into("types", &sel.Types, "not a list of texts")
	inner.into("floors", &sel.Floors, "not a list of whole numbers")
	inner.into("gateways", &sel.Gateways, "not a list of texts")
	inner.into("except", &sel.Except, "not a list of texts")
	inner.known("devices", "types", "floors", "gateways", "except")
	for _, m := range inner.mistakes {
		b.mistake(trimSlash("select"+m.Pointer), m.Detail)
	}
	return sel
}

// deleteMaintenance is DELETE /api/v1/alerts/maintenance/{id}.
func (s *Server) deleteMaintenance(c *fiber.Ctx) error {
	r, err := s.beginCommand(c, "delete")
	if err != nil {
		return err
	}
	if who := callerOf(c); who.floors != nil {
		w, err := s.windowOf(c, r.Key)
		if err != nil {
			return err
		}
		if !who.within(w.Select) {
			return s.beyond(c, who, "this maintenance window is for more")
		}
	}
	return s.commandAlerting(c, "maintenance", r)
}

// windowOf finds a window that concerns the caller.
func (s *Server) windowOf(c *fiber.Ctx, id string) (w window, err error) {
	r := contract.RegistryRequest{Verb: "list", Who: callerOf(c).who, From: c.IP(), Limit: maxPageSize}
	for range maxWindows {
		all, next, err := s.windows(r)
		if err != nil {
			return w, err
		}
		for _, one := range all {
			if json.Unmarshal(one, &w) == nil && w.ID == id && s.touches(callerOf(c), w.Select) {
				return w, nil
			}
			w = window{}
		}
		if next == "" || next == r.Cursor {
			break
		}
		r.Cursor = next
	}
	return w, newProblem(http.StatusNotFound, "there is no maintenance window "+shorten(id))
}
