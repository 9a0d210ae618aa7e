package engine

import (
	"slices"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Remembered is what an engine must not forget when it stops: what fires, what
// has been pending for long, what was the last value of what may not change.
type Remembered struct {
	Rule    string          `json:"rule"`
	Device  device.ID       `json:"device,omitzero"`
	Gateway string          `json:"gateway,omitempty"`
	Source  string          `json:"source,omitempty"`
	Placed  bool            `json:"placed,omitempty"` // in the registry
	Since   device.Micros   `json:"since,omitempty"`
	Bad     device.Micros   `json:"bad,omitempty"` // newest bad sample
	Last    device.Micros   `json:"last"`
	Step    device.Micros   `json:"step,omitempty"`
	At      device.Micros   `json:"at,omitempty"`
	Value   float64         `json:"value,omitempty"`
	Text    string          `json:"text,omitempty"`
	Ripe    bool            `json:"ripe,omitempty"`
	Calm    device.Micros   `json:"calm,omitempty"`
	Raises  []device.Micros `json:"raises,omitempty"`
	Told    device.Micros   `json:"told,omitempty"` // last reminder
	Alert   *contract.Alert `json:"alert,omitempty"`
}

// Remember gives what an engine must know to go on, in no order. Alerts are
// copies.
func (e *Engine) Remember() []Remembered {
	var all []Remembered
	for k, i := range e.instances {
		if i.alert == nil && i.run.since == 0 && i.memory.at == 0 && len(i.raises) == 0 && !i.rule.Condition.Absent {
			continue // what is absent sends nothing by which it would be found again
		}
		r := Remembered{
			Rule: k.rule, Device: k.subject.Device, Gateway: k.subject.Gateway, Source: i.source, Placed: i.placed, Since: i.run.since, Bad: i.run.last,
			Last: i.last, Step: i.step, At: i.memory.at, Value: i.memory.value, Text: i.memory.text, Ripe: i.ripe, Calm: i.calm,
			Raises: i.raises, Told: i.reminded,
		}
		if i.alert != nil {
			a := *i.alert
			a.Covers = slices.Clone(a.Covers)
			r.Alert = &a
		}
		all = append(all, r)
	}
	return all
}

// Recall goes on with what an engine remembered; call it once, before the first
// sample. Alerts of rules that there are no more end.
func (e *Engine) Recall(all []Remembered, now device.Micros) []Change {
	e.advance(now)
	e.out = e.out[:0]
	byName := make(map[string]*rule.Rule)
	for _, r := range e.rules {
		byName[r.Name] = r
	}
	for _, m := range all {
		i := &instance{
			rule: byName[m.Rule], subject: Subject{m.Device, m.Gateway}, source: m.Source, placed: m.Placed, known: now, heard: now, run: run{m.Since, m.Bad}, last: m.Last, step: m.Step,
			memory: memory{m.At, m.Value, m.Text}, ripe: m.Ripe, calm: m.Calm, raises: m.Raises, reminded: m.Told, alert: m.Alert, covers: make(covered),
		}
		if i.rule == nil {
			if i.alert != nil {
				i.rule = &rule.Rule{Name: m.Rule}
				e.end(i, now)
			}
			continue
		}
		if i.alert != nil {
			e.firing[i.name()] = i
			for _, subject := range i.alert.Covers {
				i.covers.add(subject)
			}
		}
		e.instances[instanceKey{m.Rule, i.subject}] = i
		k := key{i.rule.Signal, i.subject}
		s := e.series[k]
		if s == nil { // as many as there were
			s = &series{source: m.Source, heard: e.now}
			e.series[k] = s
			e.hold(k, s)
		}
		s.last, s.placed = max(s.last, min(m.Last, e.now)), s.placed || m.Placed
	}
	for k, s := range e.series {
		w := e.where(k.subject, s.source)
		e.watch(k, s, &w)
	}
	return e.sorted()
}
