package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// gatewayView is how a gateway is. What comes from its status is null while no
// status was heard.
type gatewayView struct {
	ID     string `json:"id"`
	Label  string `json:"label,omitempty"`
	Floor  *int   `json:"floor"` // null for a gateway that is not registered
	Online bool   `json:"online"`
	// Heard is when the last live status came, by the clock of the api.
	Heard *time.Time `json:"heard"`
	// Places are registered for it; ConfigWanted is the version of their list.
	Places       int     `json:"places"`
	ConfigWanted *uint64 `json:"config_version_wanted,omitempty"`
	// Trust is how far the enrolment has come, empty where nobody enrols;
	// Certificates are those in force.
	Trust        contract.Trust    `json:"trust,omitempty"`
	Certificates []certificateView `json:"certificates,omitempty"`
	Revision     uint64            `json:"revision,omitempty"`
	Status       *statusView       `json:"status"`
	// Settings is the registry's record, with what can be changed; it is there
	// when it was asked for.
	Settings json.RawMessage `json:"settings,omitempty"`
}

type certificateView struct {
	Serial  string `json:"serial"`
	Key     string `json:"key"`
	Issued  stamp  `json:"issued"`
	Expires stamp  `json:"expires"`
}

type statusView struct {
	Version       string `json:"version"`
	ConfigVersion uint64 `json:"config_version"`
	// ConfigRefused is a configuration that the gateway does not run, and why.
	ConfigRefused *contract.ConfigRefused `json:"config_refused,omitempty"`
	Epoch         string                  `json:"epoch"`
	Previous      *string                 `json:"previous"`
	Sequence      uint64                  `json:"sequence"`
	Time          stamp                   `json:"time"`
	BootID        string                  `json:"boot_id"`
	Clock         clockView               `json:"clock"`
	Plugs         plugsView               `json:"plugs"`
	Outbox        outboxView              `json:"outbox"`
	SetAside      []string                `json:"set_aside,omitempty"`
	Damaged       string                  `json:"damaged,omitempty"`
	Suspects      suspectView             `json:"suspects,omitempty"`
}

type suspectView map[device.ID]int

type clockView struct {
	Set     bool     `json:"set"`
	Rebased int      `json:"rebased"`
	Skew    *float64 `json:"skew_s"` // ahead of the api's clock; null while not heard live
}

type plugsView struct {
	Configured int           `json:"configured"`
	Reachable  int           `json:"reachable"`
	Problems   []problemView `json:"problems"`
}

type outboxView struct {
	Readings   int    `json:"readings"`
	Batches    int    `json:"batches"`
	Bytes      int64  `json:"bytes"`
	File       int64  `json:"file_bytes"`
	Limit      int64  `json:"limit_bytes"`
	Oldest     *stamp `json:"oldest"`
	Unclocked  int    `json:"unclocked"`
	Dropped    int    `json:"dropped"`
	Refused    int    `json:"refused"`
	Unanswered int    `json:"unanswered"`
}

// gateways is GET /api/v1/gateways.
func (s *Server) gateways(c *fiber.Ctx) error {
	if _, err := s.knownSite(); err != nil {
		return err
	}
	q := readQuery(c)
	q.allow("limit", "cursor")
	limit, after := q.paging()
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	who := callerOf(c)
	counts := s.placesByGateway()
	out := page[gatewayView]{Items: []gatewayView{}}
	for _, g := range s.house.Gateways() {
		if g.Name <= after && after != "" || who.floors != nil && (g.Info == nil || !who.may(g.Info.Floor)) {
			continue
		}
		if len(out.Items) == limit {
			out.Next = cursorOf(out.Items[limit-1].ID)
			break
		}
		out.Items = append(out.Items, viewGateway(g, counts[g.Name]))
	}
	return c.JSON(out)
}

