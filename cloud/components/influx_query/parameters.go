package influxquery

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
)

var (
	typeForm   = regexp.MustCompile(`^[a-z]{1,32}$`)
	wholeForm  = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)
	floorForm  = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,5})$`)
	windowForm = regexp.MustCompile(`^[1-9][0-9]{0,8}[smhdw]$`)
	numberForm = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`)
	zoneForm   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,2}$`)
)

func (p *parser) operation() {
	op, given := p.values["operation"]
	op = strings.ToLower(op)
	if _, known := operations[op]; given && !known {
		p.wrong("operation", "%s is none of %s", clip(op), strings.Join(slices.Sorted(maps.Keys(operations)), " "))
		return
	}
	p.q.Operation = op
	p.argument(op)
	unit, given := p.values["unit"]
	switch {
	case given && op != "integral":
		p.wrong("unit", "only for operation integral")
	case given:
		if w, ok := p.window("unit", unit); ok {
			p.q.Unit = w.Duration()
		}
	}
}

// argument reads n. A percentile over 100 would silently be the maximum.
func (p *parser) argument(op string) {
	n, given := p.values["n"]
	takes := op == "percentile" || operations[op] == picker
	switch {
	case !takes && given:
		p.wrong("n", "only for operation percentile, top, bottom and sample")
	case !takes:
	case !given:
		p.wrong("n", "operation %s needs it", op)
	case op == "percentile":
		if v, err := strconv.ParseFloat(n, 64); err != nil || !numberForm.MatchString(n) || v <= 0 || v > 100 {
			p.wrong("n", "%s is not a number over 0 and at most 100", clip(n))
		}
		p.q.N = n
	default:
		if v, err := strconv.Atoi(n); err != nil || !wholeForm.MatchString(n) || v < 1 || v > maxPicked {
			p.wrong("n", "%s is not a whole number from 1 to %d", clip(n), maxPicked)
		}
		p.q.N = n
	}
}

func (p *parser) filters() {
	for _, text := range p.list("id") {
		full := text
		if !strings.Contains(text, "_") {
			full = "sp_" + text // IoToad's clients leave it out
		}
		id, err := device.Parse(full)
		if err != nil { // told in the words of who asks
			p.wrong("id", "%s", strings.Replace(err.Error(), strconv.Quote(full), strconv.Quote(text), 1))
			continue
		}
		if !slices.Contains(p.q.IDs, id) {
			p.q.IDs = append(p.q.IDs, id)
		}
	}
	for _, text := range p.list("type") {
		if !typeForm.MatchString(text) {
			p.wrong("type", "%s is not 1 to 32 lower-case letters", clip(text))
		}
		p.q.Types = append(p.q.Types, text)
	}
	p.q.Floors = p.numbers("floor", floorForm)
	p.q.Rows = p.numbers("row", wholeForm)
	p.q.Columns = p.numbers("column", wholeForm)
	if len(p.q.IDs) > 0 {
		for _, key := range []string{"row", "column"} {
			if _, both := p.values[key]; both {
				p.wrong(key, "not together with id, which names the place already")
			}
		}
	}
}

// list splits a parameter at its commas.
func (p *parser) list(key string) []string {
	text, given := p.values[key]
	if !given {
		return nil
	}
	items := strings.Split(text, ",")
	if len(items) > maxListed {
		p.wrong(key, "%d values, at most %d", len(items), maxListed)
		return nil
	}
	for i, item := range items {
		if items[i] = strings.TrimSpace(item); items[i] == "" {
			p.wrong(key, "an item of the list is empty")
			return nil
		}
	}
	return items
}

func (p *parser) numbers(key string, form *regexp.Regexp) []int {
	var numbers []int
	for _, text := range p.list(key) {
		n, err := strconv.Atoi(text)
		if err != nil || !form.MatchString(text) {
			p.wrong(key, "%s is not a whole number without leading zeros", clip(text))
			continue
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// window reads a width such as 15m.
func (p *parser) window(key, text string) (Window, bool) {
	if windowForm.MatchString(text) {
		last := len(text) - 1
		count, err := strconv.Atoi(text[:last])
		w := Window{Count: count, Unit: text[last]}
		// 9 digits of weeks pass the range of a Duration.
		if err == nil && count <= int(maxWidth/unitOf[w.Unit]) {
			return w, true
		}
	}
	p.wrong(key, "%s is not a whole number and a unit s m h d or w, as in 15m, at most 1000 days", clip(text))
	return Window{}, false
}

const maxWidth = 1000 * 24 * time.Hour

// windows reads every and what belongs to it, once the times are known.
func (p *parser) windows(now device.Micros) {
	p.zone()
	every, given := p.values["every"]
	if !given {
		if _, ok := p.values["fill"]; ok {
			p.wrong("fill", "only together with every")
		}
		return
	}
	p.fill()
	if p.q.Operation == "" && p.values["operation"] == "" {
		p.wrong("every", "needs an operation")
	}
	w, ok := p.window("every", every)
	if _, given := p.values["from"]; !given {
		p.wrong("from", "needed together with every")
	}
	if !ok || p.q.From == nil {
		return
	}
	p.q.Every = w
	if _, given := p.values["to"]; !given {
		p.q.To = &now
		if *p.q.From > now {
			p.wrong("from", "is in the future, and there is no to")
			return
		}
	}
	if p.q.To == nil {
		return
	}
	if n := int64(*p.q.To-*p.q.From)/w.Duration().Microseconds() + 1; n > maxWindows {
		p.wrong("every", "%d windows between from and to, at most %d", n, maxWindows)
	}
}

// zone reads tz. It matters to windows only and is harmless elsewhere.
func (p *parser) zone() {
	zone, given := p.values["tz"]
	if !given {
		return
	}
	// The form comes first: the name becomes part of a path.
	if zoneForm.MatchString(zone) && zone != "Local" {
		if _, err := time.LoadLocation(zone); err == nil {
			p.q.Zone = zone
			return
		}
	}
	p.wrong("tz", "%s is no time zone, as in Europe/Berlin", clip(zone))
}

func (p *parser) fill() {
	fill, given := p.values["fill"]
	if !given {
		return
	}
	switch fill {
	case "null", "none", "previous", "linear":
	default:
		if !numberForm.MatchString(fill) {
			p.wrong("fill", "%s is none of null none previous linear, nor a number", clip(fill))
		}
	}
	if strings.Contains(fill, ".") && p.q.Operation == "count" {
		p.wrong("fill", "%s is not a whole number, which a count is", clip(fill))
	}
	if k := operations[p.q.Operation]; k == picker || k == lister {
		p.wrong("fill", "not together with operation %s, which gives nothing for an empty window", p.q.Operation)
	}
	p.q.Fill = fill
}

func (p *parser) groupBy() {
	wanted := p.list("group_by")
	var known []string
	for _, g := range groupKeys {
		known = append(known, g.key)
		if slices.Contains(wanted, g.key) {
			p.q.GroupBy = append(p.q.GroupBy, g.tag)
		}
	}
	for _, key := range wanted {
		if !slices.Contains(known, key) {
			p.wrong("group_by", "%s is none of %s", clip(key), strings.Join(known, " "))
		}
	}
}

// shape reads what bounds and forms the answer.
func (p *parser) shape() {
	if text, given := p.values["limit"]; given {
		limit, err := strconv.Atoi(text)
		if err != nil || !wholeForm.MatchString(text) || limit < 1 || limit > maxLimit {
			p.wrong("limit", "%s is not a whole number from 1 to %d", clip(text), maxLimit)
		} else if n, err := strconv.Atoi(p.q.N); err == nil && operations[p.q.Operation] == picker && limit < n {
			p.wrong("limit", "is less than n")
		}
		p.q.Limit = limit
	}
	p.q.Descending = p.choice("order", "asc", "desc") == "desc"
	if p.q.Descending && (p.q.Fill == "previous" || p.q.Fill == "linear") {
		p.wrong("order", "desc not together with fill %s", p.q.Fill)
	}
	p.q.Format = Format(p.choice("format", string(SenML), string(Series)))
}

// choice reads a parameter that is one of two words, the first by default.
func (p *parser) choice(key, usual, other string) string {
	text, given := p.values[key]
	if given && text != usual && text != other {
		p.wrong(key, "%s is neither %s nor %s", clip(text), usual, other)
	}
	if given {
		return text
	}
	return usual
}
