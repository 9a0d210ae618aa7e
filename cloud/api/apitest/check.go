package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	neturl "net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request and its answer, as they were on the wire.
type Exchange struct {
	Method string
	Target string // path and query; empty for what was no HTTP
	Asked  http.Header
	Sent   []byte

	Status int
	Header http.Header
	Body   []byte

	// Invented tells that components answered what no component would: then the
	// bodies of requests and of answers that are no error are not looked at.
	Invented bool
}

// Check tells what the document has against an exchange; nil for nothing. A
// request that was refused may be as wrong as it likes, its answer may not.
func (d *Document) Check(e Exchange) error {
	path, rawQuery, _ := strings.Cut(e.Target, "?")
	path, _, _ = strings.Cut(path, "#")
	o, known := d.find(e.Method, path)
	var wrong []error
	if o == nil {
		wrong = append(wrong, d.stranger(e, known))
	} else {
		wrong = append(wrong, d.answer(o, e))
		if e.Status < http.StatusMultipleChoices {
			wrong = append(wrong, d.request(o, path, rawQuery, e))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("%s %.200s gives %d %s: %w", e.Method, e.Target, e.Status, e.Header.Get("Content-Type"), err)
	}
	return nil
}

// stranger is an answer on a path or a method that the document does not have.
func (d *Document) stranger(e Exchange, known bool) error {
	any := d.below(d.referred("#/components"), "responses", "Other")
	switch {
	case e.Status == http.StatusMethodNotAllowed && e.Header.Get("Allow") == "":
		return errors.New("no header Allow")
	case e.Status == http.StatusMethodNotAllowed, !known && e.Status == http.StatusNotFound, e.Status == http.StatusForbidden:
	case described(any, e.Status):
		d.reach(&operation{}, fmt.Sprint("other ", e.Status))
	default:
		return errors.New("no such operation")
	}
	return d.content(any, e)
}

// described tells whether an answer to any request may have a status.
func described(p place, status int) bool {
	return slices.ContainsFunc(list(p.what["x-statuses"]), func(v any) bool { return fmt.Sprint(v) == strconv.Itoa(status) })
}

func (d *Document) answer(o *operation, e Exchange) error {
	name := strconv.Itoa(e.Status)
	p, ok := o.answers[name]
	media, _, _ := mime.ParseMediaType(e.Header.Get("Content-Type"))
	if ok && object(p.what["content"])[media] == nil && len(object(p.what["content"])) > 0 && described(o.answers["default"], e.Status) {
		ok = false // the same status in another form
	}
	if !ok && e.Invented && e.Status < http.StatusMultipleChoices {
		return nil
	}
	if !ok {
		if p = o.answers["default"]; !described(p, e.Status) {
			return errors.New("the document has no such status here")
		}
		d.reach(o, "other "+name)
	} else {
		d.reach(o, strings.TrimSpace(name+" "+mediaOf(p, media)))
	}
	return errors.Join(d.headers(p, e), d.content(p, e))
}

func mediaOf(p place, media string) string {
	if len(object(p.what["content"])) == 0 {
		return ""
	}
	return media
}

// tellingHeaders are those that an answer has only where the document says so.
var tellingHeaders = []string{"ETag", "Location", "Retry-After", "WWW-Authenticate", "Link"}

func (d *Document) headers(p place, e Exchange) error {
	var wrong []error
	described := object(p.what["headers"])
	for _, name := range tellingHeaders {
		if value := e.Header.Get(name); value != "" && described[name] == nil {
			wrong = append(wrong, fmt.Errorf("header %s: %s is not described", name, value))
		}
	}
	for name := range described {
		value := e.Header.Get(name)
		if value == "" {
			continue
		}
		if err := d.value(d.below(p, "headers", name), value); err != nil {
			wrong = append(wrong, fmt.Errorf("header %s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

func (d *Document) content(p place, e Exchange) error {
	contents := object(p.what["content"])
	if len(contents) == 0 {
		if len(e.Body) > 0 {
			return fmt.Errorf("there is a body: %.200s", e.Body)
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(e.Header.Get("Content-Type"))
	if err != nil || contents[media] == nil {
		return fmt.Errorf("the document has other media types: %v", contents)
	}
	if e.Method == http.MethodHead || e.Invented && e.Status < http.StatusBadRequest {
		return nil
	}
	in := d.below(p, "content", media)
	if media == "text/event-stream" {
		return d.events(in, e.Body)
	}
	if !strings.HasSuffix(media, "json") {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Body))
	if err != nil {
		return fmt.Errorf("the body is no JSON: %w", err)
	}
	if media == "application/problem+json" && fmt.Sprint(object(value)["status"]) != strconv.Itoa(e.Status) {
		return fmt.Errorf("the problem says status %v", object(value)["status"])
	}
	if err := d.valid(in.at+"/schema", value); err != nil {
		return fmt.Errorf("the body %.300s: %w", e.Body, err)
	}
	return nil
}

// events checks each whole event of a stream.
func (d *Document) events(p place, stream []byte) error {
	kinds := object(p.what["x-events"])
	for block := range strings.SplitSeq(string(stream), "\n\n") {
		var kind, data string
		for line := range strings.SplitSeq(block, "\n") {
			if rest, ok := strings.CutPrefix(line, "event: "); ok {
				kind = rest
			}
			if rest, ok := strings.CutPrefix(line, "data: "); ok {
				data = rest
			}
		}
		if data == "" || kind == "" { // no event, or the rest of one whose begin was read before
			continue
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
		switch {
		case kinds[kind] == nil:
			return fmt.Errorf("no event %q is described", kind)
		case err != nil:
			return fmt.Errorf("the data of an event %s is no JSON: %w", kind, err)
		}
		if err := d.valid(p.at+"/x-events/"+kind, value); err != nil {
			return fmt.Errorf("event %s %s: %w", kind, data, err)
		}
	}
	return nil
}

// request checks one that was taken.
func (d *Document) request(o *operation, path, rawQuery string, e Exchange) error {
	var wrong []error
	note := func(what string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("it was taken with %s: %w", what, err))
		}
	}
	given := o.matches.FindStringSubmatch(strings.TrimSuffix(path, "/"))
	query, err := neturl.ParseQuery(rawQuery)
	if err != nil {
		return nil //nolint:nilerr // more than Go's reader of queries takes
	}
	free := false
	for _, p := range o.parameters {
		name := text(p.what["name"])
		switch text(p.what["in"]) {
		case "path":
			value, err := neturl.PathUnescape(given[1+slices.Index(o.names, name)])
			note("path "+name, errors.Join(err, d.value(p, value)))
		case "header":
			if value := e.Asked.Get(name); value != "" {
				note("header "+name, d.value(p, value))
			}
		case "query":
			free = free || object(p.what["schema"])["type"] == "object"
			values, there := query[name]
			delete(query, name)
			if there && (values[0] != "" || len(values) > 1) {
				note("parameter "+name, d.value(p, strings.Join(values, ",")))
			} else if p.what["required"] == true && !there {
				note("no parameter "+name, errors.New("which is required"))
			}
		}
	}
	for name := range query {
		if !free {
			note("parameter "+name, errors.New("which is not described"))
		}
	}
	return errors.Join(append(wrong, d.sent(o, e))...)
}

// sent checks the body of a request that was taken.
func (d *Document) sent(o *operation, e Exchange) error {
	switch {
	case len(bytes.TrimSpace(e.Sent)) == 0 && o.body != nil && o.body.what["required"] == true && !e.Invented:
		return errors.New("it was taken without a body, which is required")
	case len(bytes.TrimSpace(e.Sent)) == 0 || e.Invented:
		return nil
	case o.body == nil:
		return errors.New("it was taken with a body, and none is described")
	}
	contents := object(o.body.what["content"])
	if len(contents) > 1 || contents["application/json"] == nil {
		return nil // a file
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Sent))
	if err != nil {
		return fmt.Errorf("it was taken with a body that is no JSON: %w", err)
	}
	if err := d.valid(o.body.at+"/content/application~1json/schema", value); err != nil {
		return fmt.Errorf("it was taken with the body %.300s: %w", e.Sent, err)
	}
	return nil
}

// value checks a parameter or header, which is a text that may stand for a number,
// true or false, or a list.
func (d *Document) value(p place, value string) error {
	at := p.at + "/schema"
	schema := object(p.what["schema"])
	if ref := text(schema["$ref"]); ref != "" {
		schema = d.referred(ref).what
	}
	if schema["type"] != "array" {
		return d.any(at, scalars(value))
	}
	var texts, numbers []any
	for item := range strings.SplitSeq(value, ",") {
		texts = append(texts, item)
		if candidates := scalars(item); len(candidates) > 1 {
			numbers = append(numbers, candidates[1])
		}
	}
	candidates := []any{texts}
	if len(numbers) == len(texts) {
		candidates = append(candidates, numbers)
	}
	return d.any(at, candidates)
}

// scalars are what a text may mean: itself, and a number or true or false.
func scalars(value string) []any {
	candidates := []any{value}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		candidates = append(candidates, json.Number(value))
	}
	if value == "true" || value == "false" {
		candidates = append(candidates, value == "true")
	}
	return candidates
}

func (d *Document) any(at string, candidates []any) (err error) {
	for _, v := range candidates {
		if err = d.valid(at, v); err == nil {
			return nil
		}
	}
	return err
}
