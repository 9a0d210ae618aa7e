package api

import (
	"bytes"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/metrics"
)

// link is one entry of an index.
type link struct {
	Path string `json:"path"`
	What string `json:"what"`
}

var topLinks = []link{
	{"/api/v1", "devices, readings, commands, gateways: the API"},
	{"/api/in/{agent}/{subpath}", "PUT: send a command to any agent, as IoToad did"},
	{"/api/out/{component}/{subpath}", "GET: ask any component, as IoToad did"},
	{"/healthz", "whether the process lives"},
	{"/readyz", "whether it can answer"},
	{"/metrics", "figures for Prometheus"},
	{"/docs", "what this server understands, for people"},
	{documentRoute, "the same for programs, as OpenAPI 3.1"},
}

var v1Links = []link{
	{"/api/v1/devices", "GET: places with their plugs; type, floor, row, column, gateway, limit, cursor"},
	{"/api/v1/devices", `POST {"device": "sp_f2.g3", "label": "..."}: make a place`},
	{"/api/v1/devices/{id}", "GET: one place; PATCH: change it (If-Match); DELETE: take it away, its history stays"},
	{"/api/v1/devices/{id}/plug", `PUT {"plug": "<deviceId or MAC>"}: put or swap its plug; DELETE: take it away`},
	{"/api/v1/devices/{id}/state", "GET: its newest reading"},
	{"/api/v1/devices/{id}/relay", `PUT {"on": true, "reason": "...", "deadline_s": 10}: switch it`},
	{"/api/v1/commands", `POST {"select": {"floor": 2, "row": 1}, "on": false, "dry_run": false}: switch many`},
	{"/api/v1/readings", "GET ?measurement=power&id=&type=&floor=&row=&column=&from=&to=&operation=&every=&group_by=...: series"},
	{"/api/v1/site", "GET: name, default floor, time zone; PATCH: change it"},
	{"/api/v1/plugs", "GET ?placed=no&gateway=&problem=&text=: plugs that gateways have found"},
	{"/api/v1/plugs/{id}", "GET: one plug; DELETE: forget it"},
	{"/api/v1/gateways", `GET: gateways and how they are; POST {"gateway": "edge-f2", "floor": 2}: make one`},
	{"/api/v1/gateways/{id}", "GET ?settings=true: one gateway; PATCH: change it; DELETE: take it away"},
	{"/api/v1/gateways/{id}/join-token", "POST: a join token for its box, shown once"},
	{"/api/v1/gateways/{id}/approve", "POST: let the box in that waits; also /refuse and /revoke"},
	{"/api/v1/enrolments", "GET: how far each gateway's enrolment is; POST: a box asks for its certificate, /renew for the next"},
	{"/api/v1/inventory", "GET: all of it as CSV or YAML; POST ?dry_run=true&remove=true&format=csv|yaml|etcd: import a file"},
	{"/api/v1/tokens", `GET: people's tokens; POST {"name": "...", "role": "viewer|operator|admin", "floors": [2], "expires": "..."}: make one, shown once`},
	{"/api/v1/tokens/{id}", "DELETE: let somebody in no longer"},
	{"/api/v1/audit", "GET ?who=&what=&object=&result=&from=&to=&limit=&cursor=: who changed, switched or hushed what, newest first"},
	{"/api/v1/alerts", "GET ?state=firing|acknowledged|resolved|all&rule=&severity=&device=&gateway=&floor=&from=&to=&late=yes|no&limit=&cursor=: what is wrong, newest first; JSON or CSV"},
	{"/api/v1/alerts/{id}", "GET: one alert, and what became of it"},
	{"/api/v1/alerts/acknowledge", `POST {"id": "..."} or {"filter": {"rule": "...", "floor": 2}, "reason": "..."}; also /wake, and /snooze with "until"`},
	{"/api/v1/alerts/statistics", "GET ?from=&to=&rule=&severity=&device=&gateway=&floor=&late=: how often and how long each rule fired"},
	{"/api/v1/alerts/rules", "GET: rules and calendars; POST: make a rule"},
	{"/api/v1/alerts/rules/{name}", "GET: one rule; PUT: the whole rule anew (If-Match); DELETE: take it away"},
	{"/api/v1/alerts/rules.yaml", "GET: rules and calendars as a file; PUT ?dry_run=true: the whole file"},
	{"/api/v1/alerts/maintenance", `GET: windows in which nobody is notified; POST {"select": {"floors": [2]}, "from": "...", "to": "...", "reason": "..."}: make one`},
	{"/api/v1/alerts/maintenance/{id}", "DELETE: end one"},
	{"/api/v1/alerts/audit", "GET ?who=&what=&object=&result=&from=&to=&limit=&cursor=: who hushed what and who changed rules, newest first"},
	{"/api/v1/alerts/receivers", "GET: who is told, and whether it arrives; POST .../{name}/test: send a trial"},
	{"/api/v1/events", "GET: what happens, as server-sent events; floor, type, id, kind; Last-Event-ID"},
	{"/api/v1/sources", "GET ?prefix=&from=&to=&limit=&cursor=: who sends data, gateways and agents, and what became of it"},
	{"/api/v1/sources/{name}", "GET: one of them"},
	{"/api/v1/ledger", "GET ?gateway=&from=&to=: what is proven to be stored"},
	{"/api/v1/quarantine", "GET ?source=&from=&to=&limit=&cursor=: batches that could not be stored as they are"},
	{"/api/v1/quarantine/{id}/replay", "POST, or POST {\"source\": \"...\"}: try one again"},
}

// index is GET /: where things are.
func (s *Server) index(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"name": "Wattline", "version": s.options.Version, "links": topLinks})
}

func (s *Server) indexV1(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"links": v1Links})
}

// health is GET /healthz: the process lives and serves.
func (s *Server) health(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"status": "ok", "version": s.options.Version})
}

// readiness is GET /readyz: requests can be answered, as far as it depends on
// the api. That takes the broker, the site, which the registry tells last of all
// and when it can be asked, and the places, of which all have come that the
// broker had.
func (s *Server) readiness(c *fiber.Ctx) error {
	_, heard := s.house.Site()
	places := heard && s.retained.Load()
	up := true
	for _, link := range s.links() {
		up = up && link.IsUp()
	}
	status := "ok"
	switch {
	case !up:
		status = "no connection to the broker"
	case !heard:
		status = "the registry has not told of the site yet; see that a process with the role registry runs, and that a site was made (wattline site init)"
	case !places:
		status = "not all places were heard yet"
	}
	if !up || !places {
		c.Status(http.StatusServiceUnavailable)
	}
	return c.JSON(fiber.Map{"status": status, "broker": up, "registry": heard, "places": places})
}

func (s *Server) metrics(c *fiber.Ctx) error {
	var b bytes.Buffer
	if err := s.options.Metrics.WriteText(&b); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, metrics.ContentType)
	return c.Send(b.Bytes())
}
