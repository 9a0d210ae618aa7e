package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"
)

// pauses between the attempts to read a day, so that a run of hours does not end
// with one hiccup of InfluxDB.
var pauses = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}

// patiently repeats what fails because InfluxDB cannot at the moment.
func (r *run) patiently(ctx context.Context, do func() error) error {
	for _, pause := range pauses {
		err := do()
		later, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
			NeedsOperator() bool
		}](err)
		if !ok || later.NeedsOperator() {
			return err
		}
		r.Log.WarnContext(ctx, "InfluxDB cannot be read at the moment", slog.Any("err", err))
		timer := time.NewTimer(max(pause, later.RetryAfter()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
	return do()
}

// unlessMissing takes a database that is not there for an empty one.
func unlessMissing(err error) error {
	missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err)
	if ok && missing.DatabaseMissing() {
		return nil
	}
	return err
}

func inWords(where string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk with %s is full, where a file grows before it goes into the store; make room: %w", where, err)
	}
	return err
}
