package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// task is one switch of an order:
//
//	waiting --its turn, the plug is free--> switching --> settled
//	   |--a newer command, the deadline, the end of the gateway--> settled
type task struct {
	order  *order
	device device.ID
	on     bool
	ready  bool // its turn has come; it waits for the plug only
	// with are tasks of other orders that ask for the same, none with a later
	// deadline: what becomes of this one becomes of them.
	with []*task
}

// desk is where the switches of one plug meet: one is carried out, one waits. It
// exists as long as there is one.
type desk struct {
	busy    bool
	waiting *task
}

// enqueue lets t wait for its plug. One that waits for the same state shares its
// fate, as when a row and a column meet in a place; one that waits for the other
// state is overtaken. mu is held.
func (c *Controller) enqueue(t *task) {
	d := c.desks[t.device]
	if d == nil {
		d = &desk{}
		c.desks[t.device] = d
	}
	old := d.waiting
	switch {
	case old == nil:
		d.waiting = t
	case old.on != t.on:
		d.waiting = t
		c.settleAll(old, contract.Result{Device: t.device, Outcome: contract.Superseded, Detail: "by a later command"})
	case old.order.deadline.Monotonic >= t.order.deadline.Monotonic:
		old.with = append(old.with, t)
	default:
		t.with, t.ready = append(old.with, old), old.ready
		old.with = nil
		d.waiting = t
	}
}

// settleAll adds the result to the order of t and of those with it; mu is held.
func (c *Controller) settleAll(t *task, r contract.Result) {
	c.settle(t.order, r)
	for _, w := range t.with {
		c.settle(w.order, r)
	}
}

// lead is the task that waits at the desk, if it is t or has t with it.
func (d *desk) lead(t *task) *task {
	if d == nil || d.waiting == nil || d.waiting != t && !slices.Contains(d.waiting.with, t) {
		return nil
	}
	return d.waiting
}

// leave empties the place of the one that waits; mu is held.
func (c *Controller) leave(d *desk, id device.ID) {
	d.waiting = nil
	if !d.busy {
		delete(c.desks, id)
	}
}

// waits reports whether t has not begun and was not settled.
func (c *Controller) waits(t *task) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.desks[t.device].lead(t) != nil
}

// run carries out t, whose turn has come, and then what became ready at the same
// plug meanwhile. Where t can't begin, others see to it: who has the plug now, or
// whoever settled t.
func (c *Controller) run(t *task) {
	select {
	case c.slots <- struct{}{}:
	case <-t.order.ctx.Done():
		return // attend settles it
	}
	defer func() { <-c.slots }()
	for t != nil {
		lead, s := c.begin(t)
		if lead == nil {
			return
		}
		var r contract.Result
		if s != nil {
			r = c.carryOut(lead, s)
		}
		t = c.end(lead, s != nil, r)
	}
}

// begin takes the plug for t, or for the task that t is with. There is no lead
// where t does not wait any more or the plug is taken; s is nil where it was
// settled without a switch.
func (c *Controller) begin(t *task) (lead *task, s Switcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.desks[t.device]
	lead = d.lead(t)
	if lead == nil || lead.order.ctx.Err() != nil { // in the last case attend settles it
		return nil, nil
	}
	if d.busy {
		lead.ready = true
		return nil, nil
	}
	d.busy, d.waiting = true, nil
	if v := c.judge(lead.order, t.device); v.Outcome != "" {
		c.settleAll(lead, contract.Result{Device: t.device, Outcome: v.Outcome, Detail: v.detail})
		return lead, nil
	}
	return lead, c.targets[t.device].Switcher
}

// end gives the plug back and returns the task that is ready for it, if any.
func (c *Controller) end(t *task, switched bool, r contract.Result) (next *task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if switched {
		c.settleAll(t, r)
	}
	d := c.desks[t.device]
	d.busy = false
	if d.waiting == nil {
		delete(c.desks, t.device)
	} else if d.waiting.ready {
		return d.waiting
	}
	return nil
}

// carryOut switches. The deadline ends it: a plug that was busy until then must
// not switch late.
func (c *Controller) carryOut(t *task, s Switcher) contract.Result {
	begun := time.Now()
	on, err := c.flip(t, s)
	c.count.took.Observe(time.Since(begun).Seconds())
	r := contract.Result{Device: t.device, Outcome: contract.Confirmed, On: &on}
	switch {
	case err == nil && on == t.on:
	case err == nil:
		r.Outcome, r.Detail = contract.Mismatch, "the relay shows another state than was asked"
	case t.order.ctx.Err() != nil:
		// It ran out inside the driver, before the plug was asked or after.
		r = contract.Result{Device: t.device, Outcome: contract.Unknown, Detail: "given up at the deadline or the gateway's end, it may have happened: " + err.Error()}
	default:
		r = contract.Result{Device: t.device, Outcome: contract.Unreachable, Detail: "plug: " + reason(err) + err.Error()}
	}
	return r
}

// flip is s.Switch; a panic in a driver is an error of that plug.
func (c *Controller) flip(t *task, s Switcher) (on bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("driver panicked: %v", v)
			c.log.Error("driver panicked", slog.String("device", t.device.String()), slog.String("err", fmt.Sprintf("%v\n%s", v, debug.Stack())))
		}
	}()
	return s.Switch(t.order.ctx, t.on)
}

// reason is the word that a driver's error has for itself, with a colon.
func reason(err error) string {
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return r.Reason() + ": "
	}
	return ""
}
