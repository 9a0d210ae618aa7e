package post

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Bounds of one execution.
const (
	maxBody  = 256 << 10 // bytes; chat services take less
	maxSteps = 100_000   // turns of loops and calls of templates
)

var (
	errLong  = fmt.Errorf("it makes more than %d kB", maxBody>>10)
	errSteps = fmt.Errorf("it takes more than %d turns", maxSteps)
	errJSON  = errors.New("what it makes is no JSON, as content_type says: write texts as {{json .Site}}, without quotation marks around")
)

// body makes bodies of messages by a template.
type body struct {
	template *template.Template
	json     bool
	zone     func() *time.Location
}

// stepName is the function that counts; a template that calls it counts more.
const stepName = "step"

// newBody reads a template and tries it on samples.
func newBody(text string, wantJSON bool, zone func() *time.Location) (*body, error) {
	if zone == nil {
		zone = func() *time.Location { return time.UTC }
	}
	b := &body{json: wantJSON, zone: zone}
	var err error
	b.template, err = template.New("body").Option("missingkey=error").Funcs(b.functions(new(int))).Parse(text)
	if err != nil {
		return nil, err
	}
	for _, t := range b.template.Templates() {
		if t.Tree != nil && t.Root != nil {
			count(t.Root)
			t.Root.Nodes = append([]parse.Node{stepNode()}, t.Root.Nodes...)
		}
	}
	for what, m := range samples() {
		if _, err := b.make(m); err != nil {
			return nil, fmt.Errorf("tried on %s: %w", what, err)
		}
	}
	return b, nil
}

// make executes the template.
func (b *body) make(m notify.Message) ([]byte, error) {
	steps := 0
	run, err := b.template.Clone()
	if err != nil {
		return nil, err
	}
	var out limited
	if err := run.Funcs(b.functions(&steps)).Execute(&out, m); err != nil {
		return nil, err
	}
	if b.json && !json.Valid(out.Bytes()) {
		return nil, errJSON
	}
	return out.Bytes(), nil
}

// functions are those of templates, beside Go's own.
func (b *body) functions(steps *int) template.FuncMap {
	return template.FuncMap{
		"json":     asJSON,
		"upper":    strings.ToUpper,
		"trunc":    func(most int, text any) string { return wording.Shorten(fmt.Sprint(text), most) },
		"time":     b.time,
		"slack":    strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
		"headline": wording.Headline,
		"title":    wording.Title,
		"where":    wording.Where,
		"value":    wording.Value,
		"fires":    wording.Fires,
		"gravest":  gravest,
		stepName: func() (string, error) {
			if *steps++; *steps > maxSteps {
				return "", errSteps
			}
			return "", nil
		},
	}
}

// time writes a time in the site's zone, by Go's layout if one is given.
func (b *body) time(at device.Micros, layout ...string) string {
	if len(layout) == 0 || at == 0 {
		return wording.When(at, b.zone())
	}
	zone := b.zone()
	if zone == nil {
		zone = time.UTC
	}
	return at.Time().In(zone).Format(layout[0])
}

// gravest is the severity of the gravest alert that fires, "over" when none does.
func gravest(m notify.Message) string {
	lead := wording.Lead(m.Items)
	switch {
	case lead == nil:
		return string(contract.Info)
	case !wording.Fires(lead.Event):
		return "over"
	case lead.Alert.Severity == "":
		return string(contract.Info)
	}
	return string(lead.Alert.Severity)
}

// asJSON leaves < and > as they are: who reads it is no browser.
func asJSON(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// limited is a buffer that takes so much and no more.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxBody {
		return 0, errLong
	}
	return l.Buffer.Write(p)
}

// count puts a step in front of what each loop does, so that a loop that writes
// nothing ends as well.
func count(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.RangeNode:
			count(n.List)
			count(n.ElseList)
			n.List.Nodes = append([]parse.Node{stepNode()}, n.List.Nodes...)
		case *parse.IfNode:
			count(n.List)
			count(n.ElseList)
		case *parse.WithNode:
			count(n.List)
			count(n.ElseList)
		}
	}
}

// stepNode is the call of the counting function, as the parser would make it.
func stepNode() parse.Node {
	call := template.Must(template.New("step").Funcs(template.FuncMap{stepName: func() string { return "" }}).Parse("{{" + stepName + "}}"))
	return call.Root.Nodes[0]
}
