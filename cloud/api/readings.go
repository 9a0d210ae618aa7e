package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
)

const (
	reader          = "influx_query" // the component that knows the readings
	defaultDatabase = "sp"
)

// readingsParameters are those of influx_query, which checks their values, where
// to look, and whom to follow. The format is negotiated by the header Accept.
var readingsParameters = []string{
	"measurement", "database", "operation", "n", "unit", "id", "type", "floor", "row", "column", "from", "to",
	"every", "group_by", "fill", "tz", "limit", "order", "predecessors",
}

// topicLevel is what may become a level of a topic.
var topicLevel = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9\-:._]{0,254}$`)

const notLevel = "not up to 255 letters, digits and - : . _, the first of them a letter or a digit"

// lostPlus is a time whose + was read as a space, as it is in a query string.
var lostPlus = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT[0-9:.]+) (\d\d:\d\d)$`)

// readings is GET /api/v1/readings: series as JSON or CSV, or a SenML pack.
func (s *Server) readings(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow(readingsParameters...)
	s.followPredecessors(q)
	measurement, database := q.text("measurement"), defaultDatabase
	if measurement == "" {
		q.mistake("measurement", "required, as in power, voltage, current, energy or status")
	} else if !topicLevel.MatchString(measurement) {
		q.mistake("measurement", notLevel)
	}
	if q.values["database"] != nil {
		if database = q.text("database"); !topicLevel.MatchString(database) {
			q.mistake("database", notLevel)
		}
	}
	accept, err := negotiate(c, fiber.MIMEApplicationJSON, senmlType, csvType)
	if err != nil {
		return err
	}
	values := readingsQuestion(q, accept)
	if err := s.ownQuestion(c, q, values); err != nil {
		return err
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	topic, err := bus.Query(reader, database+"/"+measurement)
	if err != nil {
		return mistaken([]mistake{{Parameter: "measurement", Detail: err.Error()}})
	}
	form, contentType := form(accept, zoneOf(q.text("tz")), s.unknown(q))
	return s.stream(c, question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout}, contentType, form, func(answer bus.Envelope) error {
		if err := componentProblem(reader, answer); err != nil {
			return err
		}
		return render(c, contentType, form, answer.Data)
	})
}

// unknown names the filters that fit nothing that is registered. That is no
// mistake, for what was deleted has a history still, but a slip looks the same.
func (s *Server) unknown(q *query) (warnings []string) {
	site, ok := s.house.Site()
	if !ok {
		return nil
	}
	var types []string
	for _, p := range s.house.Places() {
		if !slices.Contains(types, p.Device.PlaceType()) {
			types = append(types, p.Device.PlaceType())
		}
	}
	floors := s.house.Floors()
	for _, text := range q.list("id") {
		id, err := parseID(text)
		if _, known := s.house.Place(id); err == nil && !known {
			warnings = append(warnings, "id: no place "+id.String()+" is registered; what it has is history")
		}
	}
	for _, text := range q.list("floor") {
		if n, err := strconv.Atoi(text); err == nil && !slices.Contains(floors, n) {
			warnings = append(warnings, fmt.Sprintf("floor: no place is registered on floor %d (%d is the default)", n, site.DefaultFloor))
		}
	}
	for _, text := range q.list("type") {
		if placeType.MatchString(text) && !slices.Contains(types, text) {
			warnings = append(warnings, "type: no place of type "+text+" is registered")
		}
	}
	return warnings[:min(len(warnings), maxMistakes)]
}

// readingsQuestion is the data of the question: the parameters as they are.
func readingsQuestion(q *query, accept string) map[string]string {
	values := map[string]string{"format": "series"}
	if accept == senmlType {
		values["format"] = "senml"
	}
	for _, name := range q.order {
		switch name {
		case "measurement", "database", "format", "predecessors":
		case "from", "to":
			values[name] = lostPlus.ReplaceAllString(q.text(name), "$1+$2")
		default:
			values[name] = q.text(name)
		}
	}
	return values
}

func form(accept string, zone *time.Location, warnings []string) (renderer, string) {
	switch accept {
	case senmlType:
		return &arrayStream{}, senmlType
	case csvType:
		return &csvStream{zone: zone}, csvType + "; charset=utf-8; header=present"
	default:
		return &seriesStream{zone: zone, warnings: warnings}, fiber.MIMEApplicationJSON
	}
}

// zoneOf is the zone in which times are written; what it is not, influx_query
// says.
func zoneOf(name string) *time.Location {
	if name == "" || strings.EqualFold(name, "local") {
		return time.UTC
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// ledger is GET /api/v1/ledger: the answer of ledger_query as it is.
func (s *Server) ledger(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("gateway", "from", "to")
	if err := s.ownGateway(c, "gateway", q.text("gateway")); err != nil {
		return err
	}
	return s.passOn(c, q, "")
}

// quarantine is GET /api/v1/quarantine.
func (s *Server) quarantine(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("source", "gateway", "from", "to", "limit", "cursor")
	if err := s.ownGateway(c, "source", cmp.Or(q.text("source"), q.text("gateway"))); err != nil {
		return err
	}
	return s.passOn(c, q, "quarantine")
}

const keeper = "ledger_query" // the component that knows the ledger

func (s *Server) passOn(c *fiber.Ctx, q *query, subpath string) error {
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	values := q.joined()
	for _, name := range []string{"from", "to"} {
		if v, given := values[name]; given {
			values[name] = lostPlus.ReplaceAllString(v, "$1+$2")
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	topic, err := bus.Query(keeper, subpath)
	if err != nil {
		return err
	}
	return s.streamJSON(c, question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout})
}

func (s *Server) streamJSON(c *fiber.Ctx, q question) error {
	return s.stream(c, q, fiber.MIMEApplicationJSON, &arrayStream{}, func(answer bus.Envelope) error {
		if err := componentProblem(moduleOf(q.topic), answer); err != nil {
			return err
		}
		if len(answer.Data) == 0 {
			answer.Data = json.RawMessage("null")
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(answer.Data)
	})
}

// replay is POST /api/v1/quarantine/{id}/replay; where several sources have sent
// the same, {"source": "..."} says whose.
func (s *Server) replay(c *fiber.Ctx) error {
	if err := noParameters(c); err != nil {
		return err
	}
	id, err := pathID(c)
	if err != nil {
		return err
	}
	asked := map[string]string{"id": id}
	if len(c.BodyRaw()) > 0 {
		b, err := readBody(c)
		if err != nil {
			return err
		}
		if source := b.text("source"); source != "" {
			asked["source"] = source
		}
		b.known("source")
		if err := mistaken(b.mistakes); err != nil {
			return err
		}
	}
	data, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	topic, err := bus.Command(keeper, "replay")
	if err != nil {
		return err
	}
	answer, err := s.ask(question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout})
	if err != nil {
		return err
	}
	if err := componentProblem(keeper, answer); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	if len(answer.Data) == 0 {
		answer.Data = json.RawMessage("null")
	}
	return c.Status(http.StatusOK).Send(answer.Data)
}
