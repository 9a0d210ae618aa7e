package engine

import (
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/device"
)

// Series are made by whoever publishes, so they are bounded: those of one source,
// those of all gateways of the registry, and apart from these, so that nobody
// unknown blinds the rules for real plugs, those of all other sources. Facts, which
// the cloud tells itself, are as many as the house is large.
const (
	MaxOfSource  = 50_000
	MaxSeries    = 500_000
	MaxStrangers = 100_000
)

const (
	// silentFor is how long what stands in no registry is watched after its last
	// sample. It is looked for every sweepEvery.
	silentFor  = 24 * time.Hour
	sweepEvery = time.Hour
	// slack is by how much the cloud's clock may go back unnoticed.
	slack = time.Second
)

// held counts series, by who sends them.
type held struct {
	of                  map[string]int
	gateways, strangers int
}

func (h *held) clear() {
	clear(h.of)
	h.gateways, h.strangers = 0, 0
}

// Dropped counts the samples that were not watched because too much is.
func (e *Engine) Dropped() int { return e.dropped }

// Foreign counts the samples of places that another source than the place's
// gateway sent.
func (e *Engine) Foreign() int { return e.foreign }

// Watched counts the series.
func (e *Engine) Watched() int { return len(e.series) }

// Hears reports whether a source sends what a rule watches.
func (e *Engine) Hears(source string) bool { return e.held.of[source] > 0 }

// isFact tells what the cloud says itself from what sources measure.
func (k key) isFact() bool {
	_, fact := rule.SignalOf(k.signal)
	return fact
}

// admit begins a series; nil when its source may not, or has too many.
func (e *Engine) admit(k key, source string) *series {
	if !k.isFact() {
		if place, ok := e.house.Place(k.subject.Device); ok && place.Gateway != "" && place.Gateway != source {
			e.foreign++
			return nil
		}
		if !e.room(source) {
			e.dropped++
			return nil
		}
	}
	s := &series{source: source}
	e.series[k] = s
	w := e.where(k.subject, source)
	e.watch(k, s, &w)
	e.hold(k, s)
	return s
}

func (e *Engine) room(source string) bool {
	if e.held.of[source] >= MaxOfSource {
		return false
	}
	if _, registered := e.house.Gateway(source); registered {
		return e.held.gateways < MaxSeries
	}
	return e.held.strangers < MaxStrangers
}

// hold counts a series.
func (e *Engine) hold(k key, s *series) { e.count(k, s, 1) }

// release forgets a series.
func (e *Engine) release(k key, s *series) {
	delete(e.series, k)
	e.count(k, s, -1)
}

// count may err for a source that has just been registered, until the series are
// counted anew.
func (e *Engine) count(k key, s *series, by int) {
	if k.isFact() {
		return
	}
	if e.held.of[s.source] += by; e.held.of[s.source] == 0 {
		delete(e.held.of, s.source)
	}
	if _, registered := e.house.Gateway(s.source); registered {
		e.held.gateways += by
	} else {
		e.held.strangers += by
	}
}

// forgetSilent forgets the series of devices that stand in no registry and say
// nothing any more, unless an alert tells so, or is about to.
func (e *Engine) forgetSilent() {
	if e.swept == 0 {
		e.swept = e.now
	}
	if e.now-e.swept < micros(sweepEvery) {
		return
	}
	e.swept = e.now
	for k, s := range e.series {
		if k.subject.kind() != rule.OfDevice || e.now-s.heard < micros(silentFor) || e.awaited(s) {
			continue
		}
		if _, known := e.house.Place(k.subject.Device); known {
			continue
		}
		e.release(k, s)
		for _, i := range s.watched {
			delete(e.instances, instanceKey{i.rule.Name, i.subject})
		}
	}
}

// awaited reports whether somebody is told that a series says nothing, or will be.
func (e *Engine) awaited(s *series) bool {
	for _, i := range s.watched {
		if i.alert != nil || i.rule.Condition.Absent && e.now-max(i.heard, i.known) < micros(i.rule.For) {
			return true
		}
	}
	return false
}

// advance takes the cloud's time, and follows its clock when that is set back:
// otherwise nothing would happen until it is as late as it was.
func (e *Engine) advance(now device.Micros) {
	back := e.now - now
	if back <= 0 {
		e.now = now
		return
	}
	if back < micros(slack) {
		return
	}
	e.now = now
	e.swept = min(e.swept, now)
	for _, s := range e.series {
		s.last, s.heard = min(s.last, now), s.heard-back
	}
	for _, i := range e.instances {
		i.setBack(now, back)
	}
}

// setBack moves what is of the cloud's clock, and lets nothing have been measured
// after now.
func (i *instance) setBack(now, back device.Micros) {
	for _, t := range []*device.Micros{&i.known, &i.heard, &i.pastAt, &i.reminded} {
		if *t != 0 { // which is never
			*t = max(1, *t-back)
		}
	}
	for _, t := range []*device.Micros{&i.run.since, &i.run.last, &i.past.since, &i.past.last, &i.last, &i.memory.at, &i.calm} {
		*t = min(*t, now)
	}
	for n := range i.raises {
		i.raises[n] = min(i.raises[n], now)
	}
}
