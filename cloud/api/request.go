package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

const (
	maxParameters = 100
	maxDepth      = 100 // of nested JSON
	maxText       = 256 // bytes of a reason and the like
)

// query is the query string of a request and what is wrong with it.
type query struct {
	values   map[string][]string
	order    []string
	mistakes []mistake
}

func readQuery(c *fiber.Ctx) *query {
	q := &query{values: map[string][]string{}}
	n := 0
	c.Context().QueryArgs().VisitAll(func(k, v []byte) {
		n++
		switch {
		case n > maxParameters:
		case len(k) == 0:
			q.mistake("", "a parameter without a name")
		case !utf8.Valid(k) || !utf8.Valid(v):
			q.mistake(strings.ToValidUTF8(string(k), "?"), "not UTF-8")
		default:
			name := string(k)
			if q.values[name] == nil {
				q.order = append(q.order, name)
			}
			q.values[name] = append(q.values[name], string(v))
		}
	})
	if n > maxParameters {
		q.mistake("", fmt.Sprintf("%d parameters, at most %d are taken", n, maxParameters))
	}
	return q
}

func (q *query) mistake(parameter, detail string) {
	if len(q.mistakes) < maxMistakes {
		q.mistakes = append(q.mistakes, mistake{Parameter: shorten(parameter), Detail: detail})
	}
}

// joined is every parameter as a text; one given several times is a list.
func (q *query) joined() map[string]string {
	all := make(map[string]string, len(q.values))
	for name, values := range q.values {
		all[name] = strings.Join(values, ",")
	}
	return all
}

// allow notes parameters that nobody asks for, and those given twice.
func (q *query) allow(names ...string) {
	for _, name := range q.order {
		switch {
		case !slices.Contains(names, name):
			q.mistake(name, "no such parameter; there are "+strings.Join(names, ", "))
		case len(q.values[name]) > 1:
			q.mistake(name, "given more than once")
		}
	}
}

func (q *query) text(name string) string {
	if v := q.values[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// list is a comma-separated parameter; nil when not given.
func (q *query) list(name string) []string {
	if q.values[name] == nil {
		return nil
	}
	items := strings.Split(q.text(name), ",")
	if slices.Contains(items, "") {
		q.mistake(name, "an empty value")
	}
	return items
}

// numbers is a comma-separated list of whole numbers.
func (q *query) numbers(name string) []int {
	var numbers []int
	for _, item := range q.list(name) {
		n, err := strconv.Atoi(item)
		if err != nil && item != "" {
			q.mistake(name, fmt.Sprintf("%.40q is not a whole number", item))
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// number is a whole number from low to high; none when it is not given.
func (q *query) number(name string, low, high, none int) int {
	if q.values[name] == nil {
		return none
	}
	n, err := strconv.Atoi(q.text(name))
	if err != nil || n < low || n > high {
		q.mistake(name, fmt.Sprintf("%.40q is not a whole number from %d to %d", q.text(name), low, high))
		return none
	}
	return n
}

// body is the JSON object of a request and what is wrong with it.
type body struct {
	members  map[string]json.RawMessage
	mistakes []mistake
}

// readBody reads the body, whatever its content type says: curl says it is a
// form. A body that cannot be read at all is an error.
func readBody(c *fiber.Ctx) (*body, error) {
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "the body must not be compressed")
	}
	return parseBody(bytes.Clone(c.BodyRaw()))
}

func parseBody(text []byte) (*body, error) {
	b := &body{}
	switch {
	case !utf8.Valid(text):
		return nil, mistaken([]mistake{{Pointer: "", Detail: "the body is not UTF-8"}})
	case deeperThan(text, maxDepth):
		return nil, mistaken([]mistake{{Pointer: "", Detail: fmt.Sprintf("the body is nested deeper than %d levels", maxDepth)}})
	}
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' {
		return nil, mistaken([]mistake{{Pointer: "", Detail: "the body is not a JSON object"}})
	}
	if err := json.Unmarshal(text, &b.members); err != nil {
		return nil, mistaken([]mistake{{Pointer: "", Detail: "the body is not JSON: " + err.Error()}})
	}
	if pointer, twice := repeated(text); twice {
		return nil, mistaken([]mistake{{Pointer: pointer, Detail: "given twice, and nobody knows which is meant"}})
	}
	return b, nil
}

// repeated finds the first member that an object of the JSON text has twice.
func repeated(text []byte) (pointer string, twice bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	pointer, twice = repeatedIn(d)
	return shorten(pointer), twice
}

// repeatedIn reads one value; the depth of the text is bounded. The pointer is
// made on the way back only: most texts need none, and its steps may be long.
func repeatedIn(d *json.Decoder) (pointer string, twice bool) {
	token, err := d.Token()
	if err != nil {
		return "", false
	}
	delim, nested := token.(json.Delim)
	var seen map[string]bool
	if delim == '{' {
		seen = map[string]bool{}
	}
	for n := 0; nested && d.More(); n++ {
		name := ""
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return "", false
			}
			name, _ = token.(string)
			if seen[name] {
				return "/" + pointerEscape.Replace(name), true
			}
			seen[name] = true
		}
		if rest, twice := repeatedIn(d); twice {
			if delim == '[' {
				name = strconv.Itoa(n)
			}
			return "/" + pointerEscape.Replace(name) + rest, true
		}
	}
	if nested {
		_, _ = d.Token() // the closing bracket: the text is well-formed
	}
	return "", false
}

