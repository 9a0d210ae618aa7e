package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/config"
)

// The OpenAPI document, in parts: the first has what all share, each of the
// others adds paths and components.
//
//go:embed openapi.yaml paths-house.yaml paths-registry.yaml paths-alerts.yaml paths-backup.yaml
var documentFiles embed.FS

var documentParts = []string{"openapi.yaml", "paths-house.yaml", "paths-registry.yaml", "paths-alerts.yaml", "paths-backup.yaml"}

const documentRoute = "/api/v1/openapi.json"

// OpenAPI is the document of the whole REST API, OpenAPI 3.1 as JSON. It is the
// same for every server of this version.
func OpenAPI() ([]byte, error) { return wholeDocument() }

var wholeDocument = sync.OnceValues(func() ([]byte, error) {
	var whole, paths ordered
	kinds := map[string]*ordered{}
	var order []string
	for _, name := range documentParts {
		text, err := documentFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if text, err = config.JSON(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		part, err := readOrdered(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, m := range part {
			switch {
			case strings.HasPrefix(m.name, "x-"): // what its own aliases name
			case m.name == "paths":
				err = paths.add(m.value)
			case m.name == "components":
				order, err = addComponents(kinds, order, m.value)
			default:
				whole = append(whole, m)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	var components ordered
	for _, kind := range order {
		components = append(components, member{kind, kinds[kind].json()})
	}
	whole = append(whole, member{"paths", paths.json()}, member{"components", components.json()})
	return append(whole.json(), '\n'), nil
})

func addComponents(kinds map[string]*ordered, order []string, value json.RawMessage) ([]string, error) {
	all, err := readOrdered(value)
	if err != nil {
		return order, err
	}
	for _, kind := range all {
		if kinds[kind.name] == nil {
			kinds[kind.name] = &ordered{}
			order = append(order, kind.name)
		}
		if err := kinds[kind.name].add(kind.value); err != nil {
			return order, err
		}
	}
	return order, nil
}

// ordered is a JSON object whose members keep their order.
type ordered []member

type member struct {
	name  string
	value json.RawMessage
}

var errNoObject = errors.New("not a JSON object")

func readOrdered(text json.RawMessage) (all ordered, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, errNoObject
	}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, errNoObject
		}
		all = append(all, member{name, value})
	}
	return all, nil
}

// add takes the members of another object, which must be new.
func (o *ordered) add(text json.RawMessage) error {
	more, err := readOrdered(text)
	if err != nil {
		return err
	}
	for _, m := range more {
		if o.value(m.name) != nil {
			return fmt.Errorf("%q is there already", m.name)
		}
		*o = append(*o, m)
	}
	return nil
}

// value is that of a member, nil for none.
func (o ordered) value(name string) json.RawMessage {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (o ordered) json() json.RawMessage {
	var b bytes.Buffer
	for i, m := range o {
		b.WriteByte("{,"[min(i, 1)])
		name, _ := json.Marshal(m.name) // a text always is JSON
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes()
}

// documentRoutes serve the document, to programs and to people.
func (s *Server) documentRoutes(app *fiber.App) {
	s.route(app, http.MethodGet, documentRoute, open, unchanging(fiber.MIMEApplicationJSON, wholeDocument))
	s.route(app, http.MethodGet, "/docs", open, unchanging(fiber.MIMETextHTMLCharsetUTF8, documentPage))
}

// unchanging serves what is the same as long as the program is: a copy holds for
// an hour, and then as long as its ETag does.
func unchanging(contentType string, text func() ([]byte, error)) fiber.Handler {
	tagged := sync.OnceValues(func() (string, error) {
		b, err := text()
		sum := sha256.Sum256(b)
		return `"` + hex.EncodeToString(sum[:8]) + `"`, err
	})
	return func(c *fiber.Ctx) error {
		if err := noParameters(c); err != nil {
			return err
		}
		tag, err := tagged()
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderETag, tag)
		c.Set(fiber.HeaderCacheControl, "public, max-age=3600")
		// The page has its style in itself and nothing else.
		c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		if strings.Contains(c.Get(fiber.HeaderIfNoneMatch), tag) {
			return c.SendStatus(http.StatusNotModified)
		}
		c.Set(fiber.HeaderContentType, contentType)
		b, err := text()
		if err != nil {
			return err
		}
		return c.Send(b)
	}
}
