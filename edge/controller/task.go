package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
}

// desk is where the switches of one plug meet: one is carried out, one waits. It
// exists as long as there is one.
type desk struct {
	busy    bool
	waiting *task
}

// enqueue makes t the one that waits, and overtakes who did; mu is held.
func (c *Controller) enqueue(t *task) {
	d := c.desks[t.device]
	if d == nil {
		d = &desk{}
		c.desks[t.device] = d
	}
	old := d.waiting
	d.waiting = t
	if old != nil {
		c.settle(old.order, contract.Result{
			Device: t.device, Outcome: contract.Superseded, Detail: "by a later command",
		})
	}
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
	d := c.desks[t.device]
	return d != nil && d.waiting == t
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
		s, begun := c.begin(t)
		if !begun {
			return
		}
		var r contract.Result
		if s != nil {
			r = c.carryOut(t, s)
		}
		t = c.end(t, s != nil, r)
	}
}

// begin takes the plug for t. Begun is false where t does not wait any more or
// the plug is taken; s is nil where t was settled without a switch.
func (c *Controller) begin(t *task) (s Switcher, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.desks[t.device]
	if d == nil || d.waiting != t || t.order.ctx.Err() != nil { // in the last case attend settles it
		return nil, false
	}
	if d.busy {
		t.ready = true
		return nil, false
	}
	d.busy, d.waiting = true, nil
	if v := c.judge(t.order, t.device); v.Outcome != "" {
		c.settle(t.order, contract.Result{Device: t.device, Outcome: v.Outcome, Detail: v.detail})
		return nil, true
	}
	return c.targets[t.device].Switcher, true
}

// end gives the plug back and returns the task that is ready for it, if any.
func (c *Controller) end(t *task, switched bool, r contract.Result) (next *task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if switched {
		c.settle(t.order, r)
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
