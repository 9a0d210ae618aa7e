package shelly

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wattline/wattline/edge/drivers"
)

// Switch sets the relay when its turn comes, which is before any poll, and reads
// back what the plug then shows. That may differ from on: the caller compares.
//
// After an answer that was lost the relay tells what came of it; only where that
// can't be read either is the error returned.
func (p *Plug) Switch(ctx context.Context, on bool) (readBack bool, err error) {
	if err := p.queue.Acquire(ctx, drivers.Command); err != nil {
		return false, fmt.Errorf("switch %s: %w", p.id, err)
	}
	defer p.queue.Release()
	asked := false
	setErr := p.converse(ctx, func(s *session) error {
		m, err := s.status(ctx, p.opts.MaxPower)
		if err != nil {
			return err
		}
		if m.On == nil {
			return s.fail(methodStatus, drivers.Unsupported, errNoRelay)
		}
		asked = true
		return s.set(ctx, on)
	})
	if setErr != nil && (!asked || !undecided(setErr)) {
		return false, setErr
	}
	readBack, err = p.readBack(ctx, on)
	switch {
	case err == nil:
		return readBack, nil
	case setErr != nil:
		return false, fmt.Errorf("%w, and then: %w", setErr, err)
	}
	return false, err
}

var errNoRelay = errors.New("the switch tells no state")

// undecided reports whether the plug may have switched although its answer did
// not arrive, or was not to be understood.
func undecided(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Reason() == drivers.Silent || e.Reason() == drivers.Garbage)
}

// readBack looks at the relay after a while, and a second time where it does not
// show want yet.
func (p *Plug) readBack(ctx context.Context, want bool) (on bool, err error) {
	const looks = 2
	for range looks {
		if err := p.pause(ctx); err != nil {
			return false, err
		}
		m, err := p.look(ctx)
		if err != nil {
			return false, err
		}
		if m.On == nil {
			return false, &Error{Op: methodStatus, Address: p.address, Err: errNoRelay, reason: drivers.Unsupported}
		}
		if on = *m.On; on == want {
			break
		}
	}
	return on, nil
}

func (p *Plug) pause(ctx context.Context) error {
	t := time.NewTimer(p.opts.ReadBack)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read back %s: %w", p.id, context.Cause(ctx))
	}
}
