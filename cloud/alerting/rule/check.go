package rule

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// MaxRules bounds the rules of a site.
const MaxRules = 1000

// minRemind keeps people from being nagged.
const minRemind = 10 * time.Minute

// maxText is the most of a summary or an advice, in bytes.
const maxText = 1000

var (
	nameForm        = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	measurementForm = regexp.MustCompile(`^[A-Za-z0-9:._-]{1,255}$`)
	placeTypeForm   = regexp.MustCompile(`^[a-z]{1,32}$`)
	hole            = regexp.MustCompile(`\{[^{}]*\}`)
)

// holes are what a summary may leave to be filled in.
var holes = []string{"{label}", "{subject}", "{gateway}", "{floor}", "{value}", "{limit}", "{for}"}

// Validate reports every mistake of the rules and calendars, each by its key.
func (f *File) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f.Calendars)) {
		calendar := f.Calendars[name]
		if !nameForm.MatchString(name) {
			errs = append(errs, fmt.Errorf("calendars.%.40s: want a lower-case letter, then lower-case letters, digits and -", name))
		}
		errs = append(errs, under("calendars."+name, calendar.Validate()))
	}
	if len(f.Rules) > MaxRules {
		errs = append(errs, fmt.Errorf("rules: %d, more than %d", len(f.Rules), MaxRules))
	}
	names := make(map[string]int)
	for i := range f.Rules {
		r, at := &f.Rules[i], fmt.Sprintf("rules[%d]", i)
		if first, twice := names[r.Name]; twice {
			errs = append(errs, fmt.Errorf("%s.name: %q is that of rules[%d] too", at, r.Name, first))
		}
		names[r.Name] = i
		errs = append(errs, under(at, r.Validate()))
		if name := r.Calendar(); name != "" {
			if _, ok := f.Calendars[name]; !ok {
				errs = append(errs, fmt.Errorf("%s.hours: there is no calendar %q", at, name))
			}
		}
	}
	for i := range f.Rules {
		for _, parent := range f.Rules[i].CoveredBy {
			if _, ok := names[parent]; !ok {
				errs = append(errs, fmt.Errorf("rules[%d].covered_by: there is no rule %.64q", i, parent))
			}
		}
	}
	return errors.Join(append(errs, f.circles(names))...)
}

// circles finds rules that cover each other, so that nobody would hear of either.
func (f *File) circles(at map[string]int) error {
	for i := range f.Rules {
		seen := map[string]bool{}
		for next := slices.Clone(f.Rules[i].CoveredBy); len(next) > 0; next = next[1:] {
			j, ok := at[next[0]]
			if next[0] == f.Rules[i].Name {
				return fmt.Errorf("rules[%d].covered_by: %s covers itself over other rules", i, next[0])
			}
			if ok && !seen[next[0]] {
				seen[next[0]] = true
				next = append(next, f.Rules[j].CoveredBy...)
			}
		}
	}
	return nil
}

// under puts a key before each of the errors that were joined.
func under(key string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, fmt.Errorf("%s.%w", key, e))
	}
	return errors.Join(errs...)
}

// Validate reports every mistake of the rule by itself.
func (r *Rule) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !nameForm.MatchString(r.Name) {
		bad("name: %.64q, want a lower-case letter, then up to 62 lower-case letters, digits and -", r.Name)
	}
	if !slices.Contains([]contract.Severity{contract.Critical, contract.Warning, contract.Info}, r.Severity) {
		bad("severity: %.20q, want critical, warning or info", r.Severity)
	}
	signal, fact := SignalOf(r.Signal)
	if !fact && !measurementForm.MatchString(r.Signal) {
		bad("signal: %.64q is neither a measurement nor a fact", r.Signal)
	}
	if !fact && strings.Contains(r.Signal, ".") && slices.ContainsFunc(Facts, func(s Signal) bool { return family(s.Name) == family(r.Signal) }) {
		bad("signal: %.64q is no fact; those are %s", r.Signal, facts())
	}
	if r.For < 0 || r.Late < 0 || r.Remind < 0 {
		bad("for, late, remind: want no negative times")
	}
	if r.Remind != 0 && r.Remind < Duration(minRemind) {
		bad("remind: %v is under %v", r.Remind, minRemind)
	}
	if r.Hours != "" && r.Calendar() == "" {
		bad("hours: %.64q, want inside or outside and the name of a calendar", r.Hours)
	}
	errs = append(errs, text("summary", r.Summary, true), text("advice", r.Advice, false))
	errs = append(errs, r.Select.check(signal.Kind)...)
	errs = append(errs, r.Condition.check(signal, r.For)...)
	return errors.Join(errs...)
}

