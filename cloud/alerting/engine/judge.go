package engine

import (
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// judge takes in a sample that is newer than all before.
func (e *Engine) judge(i *instance, s Sample) {
	i.heard = e.now
	broken := i.last != 0 && s.At-i.last > i.gap()
	if step := s.At - i.last; i.last != 0 && !broken {
		i.step += (step - i.step) / 4
	} else if i.step == 0 && i.last != 0 {
		i.step = step
	}
	before := i.last
	i.last, i.value, i.unit = s.At, s.Value, s.Unit
	bad, since := i.bad(s)
	if i.rule.Condition.Changed && !bad {
		return // a change is over when its time is
	}
	if !bad || !e.counts(i.rule, s.At) {
		e.good(i, s.At)
		return
	}
	if i.run.since != 0 && broken && i.alert == nil {
		e.forget(i, before)
	}
	if i.run.since == 0 {
		i.run.since = since
	}
	i.run.last = s.At
	e.bad(i, s.At)
	if i.rule.Condition.Changed && i.alert == nil {
		e.forget(i, s.At) // nothing else will end it
	}
}

// bad goes on with a run.
func (e *Engine) bad(i *instance, at device.Micros) {
	if i.alert != nil {
		i.calm = 0
		value := i.value
		i.alert.Value = &value
		return
	}
	if at-i.run.since < i.hold() {
		return
	}
	i.ripe = true
	if e.now-at > micros(i.rule.Lateness()) {
		return
	}
	if parent := e.coverOf(i); parent != nil {
		e.cover(parent, i)
		return
	}
	e.raise(i)
}

// good ends a run, and what came of it.
func (e *Engine) good(i *instance, at device.Micros) {
	if i.alert == nil {
		e.forget(i, at)
		return
	}
	if i.alert.Flapping {
		if i.calm == 0 {
			i.calm = at
		}
		if at-i.calm < micros(settleAfter) {
			return
		}
		i.raises = nil
	}
	e.end(i, at)
}

// forget ends a run that raised no alarm. What held for long enough, and was over
// before anybody could know, is history.
func (e *Engine) forget(i *instance, until device.Micros) {
	if i.ripe && i.coveredBy == nil && e.now-i.run.last > micros(i.rule.Lateness()) {
		e.history(i, i.run.since, until)
	}
	i.run, i.ripe, i.coveredBy = run{}, false, nil
}

// judgePast takes in a sample that is older than one before: it can make an alarm
// less sure, never raise one.
func (e *Engine) judgePast(i *instance, s Sample) {
	if looksBack(&i.rule.Condition) || s.At == i.last {
		return
	}
	firing := i.alert
	i.alert = nil // the limit for something new counts, not where the old one is over
	bad, _ := i.bad(s)
	i.alert = firing
	bad = bad && e.counts(i.rule, s.At)
	if !bad && firing == nil && s.At > i.run.since && i.run.since != 0 {
		i.run.since, i.ripe = i.last, false
	}
	if i.past.since != 0 && (!bad || s.At < i.past.last || s.At-i.past.last > i.gap()) {
		e.endPast(i)
	}
	if bad {
		if i.past.since == 0 {
			i.past.since = s.At
		}
		i.past.last, i.pastAt = s.At, e.now
	}
}

// endPast writes a run of the past into history if it held for long enough.
func (e *Engine) endPast(i *instance) {
	if i.past.last-i.past.since >= i.hold() {
		e.history(i, i.past.since, i.past.last)
	}
	i.past = run{}
}

// counts reports whether a rule is about this time of day.
func (e *Engine) counts(r *rule.Rule, at device.Micros) bool {
	if r.Hours == "" {
		return true
	}
	calendar, ok := e.calendars[r.Calendar()]
	within := ok && calendar.Within(time.UnixMicro(int64(at)).In(e.zone))
	return within == (r.Hours[0] == 'i') // inside or outside
}

// raise makes an alert.
func (e *Engine) raise(i *instance) {
	a := e.alertOf(i, i.run.since)
	a.State, a.Fired = contract.Firing, e.now
	i.raises = append(i.raises, i.run.since)
	i.raises = slices.DeleteFunc(i.raises, func(at device.Micros) bool { return i.run.since-at > micros(flapWindow) })
	kind := Raised
	if len(i.raises) >= flapRaises {
		a.Flapping, kind = true, Flapping
	}
	e.listCovered(i, &a)
	a.Hushed = e.maintained(i, &a)
	i.alert, i.ripe, i.calm, i.reminded = &a, false, 0, e.now
	e.firing[i.name()] = i
	e.tell(kind, i)
}

// alertOf says all that is known of what is wrong.
func (e *Engine) alertOf(i *instance, since device.Micros) contract.Alert {
	w := e.where(i.subject, i.source)
	value, unit := i.value, i.unit
	if signal, fact := rule.SignalOf(i.rule.Signal); fact {
		unit = signal.Unit
	}
	a := contract.Alert{
		ID: alertID(i, since), Rule: i.rule.Name, Severity: i.rule.Severity,
		Subject: i.subject.String(), Device: i.subject.Device, Gateway: w.gateway, Floor: w.floor, Label: w.label,
		Since: since, Unit: unit, Advice: i.rule.Advice,
	}
	if !i.rule.Condition.Absent {
		a.Value = &value
	}
	a.Summary = summary(i.rule, &a, i.limit, max(i.last, since))
	return a
}

// end closes an alert. What it covered has to hold anew.
func (e *Engine) end(i *instance, at device.Micros) {
	i.alert.State, i.alert.Ended = contract.Resolved, max(at, i.alert.Since)
	e.tell(Ended, i)
	delete(e.firing, i.name())
	i.alert, i.covers, i.run, i.ripe, i.calm, i.news = nil, nil, run{}, false, 0, false
	uncover(i)
}

// history tells of what was over before anybody could know.
func (e *Engine) history(i *instance, since, until device.Micros) {
	a := e.alertOf(i, since)
	a.State, a.Fired, a.Ended, a.Late = contract.Resolved, e.now, until, true
	e.out = append(e.out, Change{Kind: Late, Alert: a, Receivers: i.rule.Receivers})
}

// tell hands out a copy.
func (e *Engine) tell(kind Kind, i *instance) {
	a := *i.alert
	a.Covers = slices.Clone(a.Covers)
	e.out = append(e.out, Change{Kind: kind, Alert: a, Receivers: i.rule.Receivers})
}

// lapse is what time alone does.
func (e *Engine) lapse(i *instance) {
	if i.past.since != 0 && e.now-i.pastAt > micros(pastEnds) {
		e.endPast(i)
	}
	c := &i.rule.Condition
	if c.Absent && i.alert == nil {
		if since := max(i.heard, i.known); e.now-since >= micros(i.rule.For) {
			i.run = run{since, e.now}
			e.bad(i, e.now)
		}
	}
	if i.alert == nil {
		return
	}
	if c.Changed && e.now-i.run.last >= micros(i.rule.For) {
		e.end(i, e.now)
		return
	}
	if h := i.alert.Hushed; h != nil && h.Until != 0 && e.now >= h.Until {
		i.alert.Hushed, i.reminded = nil, e.now
		e.tell(Wakened, i)
	}
	if i.alert.Hushed == nil && i.rule.Remind > 0 && e.now-i.reminded >= micros(i.rule.Remind) {
		i.reminded = e.now
		e.tell(Reminder, i)
	}
	if i.news {
		i.news = false
		e.tell(Updated, i)
	}
}
