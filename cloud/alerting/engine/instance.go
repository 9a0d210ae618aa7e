package engine

import (
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	// minGap is the pause between two samples that says nothing yet about what
	// was between them.
	minGap = 2 * time.Minute
	// flapRaises within flapWindow make an alert flap; it is held then until it
	// stays away for settleAfter.
	flapRaises  = 3
	flapWindow  = time.Hour
	settleAfter = 15 * time.Minute
	// pastEnds is when a run of late samples counts as over.
	pastEnds = 10 * time.Minute
)

// instance is a rule that watches a subject. Times are measurement times unless
// said otherwise.
type instance struct {
	rule    *rule.Rule
	subject Subject
	source  string
	placed  bool // it is, or was, about a place
	watched bool // by its series
	limit   *float64
	// unplaced means that the limit is the place's, which nobody has told yet: what
	// is measured is neither bad nor good.
	unplaced bool
	known    device.Micros // cloud's time since when it is watched
	heard    device.Micros // cloud's time of the newest sample

	run   run
	last  device.Micros // newest sample
	step  device.Micros // usual time between samples
	value float64
	unit  string
	// ripe means that it has held long enough, but that no alarm may be raised:
	// the samples are late, or the rule that covers it is pending.
	ripe bool
	// coveredBy explains it; nil when nobody does.
	coveredBy *instance

	memory memory
	past   run           // of samples that came after newer ones
	pastAt device.Micros // cloud's time of the newest of those

	alert    *contract.Alert
	covers   covered
	symptoms map[*instance]struct{} // that it has explained since it fires
	news     bool                   // what it covers has grown
	calm     device.Micros          // since when it is good while it flaps; 0 when it is bad
	raises   []device.Micros
	reminded device.Micros // cloud's time
}

// run is an unbroken row of bad samples; none when since is 0.
type run struct{ since, last device.Micros }

// memory is what a condition remembers of earlier samples.
type memory struct {
	at    device.Micros // 0 when nothing is remembered
	value float64
	text  string
}

// bad judges a sample by itself, and remembers it where the condition asks for it.
// since is when a condition that looks back began.
func (i *instance) bad(s Sample) (bad bool, since device.Micros) {
	c, v := &i.rule.Condition, s.Value
	switch {
	case c.Above != nil:
		return v > i.edge(*c.Above), s.At
	case c.AboveMaxPower != nil:
		return i.limit != nil && v > *i.limit/(*c.AboveMaxPower)*i.edge(*c.AboveMaxPower), s.At
	case c.Below != nil:
		return v < i.edge(*c.Below), s.At
	case c.Inside != nil:
		return v >= c.Inside[0] && v <= c.Inside[1], s.At
	case c.Outside != nil:
		return v < c.Outside[0] || v > c.Outside[1], s.At
	case c.Equals != nil:
		return v == *c.Equals, s.At
	case c.Changed:
		return i.changed(s), s.At
	case c.Flat:
		return i.flat(s)
	case c.Rising != nil:
		return i.rising(s, *c.Rising)
	default: // absent: a sample is what was missing
		return false, s.At
	}
}

// edge is the limit, or while it fires where it is over.
func (i *instance) edge(limit float64) float64 {
	if i.alert != nil && i.rule.Condition.Clear != nil {
		return *i.rule.Condition.Clear
	}
	return limit
}

// changed is true for another text and for a number that has grown: counters
// start again from 0 with whoever counts.
func (i *instance) changed(s Sample) bool {
	before := i.memory
	i.memory = memory{s.At, s.Value, s.Text}
	return before.at != 0 && (s.Text != before.text || s.Value > before.value)
}

func (i *instance) flat(s Sample) (bool, device.Micros) {
	if i.memory.at == 0 || s.Value != i.memory.value || s.Value == 0 {
		i.memory = memory{at: s.At, value: s.Value}
	}
	return s.At-i.memory.at >= micros(i.rule.For), i.memory.at
}

// rising compares over windows of the rule's time; what has become less starts
// anew.
func (i *instance) rising(s Sample, limit float64) (bool, device.Micros) {
	from := i.memory
	took := s.At - from.at
	switch {
	case from.at == 0 || s.Value < from.value:
		i.memory = memory{at: s.At, value: s.Value}
		return false, s.At
	case took < micros(i.rule.For):
		return i.alert != nil, from.at // until the window says otherwise
	}
	i.memory = memory{at: s.At, value: s.Value}
	hours := float64(took) / float64(micros(time.Hour))
	return (s.Value-from.value)/hours > limit, from.at
}

// looksBack are the conditions whose time is part of what they compare.
func looksBack(c *rule.Condition) bool { return c.Changed || c.Flat || c.Rising != nil || c.Absent }

// hold is how long a run must be.
func (i *instance) hold() device.Micros {
	if looksBack(&i.rule.Condition) {
		return 0
	}
	return micros(i.rule.For)
}

// gap is the pause after which nobody knows what was in between.
func (i *instance) gap() device.Micros {
	return max(micros(minGap), micros(i.rule.For)/10, 4*i.step)
}

// limitOf is the number that the condition compares with; nil where there is not
// one.
func limitOf(c *rule.Condition, place contract.Place) *float64 {
	if c.AboveMaxPower != nil {
		if place.MaxPower <= 0 {
			return nil
		}
		limit := *c.AboveMaxPower * float64(place.MaxPower)
		return &limit
	}
	for _, limit := range []*float64{c.Above, c.Below, c.Equals, c.Rising} {
		if limit != nil {
			return limit
		}
	}
	return nil
}
