package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

const (
	inventoryRoute = "/api/v1/inventory"
	// maxInventory bounds an inventory, in bytes.
	maxInventory = 3 << 20
	yamlType     = "application/yaml"
)

// formats of an inventory by media type.
var formats = map[string]string{
	csvType: "csv", yamlType: "yaml", "application/x-yaml": "yaml", "text/yaml": "yaml", fiber.MIMEApplicationJSON: "etcd",
}

// exportInventory is GET /api/v1/inventory, as CSV or YAML.
func (s *Server) exportInventory(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("format")
	format := q.text("format")
	if format == "" {
		accept, err := negotiate(c, csvType, yamlType)
		if err != nil {
			return err
		}
		format = formats[accept]
	} else if format != "csv" && format != "yaml" {
		q.mistake("format", "neither csv nor yaml")
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	r, err := s.requestOf(c, "export")
	if err != nil {
		return err
	}
	r.Filter = map[string]string{"format": format}
	answer, err := s.askRegistry("query", "inventory", r)
	if err != nil {
		return err
	}
	var text string
	if json.Unmarshal(answer.Content, &text) != nil {
		return fmt.Errorf("%w: the inventory is no text", errBadAnswer)
	}
	if answer.Revision > 0 {
		c.Set(fiber.HeaderETag, entityTagOf(answer.Revision))
	}
	c.Set(fiber.HeaderContentType, map[string]string{"csv": csvType + "; charset=utf-8", "yaml": yamlType + "; charset=utf-8"}[format])
	return c.SendString(text)
}

// importInventory is POST /api/v1/inventory: the body is the file, all of it is
// taken or nothing. With remove=true what it does not name goes.
func (s *Server) importInventory(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow("format", "dry_run", "reason", "remove")
	r, err := s.requestOf(c, "import")
	if err != nil {
		return err
	}
	q.common(&r)
	format, remove := q.text("format"), q.boolean("remove")
	media, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType)) // "" when there is none
	switch {
	case format != "" && !slices.Contains([]string{"csv", "yaml", "etcd"}, format):
		q.mistake("format", "none of csv, yaml and etcd (a dump of IoToad's)")
	case format == "" && formats[media] == "":
		q.mistake("format", "required where the header Content-Type is not text/csv, application/yaml or application/json: csv, yaml or etcd (a dump of IoToad's)")
	case format == "":
		format = formats[media]
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	if r.Revision, err = revisionOf(c); err != nil {
		return err
	}
	text, err := fileIn(c)
	if err != nil {
		return err
	}
	if r.Content, err = json.Marshal(map[string]any{"format": format, "text": text, "remove": remove}); err != nil {
		return err
	}
	answer, err := s.askRegistry("command", "inventory", r)
	if err != nil {
		return err
	}
	return sendAsIs(c, http.StatusOK, answer) // its created and changed count
}

// fileIn is the body of a request that is a file of text.
func fileIn(c *fiber.Ctx) (text string, err error) {
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return "", newProblem(http.StatusUnsupportedMediaType, "the body must not be compressed")
	}
	text = string(c.BodyRaw())
	switch {
	case strings.TrimSpace(text) == "":
		return "", mistaken([]mistake{{Detail: "the body is empty; it must be the file"}})
	case !utf8.ValidString(text):
		return "", mistaken([]mistake{{Line: badLine(text), Detail: "the file is not UTF-8; save it so"}})
	}
	return text, nil
}

// badLine is the first line that is not UTF-8.
func badLine(text string) int {
	line := 1
	for one := range strings.Lines(text) {
		if !utf8.ValidString(one) {
			break
		}
		line++
	}
	return line
}
