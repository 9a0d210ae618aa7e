package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
)

// each does something with several things, one after the other, and goes on
// after one that fails; the first error gives the exit code.
func (s *session) each(c *changing, ids []string, do func(c *changing, id string) error) error {
	var first error
	failed := 0
	for _, id := range ids {
		own := *c // a revision is that of one
		err := do(&own, id)
		if err == nil {
			continue
		}
		if errors.Is(err, context.Canceled) || len(ids) == 1 {
			return err
		}
		failed++
		if first == nil {
			first = err
		}
		fmt.Fprintf(s.stderr, "%s: %s\n", cleanLine(id), clean(err.Error(), true))
		if stops(err) {
			break
		}
	}
	if first == nil {
		return nil
	}
	return fmt.Errorf("%d of %d were not done: %w", failed, len(ids), first)
}

// stops tells errors that the next request would meet, too.
func stops(err error) bool {
	e, ok := errors.AsType[*exit](err)
	return ok && e.code == exitUsage || codeFor(err) == exitAway || codeFor(err) == exitDenied
}

// question asks a person whether several things are meant: one is named, more
// are counted.
type question struct{ one, more string }

func (q question) about(ids []string) string {
	if len(ids) == 1 {
		return fmt.Sprintf(q.one, ids[0]) + "?"
	}
	return fmt.Sprintf(q.more, len(ids)) + "?"
}

// deleting is the action of a command that deletes some of a list.
func deleting(f *flag.FlagSet, list, what, done string, q question) action {
	c := &changing{}
	c.bind(f)
	yes := f.Bool("yes", false, "do not ask")
	return func(ctx context.Context, s *session, args []string) error {
		if err := some(args, what); err != nil {
			return err
		}
		if err := s.confirm(*yes || c.dry, q.about(args)); err != nil {
			return err
		}
		return s.each(c, args, func(c *changing, id string) error {
			if _, err := s.change(ctx, c, http.MethodDelete, under(list, id), nil); err != nil {
				return err
			}
			c.done(s, done, id)
			return nil
		})
	}
}
