package collector

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/device"
)

const (
	// offlineAfter is the number of failed polls in a row that make a plug
	// offline: healthy ones refuse or reset a connection now and then.
	offlineAfter = 3
	// maxDetail bounds the text kept of an error, in bytes.
	maxDetail = 200
)

// backOff is how long after the end of a failed poll an offline plug is asked
// again; the last holds from then on. Up to a quarter of it is taken off at
// random, so that plugs that went away together do not come back together.
var backOff = [...]time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 60 * time.Second}

// plug is a plug and its schedule:
//
//	on its grid --three failures in a row--> offline --an answer--> on its grid
//
// The fields are protected by the mutex of the Collector; device, meter and
// retired's meaning never change for one value.
type plug struct {
	device   device.ID
	meter    Meter
	interval time.Duration
	grid     time.Time // one of the ticks, from which all are counted

	due     time.Time // of the next poll, or of the one under way
	polling bool
	cancel  context.CancelFunc // of the poll under way
	retired bool               // no longer in the collector

	failures int       // in a row
	since    time.Time // end of the first of them
	reason   string
	detail   string
	told     []string // reasons that were logged since the plug answered

	last     time.Time // end of the last poll that was answered
	power    *device.Watts
	on       *bool
	suspects int
	missed   int
}

// become is the plug for t: p itself where t is the same plug, a new one
// otherwise, which inherits what p knew of the place. p may be nil.
func (p *plug) become(t Target, now time.Time, phase time.Duration) *plug {
	if p != nil && sameMeter(p.meter, t.Meter) {
		if p.interval != t.Interval {
			p.interval, p.grid = t.Interval, now.Add(phase)
			if !p.offline() && !p.polling {
				p.due = p.grid
			}
		}
		return p
	}
	n := &plug{device: t.Device, meter: t.Meter, interval: t.Interval, grid: now.Add(phase)}
	n.due = n.grid
	if p == nil {
		return n
	}
	if p.interval == n.interval {
		n.grid = p.grid
		n.due = n.tick(now)
	}
	n.last, n.power, n.on, n.suspects, n.missed = p.last, p.power, p.on, p.suspects, p.missed
	return n
}

// sameMeter compares what may not be comparable, which counts as different.
func sameMeter(a, b Meter) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// retire gives up the poll under way, if any.
func (p *plug) retire() {
	p.retired = true
	if p.cancel != nil {
		p.cancel()
	}
}

func (p *plug) offline() bool { return p.failures >= offlineAfter }

// tick is the first tick of the grid that is not before t.
func (p *plug) tick(t time.Time) time.Time {
	past := t.Sub(p.grid) % p.interval // below 0 before the grid's first
	if past > 0 {
		past -= p.interval
	}
	return t.Add(-past)
}

// skip moves a tick that was not served in its interval to the last that has
// passed, and returns how many it skipped.
func (p *plug) skip(now time.Time) int {
	if p.offline() {
		return 0
	}
	late := now.Sub(p.due)
	passed := late - late%p.interval
	p.due = p.due.Add(passed)
	missed := int(passed / p.interval)
	p.missed += missed
	return missed
}

// answered takes over an answer that came at now; back tells of a plug that was
// away.
func (p *plug) answered(m device.Measurement, now time.Time, back func(*plug, time.Time)) (missed int) {
	if p.offline() {
		back(p, now)
		p.due = p.tick(now)
	} else {
		missed = p.advance(now)
	}
	p.failures, p.since, p.reason, p.detail, p.told = 0, time.Time{}, "", "", nil
	p.last, p.power, p.on = now, m.Power, m.On
	p.suspects += len(m.Suspects)
	return missed
}

// failed takes over that a poll came to nothing at now; away tells of a plug that
// is offline, once for each reason.
func (p *plug) failed(err error, now time.Time, away func(*plug)) (missed int) {
	if p.failures == 0 {
		p.since = now
	}
	p.failures++
	p.reason, p.detail = reasonOf(err), clip(err.Error())
	if !p.offline() {
		return p.advance(now)
	}
	if !slices.Contains(p.told, p.reason) {
		p.told = append(p.told, p.reason)
		away(p)
	}
	delay := backOff[min(p.failures-offlineAfter, len(backOff)-1)]
	delay -= rand.N(delay / 4)
	p.due = now.Add(max(delay, p.interval))
	return 0
}

// advance sets due to the next tick that has not passed at now.
func (p *plug) advance(now time.Time) (missed int) {
	next := p.tick(now)
	if !next.After(p.due) {
		next = next.Add(p.interval)
	}
	missed = max(int(next.Sub(p.due)/p.interval)-1, 0)
	p.missed += missed
	p.due = next
	return missed
}

// clip keeps the text of an error short.
func clip(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail] + "..."
	}
	return s
}

// queue is a heap of plugs by due.
type queue []*plug

func (q *queue) init()        { heap.Init(q) }
func (q *queue) pop()         { heap.Pop(q) }
func (q *queue) push(p *plug) { heap.Push(q, p) }

// Len is part of heap.Interface, as are the others.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push adds a *plug.
func (q *queue) Push(x any) { *q = append(*q, x.(*plug)) } //nolint:errcheck,forcetypeassert // only push calls it

// Pop removes the last.
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return p
}
