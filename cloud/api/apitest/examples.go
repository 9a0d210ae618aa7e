package apitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	neturl "net/url"
	"slices"
	"strings"
)

// Example is a request of the document.
type Example struct {
	Operation, Name string
	Method, Target  string
	Media           string // of the body, empty for none
	Body            string
	// Open tells that it needs no token; Text is the operation's description, which
	// says what token the others need.
	Open bool
	Text string
}

// Examples are all requests that the document shows: examples of parameters and
// bodies that have the same name belong together, and an operation without any is
// a request too. Those that take something away come last, the longest path
// first.
func (d *Document) Examples() (all []Example) {
	for _, o := range d.operations {
		names := map[string]bool{}
		for _, p := range o.parameters {
			collect(names, p.what["examples"])
		}
		media := ""
		if o.body != nil {
			for _, m := range slices.Sorted(maps.Keys(object(o.body.what["content"]))) {
				if examples := object(object(o.body.what["content"])[m])["examples"]; examples != nil {
					media = m
					collect(names, examples)
				}
			}
		}
		if len(names) == 0 {
			names[""] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			all = append(all, d.example(o, name, media))
		}
	}
	slices.SortStableFunc(all, func(a, b Example) int {
		if a.Method == http.MethodDelete && b.Method == http.MethodDelete {
			return len(b.Target) - len(a.Target)
		}
		return rankOf(a.Method) - rankOf(b.Method)
	})
	return all
}

// rankOf brings what is made before what is looked at, and what goes to the end.
func rankOf(method string) int {
	return slices.Index([]string{"POST", "PUT", "PATCH", "GET", "DELETE"}, method)
}

func collect(names map[string]bool, examples any) {
	for name := range object(examples) {
		names[name] = true
	}
}

func (d *Document) example(o *operation, name, media string) Example {
	e := Example{Operation: o.id, Name: name, Method: o.method, Open: o.open, Text: o.text}
	path, query := o.path, neturl.Values{}
	for _, p := range o.parameters {
		value := p.what["example"]
		if named := object(object(p.what["examples"])[name]); named != nil {
			value = named["value"]
		}
		if value == nil {
			continue
		}
		what := text(p.what["name"])
		switch {
		case text(p.what["in"]) == "path":
			escaped := neturl.PathEscape(fmt.Sprint(value))
			if strings.HasSuffix(o.path, deep[0]) {
				escaped = fmt.Sprint(value)
			}
			path = strings.ReplaceAll(path, "{"+what+"}", escaped)
		case object(value) != nil:
			for k, v := range object(value) {
				query.Set(k, fmt.Sprint(v))
			}
		case list(value) != nil:
			items := make([]string, len(list(value)))
			for i, item := range list(value) {
				items[i] = fmt.Sprint(item)
			}
			query.Set(what, strings.Join(items, ","))
		default:
			query.Set(what, fmt.Sprint(value))
		}
	}
	if e.Target = path; len(query) > 0 {
		e.Target += "?" + query.Encode()
	}
	if named := object(object(object(object(o.bodyOf()["content"])[media])["examples"])[name]); named != nil {
		e.Media = media
		e.Body = text(named["value"])
		if _, file := named["value"].(string); !file {
			body, _ := json.Marshal(named["value"])
			e.Body = string(body)
		}
	}
	return e
}

func (o *operation) bodyOf() map[string]any {
	if o.body == nil {
		return nil
	}
	return o.body.what
}

// CheckExamples tells which examples of bodies, in requests and answers, are not
// as their schemas say, and which operations show none of an answer that goes
// well.
func (d *Document) CheckExamples() error {
	var wrong []error
	for _, o := range d.operations {
		places := map[string]place{}
		for status, p := range o.answers {
			places["answer "+status] = p
		}
		if o.body != nil {
			places["request"] = *o.body
		}
		for what, p := range places {
			for media := range object(p.what["content"]) {
				in := d.below(p, "content", media)
				shown := object(in.what["examples"])
				if len(shown) == 0 && strings.HasPrefix(what, "answer 2") {
					wrong = append(wrong, fmt.Errorf("%s: %s in %s has no example", o.id, what, media))
				}
				for name, one := range shown {
					if err := d.valid(in.at+"/schema", object(one)["value"]); err != nil {
						wrong = append(wrong, fmt.Errorf("%s: example %s of %s: %w", o.id, name, what, err))
					}
				}
			}
		}
	}
	return errors.Join(wrong...)
}

// Answers are the statuses that an operation is described with, "default" left out.
func (d *Document) Answers(operation string) (statuses []string) {
	for _, o := range d.operations {
		if o.id == operation {
			statuses = slices.Sorted(maps.Keys(o.answers))
		}
	}
	return slices.DeleteFunc(statuses, func(s string) bool { return s == "default" })
}
