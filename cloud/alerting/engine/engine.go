package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// MaxSeries bounds what is watched: series are made by whoever publishes.
const MaxSeries = 500_000

// Kind says what happened to an alert.
type Kind string

// The kinds of changes.
const (
	Raised   Kind = "raised"
	Ended    Kind = "ended"
	Flapping Kind = "flapping" // it comes and goes; from now on it is held
	Reminder Kind = "reminder" // it still fires, and nobody has acknowledged it
	Wakened  Kind = "wakened"  // its snooze is over, and it still fires
	Updated  Kind = "updated"  // what it covers, or who hushed it: nobody is notified
	Late     Kind = "late"     // history from the start
)

// Change is something that happened to an alert, which is a copy.
type Change struct {
	Kind  Kind
	Alert contract.Alert
	// Receivers are the rule's.
	Receivers []string
}

// Engine watches. Its methods are not safe for concurrent use.
type Engine struct {
	house     House
	zone      *time.Location
	rules     []*rule.Rule // those that are on
	bySignal  map[string][]*rule.Rule
	calendars map[string]rule.Calendar
	parents   map[string]bool // rules that cover others
	series    map[key]*series
	instances map[instanceKey]*instance
	mute      []Maintenance
	now       device.Micros // the newest time that was told
	dropped   int           // samples of series beyond MaxSeries
	out       []Change
}

type key struct {
	signal  string
	subject Subject
}

type instanceKey struct {
	rule    string
	subject Subject
}

// series is one signal of one subject, and the rules that watch it.
type series struct {
	last    device.Micros // measurement time of the newest sample
	watched []*instance
	source  string
}

// New watches by the rules of a file without mistakes.
func New(file rule.File, house House) *Engine {
	e := &Engine{house: house, series: make(map[key]*series), instances: make(map[instanceKey]*instance)}
	e.adopt(file)
	return e
}

func (e *Engine) adopt(file rule.File) {
	e.setZone()
	e.calendars, e.rules = file.Calendars, nil
	e.bySignal, e.parents = make(map[string][]*rule.Rule), make(map[string]bool)
	for i := range file.Rules {
		r := file.Rules[i]
		if r.Off {
			continue
		}
		e.rules = append(e.rules, &r)
		e.bySignal[r.Signal] = append(e.bySignal[r.Signal], &r)
		for _, parent := range r.CoveredBy {
			e.parents[parent] = true
		}
	}
}

// setZone takes the site's zone, UTC as long as nobody has said which.
func (e *Engine) setZone() {
	e.zone = time.UTC
	if zone, err := time.LoadLocation(e.house.Site().TimeZone); err == nil {
		e.zone = zone
	}
}

// Dropped counts the samples that were not watched because too much is.
func (e *Engine) Dropped() int { return e.dropped }

// Watched counts the series.
func (e *Engine) Watched() int { return len(e.series) }

// Take looks at a sample that came at now, and gives what it changed. Samples of
// nothing that a rule watches cost nothing.
func (e *Engine) Take(s Sample, now device.Micros) []Change {
	e.now = max(e.now, now)
	rules := e.bySignal[s.Signal]
	if len(rules) == 0 {
		return nil
	}
	k := key{s.Signal, s.Subject}
	at := e.series[k]
	if at == nil {
		if len(e.series) >= MaxSeries {
			e.dropped++
			return nil
		}
		at = &series{source: s.Gateway}
		e.series[k] = at
		e.watch(k, at)
	}
	e.out = e.out[:0]
	inOrder := s.At > at.last
	for _, i := range at.watched {
		switch {
		case i.unplaced:
		case inOrder:
			e.judge(i, s)
		default:
			e.judgePast(i, s)
		}
	}
	at.last = max(at.last, s.At)
	return slices.Clone(e.out)
}

// watch finds the rules that a series falls under.
func (e *Engine) watch(k key, at *series) {
	at.watched = at.watched[:0]
	w := e.where(k.subject, at.source)
	for _, r := range e.bySignal[k.signal] {
		if !fits(&r.Select, k.subject, w) {
			continue
		}
		i := e.instances[instanceKey{r.Name, k.subject}]
		if i == nil {
			i = &instance{subject: k.subject}
			e.instances[instanceKey{r.Name, k.subject}] = i
		}
		i.rule, i.source, i.known = r, at.source, max(i.known, e.now)
		i.limit, i.unplaced = limitOf(&r.Condition, w.place), r.Condition.AboveMaxPower != nil && !w.placed
		at.watched = append(at.watched, i)
	}
}

// Tick lets time pass: what is absent, what is over by itself, whose snooze ends.
// Call it every second or so.
func (e *Engine) Tick(now device.Micros) []Change {
	e.now = max(e.now, now)
	e.out = e.out[:0]
	for _, i := range e.instances {
		e.lapse(i)
	}
	return e.sorted()
}

// sorted are the changes in the order of their alerts' ids: that of a map is none.
func (e *Engine) sorted() []Change {
	slices.SortFunc(e.out, func(a, b Change) int { return cmp.Compare(a.Alert.ID, b.Alert.ID) })
	return slices.Clone(e.out)
}

// Firing are the alerts that fire, sorted by id. They are copies.
func (e *Engine) Firing() []contract.Alert {
	var all []contract.Alert
	for _, i := range e.instances {
		if i.alert != nil {
			all = append(all, *i.alert)
		}
	}
	slices.SortFunc(all, func(a, b contract.Alert) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func alertID(r *rule.Rule, s Subject, since device.Micros) string {
	return fmt.Sprintf("%s/%s/%d", r.Name, s, since)
}

func micros[D rule.Duration | time.Duration](d D) device.Micros {
	return device.Micros(time.Duration(d).Microseconds())
}