// gateway is GET /api/v1/gateways/{id}; with settings=true the registry is asked
// for what can be changed.
func (s *Server) gateway(c *fiber.Ctx) error {
	if _, err := s.knownSite(); err != nil {
		return err
	}
	q := readQuery(c)
	q.allow("settings")
	settings := q.boolean("settings")
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	name, err := pathID(c)
	if err != nil {
		return err
	}
	if err := s.ownGateway(c, "id", name); err != nil {
		return err
	}
	g, ok := s.house.Gateway(name)
	if !ok {
		missing := newProblem(http.StatusNotFound, "no gateway "+shorten(name))
		missing.Gateway = shorten(name)
		return missing
	}
	if g.Info != nil && g.Info.Revision > 0 {
		c.Set(fiber.HeaderETag, entityTagOf(g.Info.Revision))
	}
	v := viewGateway(g, s.placesByGateway()[name])
	if settings {
		answer, err := s.askRegistry("query", "gateways", contract.RegistryRequest{Verb: "get", Key: name, Who: callerOf(c).who})
		if err != nil {
			return err
		}
		v.Settings = dated(answer.Content)
	}
	return c.JSON(v)
}

func (s *Server) placesByGateway() map[string]int {
	counts := map[string]int{}
	for _, p := range s.house.Places() {
		counts[p.Gateway]++
	}
	return counts
}

func viewGateway(g directory.Gateway, places int) gatewayView {
	v := gatewayView{ID: g.Name, Online: g.Online, Places: places}
	if g.Info != nil {
		v.Label, v.Floor, v.ConfigWanted = g.Info.Label, &g.Info.Floor, &g.Info.ConfigVersion
		v.Trust, v.Revision = g.Info.Trust, g.Info.Revision
		for _, one := range g.Info.Certificates {
			v.Certificates = append(v.Certificates, certificateView{one.Serial, one.Key, stamp(one.Issued), stamp(one.Expires)})
		}
	}
	if !g.Heard.IsZero() {
		heard := g.Heard.UTC().Round(time.Microsecond)
		v.Heard = &heard
	}
	if g.Status != nil {
		v.Status = viewStatus(*g.Status)
		if v.Heard != nil {
			skew := g.Skew.Round(time.Millisecond).Seconds()
			v.Status.Clock.Skew = &skew
		}
	}
	return v
}

func viewStatus(s contract.Status) *statusView {
	v := &statusView{
		Version: s.Version, ConfigVersion: s.ConfigVersion, ConfigRefused: s.ConfigRefused, Epoch: s.Epoch.String(), Sequence: s.Sequence,
		Time: stamp(s.Time), BootID: s.BootID, Damaged: s.Outbox.Damaged, Suspects: s.Plugs.Suspects,
		Clock: clockView{Set: s.Clock.Set, Rebased: s.Clock.Rebased},
		Plugs: plugsView{Configured: s.Plugs.Configured, Reachable: s.Plugs.Reachable, Problems: []problemView{}},
		Outbox: outboxView{
			Readings: s.Outbox.Readings, Batches: s.Outbox.Batches, Bytes: s.Outbox.Bytes, File: s.Outbox.File, Limit: s.Outbox.Limit,
			Oldest: stampOf(s.Outbox.Oldest), Unclocked: s.Outbox.Unclocked, Dropped: s.Outbox.Dropped, Refused: s.Outbox.Refused,
			Unanswered: s.Outbox.Unanswered,
		},
	}
	if s.Previous != nil {
		previous := s.Previous.String()
		v.Previous = &previous
	}
	for _, id := range s.Outbox.SetAside {
		v.SetAside = append(v.SetAside, id.String())
	}
	for _, p := range s.Plugs.Problems {
		id := p.Device
		v.Plugs.Problems = append(v.Plugs.Problems, problemView{Device: &id, Reason: p.Reason, Detail: p.Detail, Since: stamp(p.Since), LastSuccess: stampOf(p.Last)})
	}
	return v
}
