// Package apitest holds what an api is asked and what it answers against its
// OpenAPI document, as a test's own client would not: an answer that the document
// does not describe, an accepted request that it does not allow, are mistakes.
// It remembers which operations and answers were seen, so that a test can tell
// what no test reaches, and gives the document's examples as requests.
//
// It is stricter than the document is for clients: objects have no members but
// those that are described.
package apitest

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wattline/wattline/cloud/api"
)

const url = "openapi.json"

// Document is the api's document, ready to check with. Safe for concurrent use.
type Document struct {
	root       map[string]any
	operations []*operation
	compiler   *jsonschema.Compiler

	mu      sync.Mutex // protects the fields below and the compiler
	schemas map[string]*jsonschema.Schema
	reached map[string]bool
}

// operation is one method of one path.
type operation struct {
	id, method, path string
	text             string // its description
	open             bool   // needs no token
	matches          *regexp.Regexp
	names            []string // of the path's parameters
	parameters       []place
	body             *place // nil where there is none
	answers          map[string]place
}

// place is a part of the document and where it stands.
type place struct {
	at   string // JSON pointer
	what map[string]any
}

// New reads the document of the api that the test was built with.
func New() (*Document, error) {
	text, err := api.OpenAPI()
	if err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the document is a %T", tree)
	}
	strict(root)
	d := &Document{root: root, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}, reached: map[string]bool{}}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(url, root); err != nil {
		return nil, err
	}
	for path, item := range object(root["paths"]) {
		for method, what := range object(item) {
			if method != "parameters" {
				d.operations = append(d.operations, d.operation(path, method, object(item), object(what)))
			}
		}
	}
	slices.SortFunc(d.operations, func(a, b *operation) int { return strings.Compare(a.rank(), b.rank()) })
	return d, nil
}

// strict forbids members that are not described, wherever a schema lists them.
func strict(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			strict(item)
		}
	case map[string]any:
		if _, listed := v["properties"].(map[string]any); listed && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for name, member := range v {
			if !slices.Contains([]string{"example", "examples", "default", "const", "enum"}, name) || name == "default" && object(member) != nil {
				strict(member)
			}
		}
	}
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

func list(v any) []any { l, _ := v.([]any); return l }

func text(v any) string { s, _ := v.(string); return s }

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// below is a member of a place, with a reference followed.
func (d *Document) below(p place, names ...string) place {
	for _, name := range names {
		member := object(p.what[name])
		p = place{p.at + "/" + escape.Replace(name), member}
		if ref := text(member["$ref"]); ref != "" {
			p = d.referred(ref)
		}
	}
	return p
}

func (d *Document) referred(ref string) place {
	p := place{"", d.root}
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		p = place{p.at + "/" + name, object(p.what[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)])}
	}
	return p
}

// deep are parameters of paths that may have slashes.
var deep = []string{"/{subpath}", "/alerts/{id}"}

var braces = regexp.MustCompile(`\\\{([a-z_]+)\\\}`)

func (d *Document) operation(path, method string, item, what map[string]any) *operation {
	at := "/paths/" + escape.Replace(path)
	o := &operation{id: text(what["operationId"]), method: strings.ToUpper(method), path: path, text: text(what["description"]), answers: map[string]place{}}
	o.open = what["security"] != nil && len(list(what["security"])) == 0
	level := "([^/]+)"
	if slices.ContainsFunc(deep, func(end string) bool { return strings.HasSuffix(path, end) }) {
		level = "(.+)"
	}
	for _, name := range braces.FindAllStringSubmatch(regexp.QuoteMeta(path), -1) {
		o.names = append(o.names, name[1])
	}
	form := regexp.QuoteMeta(path)
	if i := strings.LastIndex(form, `\{`); i >= 0 { // only the last may be deep
		form = braces.ReplaceAllString(form[:i], "([^/]+)") + braces.ReplaceAllString(form[i:], level)
	}
	o.matches = regexp.MustCompile("^" + form + "$")
	for _, from := range []place{{at, item}, {at + "/" + method, what}} {
		for i, one := range list(from.what["parameters"]) {
			p := place{fmt.Sprintf("%s/parameters/%d", from.at, i), object(one)}
			if ref := text(p.what["$ref"]); ref != "" {
				p = d.referred(ref)
			}
			o.parameters = append(o.parameters, p)
		}
	}
	whole := place{at + "/" + method, what}
	if what["requestBody"] != nil {
		body := d.below(whole, "requestBody")
		o.body = &body
	}
	for status := range object(what["responses"]) {
		o.answers[status] = d.below(whole, "responses", status)
	}
	return o
}

// rank sorts the paths so that those with fewer parameters come first.
func (o *operation) rank() string {
	deepness := "0"
	if strings.Contains(o.matches.String(), "(.+)") {
		deepness = "1"
	}
	return fmt.Sprintf("%s%d %s %s", deepness, len(o.names), o.path, o.method)
}

// find gives the operation of a path as it was sent; known tells whether the path
// is one of the document, be it with other methods.
func (d *Document) find(method, path string) (o *operation, known bool) {
	if method == "HEAD" {
		method = "GET"
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	for _, one := range d.operations {
		if !one.matches.MatchString(path) {
			continue
		}
		if known = true; one.method == method {
			return one, true
		}
	}
	return nil, known
}

// Operations lists the operations as "GET /api/v1/devices/{id}", in the order of
// their paths.
func (d *Document) Operations() []string {
	all := make([]string, len(d.operations))
	for i, o := range d.operations {
		all[i] = o.method + " " + o.path
	}
	return all
}

// IDs lists the operationIds.
func (d *Document) IDs() []string {
	all := make([]string, len(d.operations))
	for i, o := range d.operations {
		all[i] = o.id
	}
	return all
}

// valid tells what the schema at a place has against a value.
func (d *Document) valid(at string, value any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.schemas[at]
	if s == nil {
		var err error
		if s, err = d.compiler.Compile(url + "#" + at); err != nil {
			return err
		}
		d.schemas[at] = s
	}
	return s.Validate(value)
}

func (d *Document) reach(o *operation, answer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reached[o.id+" "+answer] = true
}

// Unreached lists the answers of operations, as "getReadings 200 text/csv", that
// no exchange has had. What may become of any request counts once for all.
func (d *Document) Unreached() []string {
	all := map[string]bool{}
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := func(id, answer string) bool {
		return d.reached[id+" "+answer]
	}
	for _, o := range d.operations {
		for status, answer := range o.answers {
			if status == "default" {
				for _, code := range list(answer.what["x-statuses"]) {
					name := fmt.Sprint("other ", code)
					if !slices.ContainsFunc(d.operations, func(o *operation) bool { return seen(o.id, name) }) && !seen("", name) {
						all["any operation: "+name] = true
					}
				}
				continue
			}
			media := slices.Sorted(maps.Keys(object(answer.what["content"])))
			if len(media) == 0 {
				media = []string{""}
			}
			for _, m := range media {
				if name := strings.TrimSpace(status + " " + m); !seen(o.id, name) {
					all[o.id+" "+name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
