package engine

import (
	"slices"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/device"
)

// SetRules watches by other rules from now on. Alerts of rules that are gone or
// off end; those of rules that have changed fire on until a sample says that they
// are over; what was pending under a changed condition begins anew.
func (e *Engine) SetRules(file rule.File, now device.Micros) []Change {
	e.advance(now)
	e.adopt(file)
	e.out = e.out[:0]
	byName := make(map[string]*rule.Rule)
	for _, r := range e.rules {
		byName[r.Name] = r
	}
	for k, i := range e.instances {
		r := byName[k.rule]
		if r == nil || r.Signal != i.rule.Signal {
			e.drop(k, i)
			continue
		}
		if !sameCondition(i.rule, r) {
			i.run, i.ripe, i.memory, i.past = run{}, false, memory{}, run{}
		}
		i.rule = r
	}
	e.rewatch(true)
	return e.sorted()
}

// Rehouse looks anew at what the house says, after places or gateways have
// changed: what is gone from a whole house can be in no trouble any more.
func (e *Engine) Rehouse(now device.Micros) []Change {
	e.advance(now)
	e.setZone()
	e.out = e.out[:0]
	e.rewatch(false)
	return e.sorted()
}

// stands reports whether the subject of a series is still there. Devices of agents
// that are no gateways stand in no registry, unless they stood there once.
func (e *Engine) stands(k key, s *series, w *where) bool {
	switch k.subject.kind() {
	case rule.OfGateway:
		_, ok := e.house.Gateway(k.subject.Gateway)
		return ok
	case rule.OfDevice:
		if w.placed {
			return true
		}
		_, fromGateway := e.house.Gateway(s.source)
		return !fromGateway && !s.placed
	default:
		return true
	}
}

// drop forgets an instance and ends what it raised.
func (e *Engine) drop(k instanceKey, i *instance) {
	if i.alert != nil {
		e.end(i, e.now)
	}
	delete(e.instances, k)
}

// rewatch matches rules and series anew: all, or those for which the house says
// something else than before. What is gone from a whole house is forgotten.
func (e *Engine) rewatch(all bool) {
	whole := e.house.Whole()
	e.held.clear()
	for k, s := range e.series {
		w := e.where(k.subject, s.source)
		switch {
		case whole && !e.stands(k, s, &w):
			for _, i := range s.watched {
				i.watched = false
			}
			delete(e.series, k)
			continue
		case all || w.spot() != s.spot:
			e.watch(k, s, &w)
		}
		if len(s.watched) == 0 && len(e.bySignal[k.signal]) == 0 {
			delete(e.series, k)
			continue
		}
		e.hold(k, s)
	}
	if !whole {
		return
	}
	for k, i := range e.instances {
		if !i.watched {
			e.drop(k, i)
		}
	}
}

func sameCondition(a, b *rule.Rule) bool {
	x, y := a.Condition, b.Condition
	same := func(p, q *float64) bool { return p == q || p != nil && q != nil && *p == *q }
	return same(x.Above, y.Above) && same(x.AboveMaxPower, y.AboveMaxPower) && same(x.Below, y.Below) && same(x.Clear, y.Clear) &&
		slices.Equal(x.Inside, y.Inside) && slices.Equal(x.Outside, y.Outside) && same(x.Equals, y.Equals) && same(x.Rising, y.Rising) &&
		x.Changed == y.Changed && x.Flat == y.Flat && x.Absent == y.Absent && a.For == b.For && a.Hours == b.Hours
}
