package api

import (
	"bytes"
	"cmp"
	_ "embed" // the page's template
	"encoding/json"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed page.html
var pageTemplate string

// pageView is the document as the page shows it.
type pageView struct {
	Title, Summary string
	Text           template.HTML
	Tags           []tagView
	Schemas        []schemaView
}

type tagView struct {
	Name       string
	Text       template.HTML
	Operations []operationView
}

type operationView struct {
	ID, Method, Path, Summary string
	Text                      template.HTML
	Open                      bool
	Parameters                []fieldView
	Bodies                    []contentView
	Answers                   []answerView
}

type answerView struct {
	Status   string
	Text     template.HTML
	Headers  []string
	Contents []contentView
}

// contentView is a body in one media type.
type contentView struct {
	Media    string
	Type     template.HTML
	Fields   []fieldView
	Examples []exampleView
}

type exampleView struct{ Name, Text string }

// fieldView is a parameter or a member, one that stands in another indented.
type fieldView struct {
	Name, In string
	Depth    int
	Required bool
	Type     template.HTML
	Text     template.HTML
}

type schemaView struct {
	Name   string
	Text   template.HTML
	Type   template.HTML
	Fields []fieldView
}

// documentPage is the document as a page of HTML.
var documentPage = sync.OnceValues(func() ([]byte, error) {
	text, err := wholeDocument()
	if err != nil {
		return nil, err
	}
	p := &pageMaker{}
	if p.root, err = readOrdered(text); err != nil {
		return nil, err
	}
	view, err := p.page()
	if err != nil {
		return nil, fmt.Errorf("page of the document: %w", err)
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, view)
	return b.Bytes(), err
})

type pageMaker struct{ root ordered }

// at is a part of the document, empty where there is none.
func at(o ordered, names ...string) ordered {
	for _, name := range names {
		o, _ = readOrdered(o.value(name))
	}
	return o
}

func words(o ordered, name string) (s string) {
	_ = json.Unmarshal(o.value(name), &s)
	return s
}

func items(o ordered, name string) (list []ordered) {
	var all []json.RawMessage
	_ = json.Unmarshal(o.value(name), &all)
	for _, one := range all {
		part, _ := readOrdered(one)
		list = append(list, part)
	}
	return list
}

// resolve follows a reference within the document.
func (p *pageMaker) resolve(o ordered) ordered {
	if ref := words(o, "$ref"); ref != "" {
		return at(p.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return o
}

func (p *pageMaker) page() (view pageView, err error) {
	info := at(p.root, "info")
	view = pageView{Title: words(info, "title"), Summary: words(info, "summary"), Text: paragraphs(words(info, "description"))}
	for _, t := range items(p.root, "tags") {
		view.Tags = append(view.Tags, tagView{Name: words(t, "name"), Text: inline(words(t, "description"))})
	}
	for _, path := range at(p.root, "paths") {
		shared, err := readOrdered(path.value)
		if err != nil {
			return view, err
		}
		for _, method := range shared {
			if method.name == "parameters" {
				continue
			}
			o, err := readOrdered(method.value)
			if err != nil {
				return view, err
			}
			one := p.operation(path.name, method.name, shared, o)
			var tags []string
			_ = json.Unmarshal(o.value("tags"), &tags)
			for i := range view.Tags {
				if len(tags) > 0 && tags[0] == view.Tags[i].Name {
					view.Tags[i].Operations = append(view.Tags[i].Operations, one)
				}
			}
		}
	}
	for _, s := range at(p.root, "components", "schemas") {
		o, err := readOrdered(s.value)
		if err != nil {
			return view, err
		}
		view.Schemas = append(view.Schemas, schemaView{Name: s.name, Text: inline(words(o, "description")), Type: typeOf(o), Fields: p.fields(o, 0)})
	}
	slices.SortFunc(view.Schemas, func(a, b schemaView) int { return strings.Compare(a.Name, b.Name) })
	return view, nil
}

func (p *pageMaker) operation(path, method string, shared, o ordered) operationView {
	v := operationView{
		ID: words(o, "operationId"), Method: strings.ToUpper(method), Path: path, Summary: words(o, "summary"),
		Text: paragraphs(words(o, "description")), Open: string(o.value("security")) == "[]",
	}
	for _, parameter := range slices.Concat(items(shared, "parameters"), items(o, "parameters")) {
		parameter = p.resolve(parameter)
		schema := at(parameter, "schema")
		v.Parameters = append(v.Parameters, fieldView{
			Name: words(parameter, "name"), In: words(parameter, "in"), Required: string(parameter.value("required")) == "true",
			Type: typeOf(schema), Text: inline(words(parameter, "description")),
		})
	}
	v.Bodies = p.contents(at(o, "requestBody"))
	for _, answer := range at(o, "responses") {
		given, _ := readOrdered(answer.value)
		one := p.resolve(given)
		a := answerView{Status: answer.name, Text: inline(words(one, "description")), Contents: p.contents(one)}
		if words(given, "$ref") != "" { // what many have is not shown each time
			for i := range a.Contents {
				a.Contents[i].Examples = nil
			}
		}
		for _, h := range at(one, "headers") {
			a.Headers = append(a.Headers, h.name)
		}
		if a.Status == "default" {
			a.Status = "other"
		}
		v.Answers = append(v.Answers, a)
	}
	slices.SortStableFunc(v.Answers, func(a, b answerView) int { return cmp.Compare(a.Status, b.Status) })
	return v
}

func (p *pageMaker) contents(o ordered) (all []contentView) {
	for _, media := range at(o, "content") {
		m, _ := readOrdered(media.value)
		schema := at(m, "schema")
		v := contentView{Media: media.name, Type: typeOf(schema)}
		if words(schema, "$ref") == "" {
			v.Fields = p.fields(schema, 0)
		}
		for _, example := range at(m, "examples") {
			one, _ := readOrdered(example.value)
			v.Examples = append(v.Examples, exampleView{example.name, exampleText(one.value("value"))})
		}
		all = append(all, v)
	}
	return all
}

func exampleText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Indent(&b, value, "", "  ") != nil {
		return string(value)
	}
	return b.String()
}

// fields lists the members of a schema, those of its inner objects below them.
func (p *pageMaker) fields(o ordered, depth int) (all []fieldView) {
	if len(o) == 0 {
		return nil
	}
	var required []string
	_ = json.Unmarshal(o.value("required"), &required)
	for _, m := range at(o, "properties") {
		inner, _ := readOrdered(m.value)
		all = append(all, fieldView{
			Name: m.name, Depth: depth, Required: slices.Contains(required, m.name), Type: typeOf(inner), Text: inline(words(inner, "description")),
		})
		all = append(all, p.fields(inner, depth+1)...)
	}
	for _, below := range []string{"items", "additionalProperties"} {
		all = append(all, p.fields(at(o, below), depth+1)...)
	}
	for _, one := range items(o, "oneOf") {
		all = append(all, p.fields(one, depth)...)
	}
	return all
}

// bounds are the words of a schema that narrow its type.
var bounds = []struct{ name, form string }{
	{"const", "%s"},
	{"format", "%s"},
	{"minimum", "from %s"},
	{"exclusiveMinimum", "over %s"},
	{"maximum", "to %s"},
	{"minLength", "at least %s characters"},
	{"maxLength", "up to %s characters"},
	{"minItems", "at least %s"},
	{"maxItems", "up to %s"},
	{"pattern", "%s"},
	{"default", "default %s"},
}

// typeOf says in words what a schema takes.
func typeOf(o ordered) template.HTML {
	var parts []string
	if kind := kindOf(o); kind != "" {
		parts = append(parts, kind)
	}
	for _, b := range bounds {
		if value := o.value(b.name); value != nil {
			parts = append(parts, fmt.Sprintf(b.form, "<code>"+template.HTMLEscapeString(strings.Trim(string(value), `"`))+"</code>"))
		}
	}
	return template.HTML(strings.Join(parts, ", ")) //nolint:gosec // every value above is escaped
}

func kindOf(o ordered) string {
	if ref := words(o, "$ref"); ref != "" {
		name := template.HTMLEscapeString(ref[strings.LastIndexByte(ref, '/')+1:])
		return `<a href="#schema-` + name + `">` + name + `</a>`
	}
	var types []string
	if json.Unmarshal(o.value("type"), &types) != nil {
		if one := words(o, "type"); one != "" {
			types = []string{one}
		}
	}
	for i, one := range types {
		switch {
		case one == "array":
			types[i] = "list of " + cmp.Or(string(typeOf(at(o, "items"))), "anything")
		case one == "object" && len(at(o, "additionalProperties")) > 0:
			types[i] = "object of " + string(typeOf(at(o, "additionalProperties")))
		}
	}
	for _, one := range items(o, "oneOf") {
		types = append(types, string(typeOf(one)))
	}
	var values []any
	_ = json.Unmarshal(o.value("enum"), &values)
	for _, v := range values {
		types = append(types, "<code>"+template.HTMLEscapeString(fmt.Sprint(v))+"</code>")
	}
	return strings.Join(types, " or ")
}

var code = regexp.MustCompile("`([^`]+)`")

// inline is a text whose `code` is marked.
func inline(text string) template.HTML {
	return template.HTML(code.ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>")) //nolint:gosec // escaped before
}

// paragraphs are texts with empty lines between.
func paragraphs(text string) template.HTML {
	var b strings.Builder
	for one := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if one != "" {
			b.WriteString("<p>" + string(inline(one)) + "</p>\n")
		}
	}
	return template.HTML(b.String()) //nolint:gosec // escaped by inline
}