// deeperThan looks at brackets only; what is no JSON is somebody else's matter.
func deeperThan(text []byte, limit int) bool {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '[' || c == '{':
			if depth++; depth > limit {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// mistake notes a mistake at a JSON pointer, given without its leading slash.
func (b *body) mistake(pointer, detail string) {
	if len(b.mistakes) < maxMistakes {
		b.mistakes = append(b.mistakes, mistake{Pointer: "/" + pointer, Detail: detail})
	}
}

// known notes members that nobody asks for.
func (b *body) known(names ...string) {
	var strangers []string
	for name := range b.members {
		if !slices.Contains(names, name) {
			strangers = append(strangers, name)
		}
	}
	slices.Sort(strangers)
	for _, name := range strangers {
		b.mistake(shorten(pointerEscape.Replace(name)), "no such member; there are "+strings.Join(names, ", "))
	}
}

// pointerEscape is RFC 6901 section 3.
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

func (b *body) has(name string) bool {
	v, ok := b.members[name]
	return ok && string(v) != "null"
}

// into decodes a member that is there; what says what it should have been.
func (b *body) into(name string, v any, what string) bool {
	if !b.has(name) || json.Unmarshal(b.members[name], v) == nil {
		return true
	}
	b.mistake(name, what)
	return false
}

func (b *body) boolean(name string) (v bool) {
	b.into(name, &v, "not true or false")
	return v
}

func (b *body) text(name string) (v string) {
	b.into(name, &v, "not a text")
	if len(v) > maxText {
		b.mistake(name, fmt.Sprintf("longer than %d bytes", maxText))
	}
	return v
}

// subtopics are IoToad's: listed tells whether there is a list at all.
func (b *body) subtopics() (list []string, listed bool) {
	if !b.has("subtopics") {
		return nil, false
	}
	switch err := json.Unmarshal(b.members["subtopics"], &list); {
	case err != nil:
		b.mistake("subtopics", "not a list of texts")
	case len(list) == 0:
		b.mistake("subtopics", "an empty list reaches nobody: name subtopics, or leave it out")
	case len(list) > maxSubtopics:
		b.mistake("subtopics", fmt.Sprintf("%d subtopics, at most %d are taken", len(list), maxSubtopics))
		list = nil
	}
	return list, true
}
