package status

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count":   count,
	"count64": func(n uint64) string { return count(int(min(n, 1<<62))) },
	"bytes":   bytes,
	"deref":   func(b *bool) bool { return *b },
	"watts":   func(w *device.Watts) string { return fmt.Sprintf("%.1f W", float64(*w)) },
}).Parse(pageText))

// page is what the template works on.
type page struct{ *View }

// Sentence is the summary, as a sentence begins.
func (p page) Sentence() string { return "C" + p.Summary[1:] }

// Now is the moment of the view.
func (p page) Now() string {
	return p.Status.Time.Time().Local().Format("Monday 2006-01-02 15:04:05 MST")
}

// Span is the time from a moment, a Micros or a pointer to one, until now.
func (p page) Span(at any) string {
	switch at := at.(type) {
	case device.Micros:
		return p.span(at)
	case *device.Micros:
		return p.span(*at)
	default:
		return ""
	}
}

// Aside are the first of the batches that were set aside.
func (p page) Aside() []contract.BatchID {
	all := p.Status.Outbox.SetAside
	return all[:min(len(all), 20)]
}

// Half and Most are where the outbox warns.
func (p page) Half() int64 { return p.Status.Outbox.Limit / 2 }

// Most is where the outbox warns last.
func (p page) Most() int64 { return p.Status.Outbox.Limit / 10 * 9 }

// Sorted are the plugs, those with trouble first.
func (p page) Sorted() []Plug {
	plugs := slices.Clone(p.Plugs)
	rank := func(p Plug) int { return slices.Index([]string{"offline", "failing", "waiting", "ok"}, p.State()) }
	slices.SortStableFunc(plugs, func(a, b Plug) int { return rank(a) - rank(b) })
	return plugs
}

// maxStrange bounds the found plugs that the page shows; the JSON has all.
const maxStrange = 50

// Strange are the plugs around of which a person should know: those that no place
// has, and those with a problem.
func (p page) Strange() (strange []contract.FoundPlug) {
	if p.Found == nil {
		return nil
	}
	for _, f := range p.Found.Plugs {
		if f.Device == "" || f.Problem != "" || f.FirmwareBefore != "" {
			strange = append(strange, f)
		}
	}
	slices.SortStableFunc(strange, func(a, b contract.FoundPlug) int { return cmp.Compare(a.Device, b.Device) })
	return strange
}

// Shown are the first of them.
func (p page) Shown() []contract.FoundPlug {
	all := p.Strange()
	return all[:min(len(all), maxStrange)]
}
