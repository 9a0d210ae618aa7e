package api

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	pageSize    = 100
	maxPageSize = 1000
)

// page is one page of a list. Next is the cursor of the next one, null on the last.
type page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// deviceView is a place and its plug.
type deviceView struct {
	ID          device.ID    `json:"id"`
	Kind        string       `json:"device_type"`
	Type        string       `json:"type"`
	Floor       int          `json:"floor"`
	Row         *int         `json:"row,omitempty"`
	Column      *int         `json:"column,omitempty"`
	Label       string       `json:"label,omitempty"`
	Owner       string       `json:"owner,omitempty"`
	Gateway     string       `json:"gateway"`
	Protected   string       `json:"protected,omitempty"`
	MaxPower    device.Watts `json:"max_power_w,omitempty"`
	PollSeconds float64      `json:"poll_seconds,omitempty"`
	// Predecessor is the place that was here before under another id.
	Predecessor *device.ID `json:"predecessor,omitempty"`
	Plug        plugView   `json:"plug"`
	// Revision is that of the registry's record; as ETag it guards a change.
	Revision uint64 `json:"revision,omitempty"`
	// Problem tells why the plug is not read now; nil when it is, or when its
	// gateway is offline and nobody knows.
	Problem *problemView `json:"problem,omitempty"`
}

type plugView struct {
	Driver   string `json:"driver"`
	Address  string `json:"address"`
	DeviceID string `json:"device_id,omitempty"`
	MAC      string `json:"mac,omitempty"`
}

type problemView struct {
	Device      *device.ID `json:"device,omitempty"`
	Reason      string     `json:"reason"`
	Detail      string     `json:"detail,omitempty"`
	Since       stamp      `json:"since"`
	LastSuccess *stamp     `json:"last_success,omitempty"`
}

// stamp is a time that is written by RFC 3339.
type stamp device.Micros

func (t stamp) MarshalJSON() ([]byte, error) {
	return []byte(device.Micros(t).Time().Format(`"` + time.RFC3339Nano + `"`)), nil
}

func stampOf(m *device.Micros) *stamp { return (*stamp)(m) }

func (s *Server) view(p contract.Place, site contract.Site) deviceView {
	v := deviceView{
		ID: p.Device, Kind: p.Device.Kind(), Type: p.Device.PlaceType(), Label: p.Label, Owner: p.Owner, Gateway: p.Gateway,
		Protected: p.Protected, MaxPower: p.MaxPower, Plug: plugView{p.Driver, p.Address, p.DeviceID, p.MAC}, PollSeconds: p.PollSeconds, Revision: p.Revision,
	}
	if !p.Predecessor.IsZero() {
		v.Predecessor = &p.Predecessor
	}
	v.Floor, _ = p.Device.On(site.DefaultFloor).Floor()
	if row, column, ok := p.Device.Grid(); ok {
		v.Row, v.Column = &row, &column
	}
	return v
}

// knownSite is the site, or the problem that the registry was not heard yet.
func (s *Server) knownSite() (contract.Site, error) {
	site, ok := s.house.Site()
	if !ok {
		p := newProblem(http.StatusServiceUnavailable, "the registry has not been heard yet, so that no place is known; try again")
		p.retry = time.Second
		return site, p
	}
	return site, nil
}

// place finds the place in the URL by either spelling of its id.
func (s *Server) place(c *fiber.Ctx) (contract.Place, contract.Site, error) {
	site, err := s.knownSite()
	if err != nil {
		return contract.Place{}, site, err
	}
	text, err := pathID(c)
	if err != nil {
		return contract.Place{}, site, err
	}
	id, err := device.Parse(text)
	if err != nil {
		return contract.Place{}, site, mistaken([]mistake{{Parameter: "id", Detail: err.Error()}})
	}
	if err := s.ownPlace(c, id, site); err != nil {
		return contract.Place{}, site, err
	}
	p, ok := s.house.Place(id)
	if !ok {
		missing := newProblem(http.StatusNotFound, "no place "+id.String())
		missing.Device = id.String()
		return contract.Place{}, site, missing
	}
	return p, site, nil
}

