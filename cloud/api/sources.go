package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// sourcesPath is where ledger_query tells who sends data.
const sourcesPath = "sources"

// What the ledger has of a source: numbered messages, whose completeness it can
// prove; messages that asked for receipts; nothing.
const (
	ledgerProves = "numbered"
	ledgerEnters = "receipted"
	ledgerNone   = "none"
)

// heardSource is a source as ledger_query tells of it.
type heardSource struct {
	Source string `json:"source"`
	sourceCounts
	Entered  int64          `json:"entered"`
	Numbered int64          `json:"numbered"`
	First    device.Micros  `json:"first"`
	Heard    device.Micros  `json:"heard"`
	Error    string         `json:"error"`
	ErrorAt  *device.Micros `json:"error_at"`
}

type sourceCounts struct {
	Messages    int64 `json:"messages"`
	Records     int64 `json:"records"`
	Quarantined int64 `json:"quarantined"`
	Limited     int64 `json:"limited"`
	Malformed   int64 `json:"malformed"`
	Series      int64 `json:"series"`
}

// sourceView is who sends data, and what became of it.
type sourceView struct {
	Source string `json:"source"`
	Kind   string `json:"kind"` // gateway or agent
	Ledger string `json:"ledger"`
	sourceCounts
	First stamp  `json:"first"`
	Heard stamp  `json:"heard"`
	Error string `json:"error,omitempty"`
	// ErrorAt is when what Error tells happened.
	ErrorAt *stamp `json:"error_at,omitempty"`
}

// sources is GET /api/v1/sources: who sends data, by name.
func (s *Server) sources(c *fiber.Ctx) error {
	if _, err := s.knownSite(); err != nil {
		return err
	}
	q := readQuery(c)
	q.allow("prefix", "from", "to", "limit", "cursor")
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	asked := q.joined()
	for _, name := range []string{"from", "to"} {
		if v, given := asked[name]; given {
			asked[name] = lostPlus.ReplaceAllString(v, "$1+$2")
		}
	}
	items, next, err := s.heardSources(asked)
	if err != nil {
		return err
	}
	out := page[sourceView]{Items: make([]sourceView, 0, len(items))}
	for _, one := range items {
		out.Items = append(out.Items, s.viewSource(one))
	}
	if next != "" {
		out.Next = &next
	}
	return c.JSON(out)
}

// source is GET /api/v1/sources/{name}.
func (s *Server) source(c *fiber.Ctx) error {
	if _, err := s.knownSite(); err != nil {
		return err
	}
	q := readQuery(c)
	q.allow()
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	name, err := pathID(c)
	if err != nil {
		return err
	}
	items, _, err := s.heardSources(map[string]string{"source": name})
	if err != nil {
		return err
	}
	if len(items) == 0 || items[0].Source != name {
		return newProblem(http.StatusNotFound, "nothing was heard from a source "+shorten(name)+"; it is listed some seconds after its first message")
	}
	return c.JSON(s.viewSource(items[0]))
}

// heardSources asks ledger_query.
func (s *Server) heardSources(asked map[string]string) (items []heardSource, next string, err error) {
	data, err := json.Marshal(asked)
	if err != nil {
		return nil, "", err
	}
	topic, err := bus.Query(keeper, sourcesPath)
	if err != nil {
		return nil, "", err
	}
	answer, err := s.ask(question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout})
	if err != nil {
		return nil, "", err
	}
	if err := componentProblem(keeper, answer); err != nil {
		return nil, "", err
	}
	var told struct {
		Items []heardSource `json:"items"`
		Next  string        `json:"next"`
	}
	if json.Unmarshal(answer.Data, &told) != nil {
		return nil, "", fmt.Errorf("%w: %s gave no sources", errBadAnswer, keeper)
	}
	return told.Items, told.Next, nil
}

func (s *Server) viewSource(h heardSource) sourceView {
	v := sourceView{
		Source: h.Source, Kind: "agent", Ledger: ledgerNone, sourceCounts: h.sourceCounts,
		First: stamp(h.First), Heard: stamp(h.Heard), Error: h.Error, ErrorAt: stampOf(h.ErrorAt),
	}
	if _, known := s.house.Gateway(h.Source); known {
		v.Kind = "gateway"
	}
	switch {
	case h.Numbered > 0:
		v.Ledger = ledgerProves
	case h.Entered > 0:
		v.Ledger = ledgerEnters
	}
	return v
}
