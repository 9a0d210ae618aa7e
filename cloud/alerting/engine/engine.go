package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

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
	held      held
	instances map[instanceKey]*instance
	firing    map[string]*instance // by rule/subject
	mute      []Maintenance
	now       device.Micros // the newest time that was told
	swept     device.Micros // when silent series were looked for
	dropped   int           // samples of series beyond the bounds
	foreign   int           // samples of places from others than their gateway
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
	heard   device.Micros // cloud's time of the newest sample
	watched []*instance
	source  string
	owner   string // the gateway of the place; "" when anybody may tell of it
	placed  bool   // it is, or was, about a place
	spot    spot
}

// New watches by the rules of a file without mistakes.
func New(file rule.File, house House) *Engine {
	e := &Engine{
		house: house, series: make(map[key]*series), held: held{of: make(map[string]int)},
		instances: make(map[instanceKey]*instance), firing: make(map[string]*instance),
	}
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

// Take looks at a sample that came at now, and gives what it changed. Samples of
// nothing that a rule watches cost nothing. One of a place that its own gateway did
// not send says nothing. One that is dated ahead of now counts as of now: a clock
// that goes fast must not make what comes after it the past.
func (e *Engine) Take(s Sample, now device.Micros) []Change {
	e.advance(now)
	rules := e.bySignal[s.Signal]
	if len(rules) == 0 {
		return nil
	}
	k := key{s.Signal, s.Subject}
	at := e.series[k]
	switch {
	case at == nil:
		if at = e.admit(k, s.Gateway); at == nil {
			return nil
		}
	case at.owner != "" && at.owner != s.Gateway:
		e.foreign++
		return nil
	}
	at.heard, s.At = e.now, min(s.At, e.now)
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
func (e *Engine) watch(k key, at *series, w *where) {
	for _, i := range at.watched {
		i.watched = false
	}
	at.watched, at.spot = at.watched[:0], w.spot()
	at.placed = at.placed || w.placed
	if at.owner = ""; !k.isFact() && w.place.Gateway != "" {
		at.owner, at.source = w.place.Gateway, w.place.Gateway
	}
	for _, r := range e.bySignal[k.signal] {
		if !fits(&r.Select, k.subject, w) {
			continue
		}
		i := e.instances[instanceKey{r.Name, k.subject}]
		if i == nil {
			i = &instance{subject: k.subject, known: e.now}
			e.instances[instanceKey{r.Name, k.subject}] = i
		}
		i.rule, i.source, i.placed, i.watched = r, at.source, at.placed, true
		i.limit, i.unplaced = limitOf(&r.Condition, w.place), r.Condition.AboveMaxPower != nil && !w.placed
		at.watched = append(at.watched, i)
	}
}

// Tick lets time pass: what is absent, what is over by itself, whose snooze ends.
// Call it every second or so.
func (e *Engine) Tick(now device.Micros) []Change {
	e.advance(now)
	e.out = e.out[:0]
	for _, i := range e.instances {
		e.lapse(i)
	}
	e.forgetSilent()
	return e.sorted()
}

// sorted are the changes in the order of their alerts' ids: that of a map is none.
func (e *Engine) sorted() []Change {
	slices.SortFunc(e.out, func(a, b Change) int { return cmp.Compare(a.Alert.ID, b.Alert.ID) })
	return slices.Clone(e.out)
}

// Firing are the alerts that fire, sorted by id. They are copies.
func (e *Engine) Firing() []contract.Alert {
	all := make([]contract.Alert, 0, len(e.firing))
	for _, i := range e.firing {
		all = append(all, *i.alert)
	}
	slices.SortFunc(all, func(a, b contract.Alert) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Alerts counts those that fire.
func (e *Engine) Alerts() int { return len(e.firing) }

// Fires reports whether a rule fires for a subject.
func (e *Engine) Fires(rule, subject string) bool { return e.firing[rule+"/"+subject] != nil }

// Alert gives a copy of one that fires.
func (e *Engine) Alert(id string) (a contract.Alert, ok bool) {
	if i := e.byID(id); i != nil {
		return *i.alert, true
	}
	return a, false
}

func (e *Engine) byID(id string) *instance {
	i := e.firing[id[:max(0, strings.LastIndexByte(id, '/'))]]
	if i == nil || i.alert.ID != id {
		return nil
	}
	return i
}

// alertID begins with what e.firing is indexed by.
func alertID(i *instance, since device.Micros) string { return fmt.Sprintf("%s/%d", i.name(), since) }

func (i *instance) name() string { return i.rule.Name + "/" + i.subject.String() }

func micros[D rule.Duration | time.Duration](d D) device.Micros {
	return device.Micros(time.Duration(d).Microseconds())
}

// Watches reports whether a rule looks at a signal.
func (e *Engine) Watches(signal string) bool { return len(e.bySignal[signal]) > 0 }
