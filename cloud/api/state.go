package api

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// Media types beside JSON.
const (
	senmlType = "application/senml+json"
	csvType   = "text/csv"
)

// stateView is the newest reading of a place.
type stateView struct {
	Device        device.ID            `json:"device"`
	Gateway       string               `json:"gateway"`
	GatewayOnline bool                 `json:"gateway_online"`
	Time          stamp                `json:"time"`
	On            *bool                `json:"on"`
	Values        map[string]valueView `json:"values"`
}

type valueView struct {
	Value any    `json:"value"`
	Unit  string `json:"unit,omitempty"`
}

// state is GET /api/v1/devices/{id}/state.
func (s *Server) state(c *fiber.Ctx) error {
	p, _, err := s.place(c)
	if err != nil {
		return err
	}
	if err := noParameters(c); err != nil {
		return err
	}
	newest, ok := s.house.State(p.Device)
	if !ok {
		missing := newProblem(http.StatusNotFound, "no reading of "+p.Device.String()+" has been heard yet")
		missing.Device = p.Device.String()
		return missing
	}
	accept, err := negotiate(c, fiber.MIMEApplicationJSON, senmlType)
	if err != nil {
		return err
	}
	if accept == senmlType {
		c.Set(fiber.HeaderContentType, senmlType)
		return c.Send(newest.Pack)
	}
	v := stateOf(p.Device, newest)
	if g, ok := s.house.Gateway(newest.Gateway); ok {
		v.GatewayOnline = g.Online
	}
	return c.JSON(v)
}

func stateOf(id device.ID, newest directory.State) stateView {
	v := stateView{Device: id, Gateway: newest.Gateway, Time: stamp(newest.Time), Values: map[string]valueView{}}
	for _, r := range newest.Records {
		_, measurement, found := strings.Cut(r.Name, "/")
		switch {
		case !found || r.Kind == senml.None:
		case r.Kind == senml.Number || r.Kind == senml.Bool:
			v.Values[measurement] = valueView{r.Value, r.Unit}
			if measurement == device.Status {
				on := r.Value != 0
				v.On = &on
			}
		default:
			v.Values[measurement] = valueView{r.Text, r.Unit}
		}
	}
	return v
}

// negotiate gives the media type that the client prefers.
func negotiate(c *fiber.Ctx, offers ...string) (string, error) {
	c.Vary(fiber.HeaderAccept)
	accepted := c.Accepts(offers...)
	if accepted == "" {
		return "", newProblem(http.StatusNotAcceptable, "there are "+strings.Join(offers, ", "))
	}
	return accepted, nil
}
