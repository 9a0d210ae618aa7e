package controller

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// order is a command that was taken on. Its fields are protected by the mutex of
// the Controller, those above the line never change.
type order struct {
	id, who, reason string
	version         uint64
	deadline        contract.Deadline
	switches        []contract.Switch // one per device
	wanted          map[device.ID]bool
	ctx             context.Context //nolint:containedctx // of the whole order: its tasks wait in several goroutines
	cancel          context.CancelCauseFunc
	release         context.CancelFunc

	results []contract.Result // as far as they are known
	left    int               // results to come
	askers  []*asker
}

// asker is told the results of an order.
type asker struct {
	tell func(contract.Results)
	told int  // results
	busy bool // tell is running
}

func newOrder(cmd contract.GatewayCommand) *order {
	o := &order{
		id: cmd.ID, who: cmd.Who, reason: cmd.Reason, version: cmd.ConfigVersion, deadline: cmd.Deadline,
		wanted: make(map[device.ID]bool, len(cmd.Switches)),
	}
	for _, s := range cmd.Switches {
		o.wanted[s.Device] = s.On
	}
	seen := make(map[device.ID]bool, len(o.wanted))
	for _, s := range cmd.Switches {
		if !seen[s.Device] {
			seen[s.Device] = true
			o.switches = append(o.switches, contract.Switch{Device: s.Device, On: o.wanted[s.Device]})
		}
	}
	o.left = len(o.switches)
	return o
}

// settle adds the result of one device; mu is held.
func (c *Controller) settle(o *order, r contract.Result) {
	if len(r.Detail) > maxDetail {
		r.Detail = r.Detail[:maxDetail] + "..."
	}
	c.count.outcomes.With(string(r.Outcome)).Inc()
	o.results = append(o.results, r)
	o.left--
	for _, a := range o.askers {
		c.tell(o, a)
	}
	if o.left == 0 && o.release != nil {
		o.release()
		o.cancel(nil)
	}
}

// repeat tells one more asker about an order; mu is held.
func (c *Controller) repeat(o *order, answer func(contract.Results)) {
	idle := o.askers[:0]
	for _, a := range o.askers {
		if a.busy || o.left > 0 {
			idle = append(idle, a)
		}
	}
	clear(o.askers[len(idle):])
	o.askers = idle
	if len(o.askers) > maxAskers {
		return // they get the same answer, most likely on the same topic
	}
	a := &asker{tell: answer}
	o.askers = append(o.askers, a)
	c.tell(o, a)
}

// tell gives an asker what it does not know yet. While it listens, more results
// gather, and go to it together. mu is held.
func (c *Controller) tell(o *order, a *asker) {
	if a.busy || a.told == len(o.results) {
		return
	}
	a.busy = true
	c.work.Go(func() {
		for {
			c.mu.Lock()
			news := o.results[a.told:len(o.results):len(o.results)]
			a.told = len(o.results)
			a.busy = len(news) > 0
			c.mu.Unlock()
			if len(news) == 0 {
				return
			}
			a.tell(contract.Results{Results: news})
		}
	})
}

// account is the asker that writes the audit: one note for each device that is
// one of this floor.
func (c *Controller) account(o *order) func(contract.Results) {
	return func(rs contract.Results) {
		for _, r := range rs.Results {
			c.mu.Lock()
			_, ours := c.targets[r.Device]
			c.mu.Unlock()
			if ours {
				c.o.Note(r.Device, contract.Switched{
					Command: o.id, Who: o.who, Reason: o.reason, On: o.wanted[r.Device], Outcome: r.Outcome, Detail: r.Detail,
				})
			}
			if r.Outcome == contract.Refused || r.Outcome == contract.Mismatch {
				c.log.Warn("plug not switched", slog.String("device", r.Device.String()),
					slog.String("source", o.who), slog.String("err", string(r.Outcome)+": "+r.Detail))
			}
		}
	}
}

// attend starts what o switches on, one plug after the other, and answers for
// all that still waits when o's time is over.
func (c *Controller) attend(o *order, staggered []*task) {
	var last time.Time
	for _, t := range staggered {
		if !last.IsZero() && c.waits(t) {
			c.pause(o.ctx, last)
		}
		if !c.waits(t) {
			continue // overtaken, or the time is over: no pause for those
		}
		last = time.Now()
		c.work.Go(func() { c.run(t) })
	}
	<-o.ctx.Done()
	c.lapse(o)
}

// pause waits until the stagger has passed since the last switch.
func (c *Controller) pause(ctx context.Context, last time.Time) {
	c.mu.Lock()
	stagger := c.stagger
	c.mu.Unlock()
	timer := time.NewTimer(time.Until(last.Add(stagger)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lapse settles what still waits of an order whose time is over.
func (c *Controller) lapse(o *order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := verdict{contract.Unreachable, "gateway: " + errStopping.Error()}
	if context.Cause(o.ctx) == context.DeadlineExceeded { //nolint:errorlint // the value that WithTimeout sets
		v = verdict{contract.Expired, "its turn did not come before the deadline"}
	}
	for _, s := range o.switches {
		d := c.desks[s.Device]
		if d == nil || d.waiting == nil {
			continue
		}
		r := contract.Result{Device: s.Device, Outcome: v.Outcome, Detail: v.detail}
		t := d.waiting
		ofO := func(w *task) bool { return w.order == o }
		switch {
		case ofO(t):
			c.leave(d, s.Device)
			c.settleAll(t, r)
		case slices.ContainsFunc(t.with, ofO):
			t.with = slices.DeleteFunc(t.with, ofO)
			c.settle(o, r)
		}
	}
}
