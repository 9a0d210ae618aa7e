package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// portion is how many entries are looked at at once; a backlog is read from
// InfluxDB by the united ranges of so many.
const portion = 2000

// preparer makes the steps of a receiver, one ahead of what is sent.
type preparer struct {
	*receiver

	at     state
	window window
	ready  chan<- *outgoing
	// given are batches that were delivered, the newest only: a batch that was
	// stored twice has two entries.
	given      map[batchKey]bool
	givenOrder []batchKey
}

const givenMost = 4096

// prepare makes steps from a state on until ctx ends.
func (r *receiver) prepare(ctx context.Context, at state, ready chan<- *outgoing) {
	p := &preparer{
		receiver: r, at: at, ready: ready, given: make(map[batchKey]bool),
		window: window{store: r.hook.options.Store, receiver: r.config, width: firstWindow, odd: r.hook.count.odd.Inc},
	}
	for p.step(ctx) {
	}
}

// step does what comes next; false means that ctx has ended.
func (p *preparer) step(ctx context.Context) bool {
	if len(p.at.Plan.Spans) > 0 {
		return p.readOn(ctx)
	}
	var list []contract.Added
	var after json.RawMessage
	if !p.store(ctx, func() (err error) {
		asking, cancel := context.WithTimeout(ctx, queryTime)
		defer cancel()
		list, after, err = p.hook.options.Feed.Next(asking, p.at.Position, portion)
		return err
	}) {
		return false
	}
	here, missing, young, nothing := p.sort(list)
	p.taken(nothing)
	left, ok := p.hand(ctx, here)
	if !ok {
		return false
	}
	missing = append(missing, left...)
	p.at.Plan = planOf(missing)
	if len(young) == 0 {
		p.at.Position = after
	} else {
		p.taken(missing)
	}
	if len(p.at.Plan.Spans) > 0 {
		return true
	}
	p.at.Plan = plan{}
	if len(list) >= portion && len(young) == 0 {
		return true
	}
	return p.rest(ctx)
}

// sort tells the entries apart whose batches are in memory, those that must be
// read, those of which the batch may be heard any moment, and those that bring
// nothing: tombstones, and batches that were delivered already.
func (p *preparer) sort(list []contract.Added) (here, missing, young, nothing []contract.Added) {
	now := device.MicrosOf(time.Now())
	for _, e := range list {
		_, found := p.hook.heard.find(keyOf(e))
		age := time.Duration(now-e.At) * time.Microsecond
		switch {
		case p.given[keyOf(e)], !found && len(e.Replaces) > 0:
			nothing = append(nothing, e)
		case found && !e.Quarantined && !e.Expired:
			here = append(here, e)
		case !found && age >= 0 && age < p.hook.pace.patience && int64(e.At) > p.hook.listens.Load():
			young = append(young, e)
		default: // of one that is in quarantine some database may have taken something
			missing = append(missing, e)
		}
	}
	return here, missing, young, nothing
}

// taken moves the position behind some entries.
func (p *preparer) taken(some []contract.Added) {
	if len(some) == 0 {
		return
	}
	position, err := p.hook.options.Feed.Taken(p.at.Position, some)
	if err != nil { // then they are given again
		p.log.Error("position not moved", slog.Any("err", err))
		return
	}
	p.at.Position = position
}

// hand makes steps of batches in memory, as many in one as a request holds. left
// are those that must be read after all: they went in between, or make no sense
// here.
func (p *preparer) hand(ctx context.Context, list []contract.Added) (left []contract.Added, ok bool) {
	var done []contract.Added
	of, most := make(map[string][]record), 0
	flush := func() bool {
		for _, e := range done {
			p.remember(keyOf(e))
		}
		p.taken(done)
		ok := len(done) == 0 || p.emit(ctx, of)
		done, most = nil, 0
		clear(of)
		return ok
	}
	for _, e := range list {
		m, found := p.hook.heard.find(keyOf(e))
		if !found {
			left = append(left, e)
			continue
		}
		records, databases, err := p.guardedRead(m)
		if err != nil {
			p.log.WarnContext(ctx, "a stored batch makes no sense here: it is read from InfluxDB", slog.String("batch", e.ID), slog.Any("err", err))
			left = append(left, e)
			continue
		}
		if most+len(records) > p.config.MaxReadings && !flush() {
			return left, false
		}
		for _, d := range databases {
			of[d] = append(of[d], records...)
			most = max(most, len(of[d]))
		}
		done = append(done, e)
	}
	return left, flush()
}

func (p *preparer) guardedRead(m bus.Message) (records []record, databases []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			records, databases, err = nil, nil, fmt.Errorf("the code panicked over it: %v", v)
		}
	}()
	return p.read(m)
}

func (p *preparer) remember(key batchKey) {
	if len(p.givenOrder) >= givenMost {
		for _, old := range p.givenOrder[:givenMost/2] {
			delete(p.given, old)
		}
		p.givenOrder = append([]batchKey(nil), p.givenOrder[givenMost/2:]...)
	}
	p.given[key] = true
	p.givenOrder = append(p.givenOrder, key)
}

// emit makes a step of records by database, with the state that is behind it.
func (p *preparer) emit(ctx context.Context, of map[string][]record) bool {
	o := &outgoing{After: p.at}
	for _, database := range p.config.Databases {
		o.Requests = append(o.Requests, requests(p.config.Name, database, inOrder(of[database]), p.config.MaxReadings)...)
	}
	select {
	case p.ready <- o:
		return true
	case <-ctx.Done():
		return false
	}
}

// readOn makes a step of what the plan says is next.
func (p *preparer) readOn(ctx context.Context) bool {
	var database string
	var records []record
	var after plan
	if !p.store(ctx, func() (err error) {
		select {
		case p.hook.turns <- struct{}{}:
			defer func() { <-p.hook.turns }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		asking, cancel := context.WithTimeout(ctx, queryTime)
		defer cancel()
		database, records, after, err = p.window.next(asking, p.at.Plan)
		return err
	}) {
		return false
	}
	p.at.Plan = after
	return p.emit(ctx, map[string][]record{database: records})
}

// rest waits until it is time to look again; meanwhile it delivers what has no
// entry.
func (p *preparer) rest(ctx context.Context) bool {
	timer := time.NewTimer(p.hook.pace.poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case m := <-p.without.Next():
			p.without.Took(m)
			if !p.handWithout(ctx, m) {
				return false
			}
		}
	}
}

// handWithout makes a step of messages that have no entry, of all that wait, as
// many as a request holds.
func (p *preparer) handWithout(ctx context.Context, m bus.Message) bool {
	of := make(map[string][]record)
	for most := 0; ; {
		records, databases, err := p.guardedRead(m)
		if err != nil {
			p.hook.count.malformed.Inc()
		}
		for _, d := range databases {
			of[d] = append(of[d], records...)
			most = max(most, len(of[d]))
		}
		if most >= p.config.MaxReadings {
			break
		}
		select {
		case m = <-p.without.Next():
			p.without.Took(m)
			continue
		default:
		}
		break
	}
	return len(of) == 0 || p.emit(ctx, of)
}
