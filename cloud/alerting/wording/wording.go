package wording

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Limits of a headline in characters: a phone shows no more.
const (
	maxSentence = 90
	maxSite     = 40
)

// Headline says the gravest of what fires and how much else there is:
//
//	Critical: Gateway edge-f2 is offline, floor 2 (+3 more, 1 over) – Main Street
//
// When nothing fires any more it begins with "Over: ".
func Headline(m notify.Message) string {
	var b strings.Builder
	if lead := Lead(m.Items); lead == nil {
		b.WriteString("Alerts")
		if m.Omitted > 0 {
			fmt.Fprintf(&b, ": %d not listed", m.Omitted)
		}
	} else {
		fmt.Fprintf(&b, "%s: %s%s", Title(*lead), sentence(lead.Alert), rest(m, lead))
	}
	if site := Shorten(Line(m.Site), maxSite); site != "" {
		b.WriteString(" – " + site)
	}
	return b.String()
}

// Lead is the item that a message is named after: the gravest that fires, else
// the gravest that is over. It is nil in a message without items.
func Lead(items []notify.Item) *notify.Item {
	var lead *notify.Item
	for i := range items {
		if lead == nil || before(&items[i], lead) {
			lead = &items[i]
		}
	}
	return lead
}

func before(a, b *notify.Item) bool {
	return cmp.Or(cmp.Compare(order(a.Event), order(b.Event)), cmp.Compare(Rank(a.Alert.Severity), Rank(b.Alert.Severity))) < 0
}

// order puts what fires before what is over.
func order(e notify.Event) int {
	if Fires(e) {
		return 0
	}
	return 1
}

// Rank orders severities: 0 is the gravest.
func Rank(s contract.Severity) int {
	switch s {
	case contract.Critical:
		return 0
	case contract.Warning:
		return 1
	default:
		return 2
	}
}

// Fires tells the events whose alert is not over.
func Fires(e notify.Event) bool { return e != notify.Over && e != notify.Was }

// Title is how grave an item is, or what has become of it, in a word or two.
func Title(i notify.Item) string {
	grave := severity(i.Alert.Severity)
	switch i.Event {
	case notify.Over:
		return "Over"
	case notify.Was:
		return "Over already"
	case notify.Still:
		return "Still " + grave
	case notify.Flaps:
		return upper(grave) + ", comes and goes"
	case notify.Trials:
		return "Trial"
	default:
		return upper(grave)
	}
}

func severity(s contract.Severity) string {
	if s == "" {
		return string(contract.Info)
	}
	return Line(string(s))
}

func upper(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// sentence is the first one of a summary, with the floor if it does not say it.
func sentence(a contract.Alert) string {
	text := Line(a.Summary)
	if first, _, found := strings.Cut(text, ". "); found {
		text = first
	}
	text = Shorten(strings.TrimSuffix(text, "."), maxSentence)
	if text == "" {
		text = cmp.Or(strings.TrimSpace(Line(a.Rule)+" "+Line(a.Subject)), "no summary")
	}
	if floor := Floor(a); floor != "" && !strings.Contains(strings.ToLower(text), floor) {
		text += ", " + floor
	}
	return text
}

// rest counts what the headline does not name.
func rest(m notify.Message, lead *notify.Item) string {
	more, over := m.Omitted-1, 0
	for _, i := range m.Items {
		if Fires(lead.Event) && !Fires(i.Event) {
			over++
		} else {
			more++
		}
	}
	switch {
	case more > 0 && over > 0:
		return fmt.Sprintf(" (+%d more, %d over)", more, over)
	case more > 0:
		return fmt.Sprintf(" (+%d more)", more)
	case over > 0:
		return fmt.Sprintf(" (%d over)", over)
	}
	return ""
}

// Where says the place of an alert: label, id and floor, as far as they are known.
// It is empty for what concerns the whole site.
func Where(a contract.Alert) string {
	if a.Subject == "site" {
		return ""
	}
	text := Line(a.Subject)
	if label := Line(a.Label); label != "" && label != text {
		text = fmt.Sprintf("%s (%s)", label, text)
	}
	if floor := Floor(a); floor != "" {
		text += ", " + floor
	}
	return strings.TrimPrefix(text, ", ")
}

// Floor is "floor 2", or empty where none is known.
func Floor(a contract.Alert) string {
	if a.Floor == nil {
		return ""
	}
	return fmt.Sprintf("floor %d", *a.Floor)
}

// Value is what was last seen, with its unit. It is empty where a bare number
// would say nothing: the summary has said it in words.
func Value(a contract.Alert) string {
	if a.Value == nil || a.Unit == "" || a.Unit == "/" {
		return ""
	}
	return Line(engine.Amount(a.Value, a.Unit))
}

// Layout is how people read a point in time here.
const Layout = "Mon 2 Jan 2006, 15:04 MST"

// When is a point in time in a zone; nil means UTC.
func When(at device.Micros, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return at.Time().In(zone).Format(Layout)
}

// Until is a stretch of time; the day is said once when it is the same.
func Until(from, to device.Micros, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	end := When(to, zone)
	if a, b := from.Time().In(zone), to.Time().In(zone); a.YearDay() == b.YearDay() && a.Year() == b.Year() {
		end = b.Format("15:04 MST")
	}
	return fmt.Sprintf("%s to %s (%s)", When(from, zone), end, Ago(from, to))
}

// Ago is how long one time is before another, in words.
func Ago(from, to device.Micros) string {
	return engine.Span(max(0, time.Duration(to-from)*time.Microsecond))
}

// Line makes one line of a text: what controls, breaks lines or turns the
// direction of writing becomes a space, and so does what is no UTF-8.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// Shorten cuts a text to at most so many characters, the last then an ellipsis.
func Shorten(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	if most < 1 {
		return ""
	}
	return strings.TrimRight(string([]rune(s)[:most-1]), " ,;:") + "…"
}