func family(name string) string {
	head, _, _ := strings.Cut(name, ".")
	return head
}

func facts() string {
	var names []string
	for _, s := range Facts {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func text(key, s string, needed bool) error {
	switch {
	case needed && strings.TrimSpace(s) == "":
		return fmt.Errorf("%s: missing; say in a sentence what is wrong", key)
	case len(s) > maxText:
		return fmt.Errorf("%s: %d bytes, more than %d", key, len(s), maxText)
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' }):
		return fmt.Errorf("%s: holds control characters or line breaks", key)
	}
	for _, h := range hole.FindAllString(s, -1) {
		if !slices.Contains(holes, h) {
			return fmt.Errorf("%s: %.40s cannot be filled in; what can is %s", key, h, strings.Join(holes, " "))
		}
	}
	return nil
}

func (s *Select) check(kind Kind) (errs []error) {
	if kind != OfDevice && (len(s.Devices) > 0 || len(s.Types) > 0 || len(s.Except) > 0) {
		errs = append(errs, fmt.Errorf("select: the signal is about a %s, so devices, types and except say nothing", kind))
	}
	if kind == OfSite && (len(s.Floors) > 0 || len(s.Gateways) > 0) {
		errs = append(errs, errors.New("select: the signal is about the site, so floors and gateways say nothing"))
	}
	for _, t := range s.Types {
		if !placeTypeForm.MatchString(t) {
			errs = append(errs, fmt.Errorf("select.types: %.40q is no place type such as w, g or p", t))
		}
	}
	for _, g := range s.Gateways {
		if !contract.IsGatewayID(g) {
			errs = append(errs, fmt.Errorf("select.gateways: %.64q is no gateway's id", g))
		}
	}
	return errs
}

func (c *Condition) check(signal Signal, hold Duration) (errs []error) {
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	set := c.names()
	if len(set) != 1 {
		found := "no condition"
		if len(set) > 1 {
			found = fmt.Sprintf("%d conditions (%s)", len(set), strings.Join(set, ", "))
		}
		bad("when: %s, want one of above, above_max_power, below, inside, outside, equals, rising, changed, flat, absent", found)
		return errs
	}
	if signal.Text && !c.Changed {
		bad("when: %s is a text, which can only be changed", signal.Name)
	}
	for _, band := range [][]float64{c.Inside, c.Outside} {
		if band != nil && (len(band) != 2 || !finite(band...) || band[0] > band[1]) {
			bad("when.%s: want two numbers, the smaller first", set[0])
		}
	}
	for _, v := range []*float64{c.Above, c.AboveMaxPower, c.Below, c.Equals, c.Rising, c.Clear} {
		if v != nil && !finite(*v) {
			bad("when: want finite numbers")
		}
	}
	switch {
	case c.Clear == nil:
	case c.Above != nil && *c.Clear > *c.Above:
		bad("when.clear: %v is above %v, so that it would never be over", *c.Clear, *c.Above)
	case c.Below != nil && *c.Clear < *c.Below:
		bad("when.clear: %v is below %v, so that it would never be over", *c.Clear, *c.Below)
	case c.AboveMaxPower != nil && *c.Clear > *c.AboveMaxPower:
		bad("when.clear: %v is above %v, so that it would never be over", *c.Clear, *c.AboveMaxPower)
	case c.Above == nil && c.Below == nil && c.AboveMaxPower == nil:
		bad("when.clear: goes with above, above_max_power and below only")
	}
	if hold == 0 && (c.Flat || c.Absent || c.Rising != nil || c.Changed) {
		bad("for: %s needs a time", set[0])
	}
	return errs
}

func finite(values ...float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// names are the conditions that are set.
func (c *Condition) names() (set []string) {
	for _, one := range []struct {
		name string
		is   bool
	}{
		{"above", c.Above != nil},
		{"above_max_power", c.AboveMaxPower != nil},
		{"below", c.Below != nil},
		{"inside", c.Inside != nil},
		{"outside", c.Outside != nil},
		{"equals", c.Equals != nil},
		{"rising", c.Rising != nil},
		{"changed", c.Changed},
		{"flat", c.Flat},
		{"absent", c.Absent},
	} {
		if one.is {
			set = append(set, one.name)
		}
	}
	return set
}

// Calendar is the name of the calendar that Hours names, empty without one.
func (r *Rule) Calendar() string {
	where, name, ok := strings.Cut(r.Hours, " ")
	if !ok || where != "inside" && where != "outside" || !nameForm.MatchString(name) {
		return ""
	}
	return name
}
