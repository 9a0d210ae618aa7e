package mail

import (
	"bytes"
	_ "embed"
	"fmt"
	html "html/template"
	"slices"
	"strings"
	text "text/template"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var (
	//go:embed message.txt
	textSource string
	//go:embed message.html
	htmlSource string

	textBody = text.Must(text.New("text").Parse(textSource))
	htmlBody = html.Must(html.New("html").Parse(htmlSource))
)

// maxNamed is how many covered subjects a mail names.
const maxNamed = 10

// page is what the templates show; every text is one line without control
// characters.
type page struct {
	Subject string
	Count   string
	Firing  []entry
	Over    []entry
	Omitted int
	Link    string
	Site    string
	At      string
}

// entry is one alert.
type entry struct {
	Title   string
	Color   string // of the mark in HTML; one of our own
	Summary string
	Facts   []fact
}

// fact is one line about an alert.
type fact struct{ Name, Text string }

func newPage(m notify.Message, zone *time.Location) page {
	p := page{
		Subject: wording.Headline(m), Omitted: m.Omitted, Link: wording.Line(m.Link),
		Site: wording.Line(m.Site), At: wording.When(m.At, zone), Count: count(m.Items),
	}
	for _, i := range m.Items {
		e := entry{Title: wording.Title(i), Color: color(i), Summary: wording.Shorten(wording.Line(i.Alert.Summary), 500)}
		if wording.Fires(i.Event) {
			e.Facts = facts(i, m.At, zone)
			p.Firing = append(p.Firing, e)
		} else {
			e.Facts = history(i, zone)
			p.Over = append(p.Over, e)
		}
	}
	return p
}

// count is "1 critical, 2 warnings; 3 over".
func count(items []notify.Item) string {
	var by [3]int
	over, trials := 0, 0
	for _, i := range items {
		switch {
		case i.Event == notify.Trials:
			trials++
		case wording.Fires(i.Event):
			by[wording.Rank(i.Alert.Severity)]++
		default:
			over++
		}
	}
	var parts []string
	for n, words := range [3][2]string{{"critical", "critical"}, {"warning", "warnings"}, {"for information", "for information"}} {
		if by[n] == 1 {
			parts = append(parts, "1 "+words[0])
		} else if by[n] > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", by[n], words[1]))
		}
	}
	if over > 0 {
		parts = append(parts, fmt.Sprintf("%d over", over))
	}
	if trials > 0 {
		parts = append(parts, "a trial: messages arrive here")
	}
	return strings.Join(parts, ", ")
}

// facts of an alert that fires.
func facts(i notify.Item, now device.Micros, zone *time.Location) []fact {
	a := i.Alert
	list := []fact{{"Where", wording.Where(a)}}
	if a.Since != 0 {
		list = append(list, fact{"Since", fmt.Sprintf("%s (%s before this message)", wording.When(a.Since, zone), wording.Ago(a.Since, now))})
	}
	list = append(list,
		fact{"Value", wording.Value(a)},
		fact{"To do", wording.Shorten(wording.Line(a.Advice), 500)},
		fact{"Explains", covered(a)},
		fact{"Rule", wording.Line(a.Rule)})
	return said(list)
}

// history of an alert that is over, in two lines.
func history(i notify.Item, zone *time.Location) []fact {
	a := i.Alert
	list := []fact{{"Where", wording.Where(a)}}
	if a.Since != 0 && a.Ended != 0 {
		list = append(list, fact{"Was", wording.Until(a.Since, a.Ended, zone)})
	}
	return said(list)
}

// said leaves out what nobody knows.
func said(list []fact) []fact {
	return slices.DeleteFunc(list, func(f fact) bool { return f.Text == "" })
}

// covered names the first few of what an alert explains and counts the rest.
func covered(a contract.Alert) string {
	if len(a.Covers) == 0 {
		return ""
	}
	named := a.Covers[:min(len(a.Covers), maxNamed)]
	words := make([]string, len(named))
	for n, name := range named {
		words[n] = wording.Line(name)
	}
	list := strings.Join(words, ", ")
	if more := len(a.Covers) - len(named) + a.CoversMore; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// color marks how grave an item is, with enough contrast on white and on black.
func color(i notify.Item) string {
	switch {
	case !wording.Fires(i.Event):
		return "#2e8540"
	case i.Event == notify.Trials:
		return "#6b7280"
	case wording.Rank(i.Alert.Severity) == 0:
		return "#d92d20"
	case wording.Rank(i.Alert.Severity) == 1:
		return "#c2740c"
	default:
		return "#3b78c4"
	}
}

// bodies renders a message twice.
func bodies(p page) (plain, rich []byte, err error) {
	var a, b bytes.Buffer
	if err := textBody.Execute(&a, p); err != nil {
		return nil, nil, fmt.Errorf("write the text: %w", err)
	}
	if err := htmlBody.Execute(&b, p); err != nil {
		return nil, nil, fmt.Errorf("write the HTML: %w", err)
	}
	return a.Bytes(), b.Bytes(), nil
}
