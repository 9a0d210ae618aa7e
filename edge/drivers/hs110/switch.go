package hs110

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wattline/wattline/edge/drivers"
	"github.com/wattline/wattline/shared/hs110"
)

// Switch sets the relay when its turn comes, which is before any poll, and reads
// back what the plug then shows. That may differ from on: the caller compares.
//
// An error after which the plug may or may not have switched is told apart from
// one by reading back: only where that fails too is it returned. Which other
// errors there are, [Plug.Poll] says.
func (p *Plug) Switch(ctx context.Context, on bool) (readBack bool, err error) {
	if err := p.queue.Acquire(ctx, drivers.Command); err != nil {
		return false, fmt.Errorf("switch %s: %w", p.id, err)
	}
	defer p.queue.Release()
	c, _ := p.asked()
	if err := p.switchable(ctx, c); err != nil {
		return false, err
	}
	setErr := c.SetRelay(ctx, on)
	if setErr != nil && !undecided(setErr) {
		return false, setErr
	}
	readBack, err = p.readBack(ctx, c, on)
	switch {
	case err == nil:
		return readBack, nil
	case setErr != nil:
		return false, fmt.Errorf("%w, and then: %w", setErr, err)
	}
	return false, err
}

// switchable makes sure that the right thing would be switched: an address may
// have passed to another plug since the last poll, and a power strip without a
// relay of its own switches all its outlets.
func (p *Plug) switchable(ctx context.Context, c *hs110.Client) error {
	info, err := p.look(ctx, c)
	if err != nil {
		return err
	}
	return hasRelay(c, &info)
}

func hasRelay(c *hs110.Client, i *hs110.Info) error {
	if i.On == nil {
		return &hs110.Error{Op: "relay_state", Address: c.Address(), Class: hs110.ErrRejected, Err: errNoRelay}
	}
	return nil
}

// undecided reports whether the plug may have switched although the answer did
// not arrive.
func undecided(err error) bool {
	e, ok := errors.AsType[*hs110.Error](err)
	return ok && e.Reason() == hs110.ReasonSilent
}

// readBack looks at the relay after a while, and a second time where it does not
// show want yet.
func (p *Plug) readBack(ctx context.Context, c *hs110.Client, want bool) (on bool, err error) {
	const looks = 2
	for range looks {
		if err := p.pause(ctx); err != nil {
			return false, err
		}
		info, err := p.look(ctx, c)
		if err != nil {
			return false, err
		}
		if err := hasRelay(c, &info); err != nil {
			return false, err
		}
		if on = *info.On; on == want {
			break
		}
	}
	return on, nil
}

func (p *Plug) pause(ctx context.Context) error {
	p.mu.Lock()
	d := p.opts.ReadBack
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read back %s: %w", p.id, context.Cause(ctx))
	}
}
