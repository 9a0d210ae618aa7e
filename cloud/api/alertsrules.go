package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

// alertStatistics is GET /api/v1/alerts/statistics: rule by rule, how often and
// how long it fired.
func (s *Server) alertStatistics(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("from", "to", "rule", "severity", "device", "gateway", "floor", "late")
	r, err := s.requestOf(c, "get")
	if err != nil {
		return err
	}
	r.Filter = q.alertFilter()
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	answer, err := s.askAlerting("query", "statistics", r)
	if err != nil {
		return err
	}
	if isArray(answer.Content) {
		return sendPage(c, datedBy(alertSeconds, answer.Content), "")
	}
	return sendAlerting(c, http.StatusOK, answer)
}

// alertAudit is GET /api/v1/alerts/audit: who hushed what and who changed rules,
// newest first.
func (s *Server) alertAudit(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow(auditFilters...)
	r, err := s.requestOf(c, "list")
	if err != nil {
		return err
	}
	r.Limit, r.Cursor = q.paging()
	r.Filter = q.auditFilter()
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	answer, err := s.askAlerting("query", "audit", r)
	if err != nil {
		return err
	}
	if !isArray(answer.Content) {
		return fmt.Errorf("%w: the alerting gave no audit log", errBadAnswer)
	}
	return sendPage(c, datedBy(alertSeconds, answer.Content), answer.Next)
}

// rulesAnswer is all rules of the site and the calendars that they name. Its ETag
// is that of the whole.
type rulesAnswer struct {
	Items     json.RawMessage `json:"items"`
	Next      *string         `json:"next"`
	Calendars json.RawMessage `json:"calendars,omitempty"`
}

// alertRules is GET /api/v1/alerts/rules.
func (s *Server) alertRules(c *fiber.Ctx) error {
	answer, err := s.lookAlerting(c, "rules", "list")
	if err != nil {
		return err
	}
	var file struct{ Rules, Calendars json.RawMessage }
	if json.Unmarshal(answer.Content, &file) != nil || !isArray(file.Rules) {
		return fmt.Errorf("%w: the alerting gave no rules", errBadAnswer)
	}
	if answer.Content, err = json.Marshal(rulesAnswer{Items: file.Rules, Calendars: file.Calendars}); err != nil {
		return err
	}
	return sendAsIs(c, http.StatusOK, answer)
}

// alertRule is GET /api/v1/alerts/rules/{name}.
func (s *Server) alertRule(c *fiber.Ctx) error {
	answer, err := s.lookAlerting(c, "rules", "get")
	if err != nil {
		return err
	}
	return sendAsIs(c, http.StatusOK, answer) // a rule has no times
}

// lookAlerting asks what needs no parameters.
func (s *Server) lookAlerting(c *fiber.Ctx, resource, verb string) (contract.RegistryAnswer, error) {
	if err := noParameters(c); err != nil {
		return contract.RegistryAnswer{}, err
	}
	r, err := s.requestOf(c, verb)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	return s.askAlerting("query", resource, r)
}

// exportRules is GET /api/v1/alerts/rules.yaml: rules and calendars as a file.
func (s *Server) exportRules(c *fiber.Ctx) error {
	answer, err := s.lookAlerting(c, "rules", "export")
	if err != nil {
		return err
	}
	text, ok := textIn(answer.Content)
	if !ok {
		return fmt.Errorf("%w: the rules are no text", errBadAnswer)
	}
	if answer.Revision > 0 {
		c.Set(fiber.HeaderETag, entityTagOf(answer.Revision))
	}
	c.Set(fiber.HeaderContentType, yamlType+"; charset=utf-8")
	return c.SendString(text)
}

// textIn is a text, or the member text of an object.
func textIn(content json.RawMessage) (text string, ok bool) {
	var inner struct{ Text *string }
	if json.Unmarshal(content, &text) == nil {
		return text, text != ""
	}
	if json.Unmarshal(content, &inner) != nil || inner.Text == nil {
		return "", false
	}
	return *inner.Text, true
}

// importRules is PUT /api/v1/alerts/rules.yaml: the body is the whole file, in
// place of all rules and calendars, and taken as a whole or not at all.
func (s *Server) importRules(c *fiber.Ctx) error {
	r, err := s.beginCommand(c, "import")
	if err != nil {
		return err
	}
	text, err := fileIn(c)
	if err != nil {
		return err
	}
	if r.Content, err = json.Marshal(map[string]string{"text": text}); err != nil {
		return err
	}
	answer, err := s.askAlerting("command", "rules", r)
	if err != nil {
		return err
	}
	return sendAsIs(c, http.StatusOK, answer)
}

// alertReceivers is GET /api/v1/alerts/receivers: who is told, and whether it
// arrives.
func (s *Server) alertReceivers(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("limit", "cursor")
	r, err := s.listRequest(c, q)
	if err != nil {
		return err
	}
	answer, err := s.askAlerting("query", "receivers", r)
	if err != nil {
		return err
	}
	if !isArray(answer.Content) {
		return fmt.Errorf("%w: the alerting gave no list", errBadAnswer)
	}
	return sendPage(c, datedBy(alertSeconds, answer.Content), answer.Next)
}
