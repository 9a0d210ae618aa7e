package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// may tells whether somebody may have to do with a floor.
func (w caller) may(floor int) bool { return w.floors == nil || slices.Contains(w.floors, floor) }

// floorsText names floors in a sentence.
func floorsText(floors []int) string {
	texts := make([]string, len(floors))
	for i, f := range floors {
		texts[i] = fmt.Sprint(f)
	}
	if len(texts) == 1 {
		return "floor " + texts[0]
	}
	return "floors " + strings.Join(texts, ", ")
}

// beyond refuses what is on other floors than the caller's.
func (s *Server) beyond(c *fiber.Ctx, who caller, what string) error {
	return s.denied(c, who, fmt.Sprintf("the token %q is limited to %s; %s", who.who, floorsText(who.floors), what))
}

// ownPlace refuses a place on another floor, whether or not it is registered.
func (s *Server) ownPlace(c *fiber.Ctx, id device.ID, site contract.Site) error {
	who := callerOf(c)
	if floor, _ := id.On(site.DefaultFloor).Floor(); !who.may(floor) {
		return s.beyond(c, who, fmt.Sprintf("%v is on floor %d", id, floor))
	}
	return nil
}

// ownFloors refuses floors that were asked for and are not the caller's.
func (s *Server) ownFloors(c *fiber.Ctx, floors []int) error {
	who := callerOf(c)
	for _, f := range floors {
		if !who.may(f) {
			return s.beyond(c, who, fmt.Sprintf("floor %d was asked for", f))
		}
	}
	return nil
}

// ownQuestion keeps a question for readings to the caller's floors: what was
// asked for beyond them is refused, and who names no floor means his own.
func (s *Server) ownQuestion(c *fiber.Ctx, q *query, values map[string]string) error {
	who := callerOf(c)
	if who.floors == nil {
		return nil
	}
	site, err := s.knownSite()
	if err != nil {
		return err
	}
	for _, text := range q.list("id") {
		id, err := parseID(text)
		if err != nil {
			continue // influx_query says what is wrong with it
		}
		if err := s.ownPlace(c, id, site); err != nil {
			return err
		}
	}
	if q.values["floor"] != nil {
		return s.ownFloors(c, q.numbers("floor"))
	}
	own := make([]string, len(who.floors))
	for i, f := range who.floors {
		own[i] = fmt.Sprint(f)
	}
	values["floor"] = strings.Join(own, ",")
	return nil
}

// parseID reads an id as influx_query does: IoToad's clients leave the type of
// device out.
func parseID(text string) (device.ID, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "_") {
		text = "sp_" + text
	}
	return device.Parse(text)
}

// ownGateway refuses a question about a gateway of another floor; who has floors
// must name one.
func (s *Server) ownGateway(c *fiber.Ctx, parameter, gateway string) error {
	who := callerOf(c)
	if who.floors == nil {
		return nil
	}
	if gateway == "" {
		var own []string
		for _, g := range s.house.Gateways() {
			if g.Info != nil && who.may(g.Info.Floor) {
				own = append(own, g.Name)
			}
		}
		return s.beyond(c, who, fmt.Sprintf("name a gateway there, %s=%s", parameter, strings.Join(own, " or ")))
	}
	if g, ok := s.house.Gateway(gateway); !ok || g.Info == nil || !who.may(g.Info.Floor) {
		return s.beyond(c, who, shorten(gateway)+" is no gateway there")
	}
	return nil
}

// ownSelection refuses to switch on other floors. Who has floors must name them,
// or ids: places that are registered at this moment must not slip in.
func (s *Server) ownSelection(c *fiber.Ctx, sel *contract.Select, site contract.Site) error {
	who := callerOf(c)
	switch {
	case who.floors == nil || sel == nil:
		return nil
	case sel.Floor != nil:
		return s.ownFloors(c, []int{*sel.Floor})
	case len(sel.IDs) == 0:
		return s.beyond(c, who, "the selection reaches all floors: name one in it")
	}
	for _, text := range sel.IDs {
		id, err := device.Parse(text)
		if err != nil {
			continue // it is among the mistakes
		}
		if err := s.ownPlace(c, id, site); err != nil {
			return err
		}
	}
	return nil
}
