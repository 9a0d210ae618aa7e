package engine

import "github.com/wattline/wattline/shared/device"

// SetAhead follows the cloud's clock, which was set ahead by so much and says now:
// nobody was silent for that time, and what the cloud knows was so until a moment
// ago. Times of other clocks stay: of measurements, and of what people have set.
func (e *Engine) SetAhead(by, now device.Micros) {
	move := func(times ...*device.Micros) {
		for _, t := range times {
			if *t != 0 { // which is never
				*t = min(*t+by, now)
			}
		}
	}
	for k, s := range e.series {
		move(&s.heard)
		if k.isFact() {
			move(&s.last)
		}
	}
	for _, i := range e.instances {
		move(&i.known, &i.heard, &i.pastAt, &i.reminded)
		if !(key{i.rule.Signal, i.subject}).isFact() {
			continue
		}
		move(&i.run.since, &i.run.last, &i.past.since, &i.past.last, &i.last, &i.memory.at, &i.calm)
		for n := range i.raises {
			move(&i.raises[n])
		}
	}
}
