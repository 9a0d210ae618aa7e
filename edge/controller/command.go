package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// errStopping ends what is under way when the gateway stops.
var errStopping = errors.New("the gateway is stopping")

// verdict is an outcome and why; none where Outcome is empty.
type verdict struct {
	contract.Outcome

	detail string
}

// Command carries out cmd and calls answer with the results, in as many parts as
// they come, from one goroutine at a time. It only takes the command on and
// returns; ctx lasts as long as the gateway, and what is unfinished when it ends
// is answered unreachable.
//
// Of two commands for one device that which was handed over later counts as the
// newer; while the older waits and asks for the same, both get the result of one
// switch. A command with the id of an earlier one is not carried out: it gets the
// answer of that one, up to the deadline. A device that is named twice is
// switched as its last mention says.
func (c *Controller) Command(ctx context.Context, cmd contract.GatewayCommand, answer func(contract.Results)) {
	c.count.commands.Inc()
	o := newOrder(cmd)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // nobody waits for what would be started here; the asker will call it unknown
	}
	if len(o.switches) == 0 {
		c.work.Go(func() { answer(contract.Results{Results: []contract.Result{}}) })
		return
	}
	if known := c.orders[cmd.ID]; known != nil {
		c.count.repeated.Inc()
		c.repeat(known, answer)
		return
	}
	bootID, now := c.o.Boot()
	c.forget(now)
	o.askers = []*asker{{tell: c.account(o)}, {tell: answer}}
	v, remember := c.admit(ctx, cmd, bootID, now)
	if remember {
		c.orders[o.id] = o
		c.results += len(o.wanted)
	}
	if v.Outcome != "" {
		o.cancel = func(error) {}
		for _, s := range o.switches {
			c.settle(o, contract.Result{Device: s.Device, Outcome: v.Outcome, Detail: v.detail})
		}
		return
	}
	c.start(ctx, o, now)
}

// start puts the switches of o to the desks of their plugs; mu is held.
func (c *Controller) start(ctx context.Context, o *order, now float64) {
	ctx, giveUp := context.WithCancelCause(ctx)
	o.ctx, o.release = context.WithTimeout(ctx, seconds(o.deadline.Monotonic-now))
	o.cancel = giveUp
	var staggered []*task
	for _, s := range o.switches {
		if v := c.judge(o, s.Device); v.Outcome != "" {
			c.settle(o, contract.Result{Device: s.Device, Outcome: v.Outcome, Detail: v.detail})
			continue
		}
		t := &task{order: o, device: s.Device, on: s.On}
		c.enqueue(t)
		if s.On {
			staggered = append(staggered, t)
		} else {
			c.work.Go(func() { c.run(t) })
		}
	}
	c.work.Go(func() { c.attend(o, staggered) })
}

// admit decides whether the command as a whole is taken on, and whether its id
// must be remembered: not where it would get the same answer anyway, nor where
// there is no room. mu is held.
func (c *Controller) admit(ctx context.Context, cmd contract.GatewayCommand, bootID string, now float64) (v verdict, remember bool) {
	ahead := cmd.Deadline.Monotonic - now
	switch {
	case cmd.Deadline.BootID != bootID:
		c.count.late.Inc()
		return verdict{contract.Expired, "the gateway has started again since"}, false
	case !(ahead > 0): // not a number, too
		c.count.late.Inc()
		return verdict{contract.Expired, fmt.Sprintf("%.1f s late", -ahead)}, false
	case ctx.Err() != nil:
		return verdict{contract.Unreachable, "gateway: " + errStopping.Error()}, false
	case cmd.ID == "" || len(cmd.ID) > maxText || len(cmd.Who) > maxText || len(cmd.Reason) > maxText:
		return verdict{contract.Unreachable, fmt.Sprintf("gateway: id is missing, or id, who or reason are longer than %d bytes", maxText)}, false
	case len(cmd.Switches) > MaxSwitches:
		return verdict{contract.Unreachable, fmt.Sprintf("gateway: more than %d switches in one command", MaxSwitches)}, false
	case ahead > MaxAhead.Seconds():
		return verdict{contract.Unreachable, fmt.Sprintf("gateway: the deadline is more than %v ahead", MaxAhead)}, false
	case c.underWay() >= MaxUnderWay, len(c.orders) >= maxCommands, c.results+len(cmd.Switches) > maxResults:
		return verdict{contract.Unreachable, "gateway: too many commands at once"}, false
	}
	if cmd.ConfigVersion > c.version {
		return c.stale(cmd.ConfigVersion), true
	}
	return verdict{}, true
}

func (c *Controller) stale(version uint64) verdict {
	return verdict{contract.Stale, fmt.Sprintf("the gateway has configuration %d, the command is of %d", c.version, version)}
}

// judge decides about one device, when a command arrives and again right before
// the switch, by the clock and the configuration of that moment; mu is held.
func (c *Controller) judge(o *order, id device.ID) verdict {
	_, known := c.targets[id]
	switch bootID, now := c.o.Boot(); {
	case o.deadline.BootID != bootID || !(o.deadline.Monotonic > now):
		return verdict{contract.Expired, "its turn came after the deadline"}
	case o.version > c.version:
		return c.stale(o.version)
	case !known:
		return verdict{contract.NoSuchPlace, "not a place of this gateway"}
	case c.protections.Places[id] != "":
		return verdict{contract.Refused, "protected: " + c.protections.Places[id]}
	}
	return verdict{}
}

func (c *Controller) underWay() (n int) {
	for _, o := range c.orders {
		if o.left > 0 {
			n++
		}
	}
	return n
}

// forget drops what is finished and can't come again in time; mu is held.
func (c *Controller) forget(now float64) {
	for id, o := range c.orders {
		if o.left == 0 && o.deadline.Monotonic < now {
			delete(c.orders, id)
			c.results -= len(o.wanted)
		}
	}
}

// seconds is s as a duration; s is at most MaxAhead.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
