package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// leave is how long the parts may take to finish what they have begun.
const leave = 10 * time.Second

// part is something that runs until its context ends.
type part struct {
	name string
	run  func(ctx context.Context) error
}

// runStages runs all parts at once. When ctx ends or a part fails, the stages
// end one after the other, the last first.
func runStages(ctx context.Context, stages [][]part, log *slog.Logger) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	type running struct {
		group errgroup.Group
		stop  context.CancelFunc
	}
	groups := make([]*running, len(stages))
	for i, stage := range stages {
		life, stop := context.WithCancel(context.WithoutCancel(ctx))
		groups[i] = &running{stop: stop}
		for _, p := range stage {
			groups[i].group.Go(func() error {
				err := p.run(life)
				if err != nil {
					err = fmt.Errorf("%s: %w", p.name, err)
				}
				fail(err)
				return err
			})
		}
	}
	<-failed.Done()
	var err error
	for _, g := range slices.Backward(groups) {
		g.stop()
		err = errors.Join(err, wait(&g.group))
	}
	log.InfoContext(ctx, "cloud stopped")
	return err
}

// wait gives a stage its time; a part that never ends must not keep the others.
func wait(g *errgroup.Group) error {
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(leave):
		return fmt.Errorf("some parts did not end within %v", leave)
	}
}