// pathID is the id in the URL.
func pathID(c *fiber.Ctx) (string, error) {
	id, err := url.PathUnescape(c.Params("id"))
	if err != nil || !utf8.ValidString(id) {
		return "", mistaken([]mistake{{Parameter: "id", Detail: "not well escaped"}})
	}
	return id, nil
}

// devices is GET /api/v1/devices.
func (s *Server) devices(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("type", "floor", "row", "column", "gateway", "limit", "cursor")
	site, err := s.knownSite()
	if err != nil {
		return err
	}
	keep, floors := filter(q, site)
	limit, after := q.paging()
	var start device.ID
	if after != "" {
		if start, err = device.Parse(after); err != nil {
			q.mistake("cursor", "no cursor of this list")
		}
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	if err := s.ownFloors(c, floors); err != nil {
		return err
	}
	who := callerOf(c)
	places := s.house.Places()
	from := 0
	if after != "" {
		i, found := slices.BinarySearchFunc(places, start, func(p contract.Place, id device.ID) int { return device.Compare(p.Device, id) })
		if from = i; found {
			from++
		}
	}
	out := page[deviceView]{Items: []deviceView{}}
	for _, p := range places[from:] {
		if floor, _ := p.Device.On(site.DefaultFloor).Floor(); !who.may(floor) || !keep(p) {
			continue
		}
		if len(out.Items) == limit {
			out.Next = cursorOf(out.Items[limit-1].ID.String())
			break
		}
		out.Items = append(out.Items, s.view(p, site))
	}
	s.addProblems(out.Items)
	return c.JSON(out)
}

// filter reads the filters, each a list; a place must satisfy all of them.
func filter(q *query, site contract.Site) (keep func(contract.Place) bool, floors []int) {
	types, gateways := q.list("type"), q.list("gateway")
	floors = q.numbers("floor")
	rows, columns := q.numbers("row"), q.numbers("column")
	return func(p contract.Place) bool {
		floor, _ := p.Device.On(site.DefaultFloor).Floor()
		row, column, grid := p.Device.Grid()
		return (types == nil || slices.Contains(types, p.Device.PlaceType())) &&
			(gateways == nil || slices.Contains(gateways, p.Gateway)) &&
			(floors == nil || slices.Contains(floors, floor)) &&
			(rows == nil || grid && slices.Contains(rows, row)) &&
			(columns == nil || grid && slices.Contains(columns, column))
	}, floors
}

func (q *query) paging() (limit int, after string) {
	limit = q.number("limit", 1, maxPageSize, pageSize)
	if q.values["cursor"] != nil {
		text, err := base64.RawURLEncoding.DecodeString(q.text("cursor"))
		if err != nil || len(text) == 0 {
			q.mistake("cursor", "no cursor of this list")
			return limit, ""
		}
		after = string(text)
	}
	return limit, after
}

func cursorOf(last string) *string {
	text := base64.RawURLEncoding.EncodeToString([]byte(last))
	return &text
}

// addProblems looks every gateway up once.
func (s *Server) addProblems(devices []deviceView) {
	byDevice := map[device.ID]contract.PlugProblem{}
	seen := map[string]bool{}
	for _, d := range devices {
		if seen[d.Gateway] {
			continue
		}
		seen[d.Gateway] = true
		if g, ok := s.house.Gateway(d.Gateway); ok && g.Online {
			for _, p := range g.Status.Plugs.Problems {
				byDevice[p.Device] = p
			}
		}
	}
	for i := range devices {
		if p, ok := byDevice[devices[i].ID]; ok {
			devices[i].Problem = &problemView{Reason: p.Reason, Detail: p.Detail, Since: stamp(p.Since), LastSuccess: stampOf(p.Last)}
		}
	}
}

// device is GET /api/v1/devices/{id}.
func (s *Server) device(c *fiber.Ctx) error {
	p, site, err := s.place(c)
	if err != nil {
		return err
	}
	if err := noParameters(c); err != nil {
		return err
	}
	one := []deviceView{s.view(p, site)}
	s.addProblems(one)
	if p.Revision > 0 {
		c.Set(fiber.HeaderETag, entityTagOf(p.Revision))
	}
	return c.JSON(one[0])
}

func noParameters(c *fiber.Ctx) error {
	q := readQuery(c)
	for _, name := range q.order {
		q.mistake(name, "no such parameter; there are none here")
	}
	return mistaken(q.mistakes)
}
