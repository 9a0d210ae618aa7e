package influxdata

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// Store is where points go. An error whose Refused() is true says that the
// lines themselves will never be taken, BeyondRetention() that they are too old
// to be kept; any other error means "not now".
type Store interface {
	Write(ctx context.Context, database string, lines []byte) error
}

// Ledger takes entries for what is stored.
type Ledger interface {
	Enter(ctx context.Context, entries []contract.Entry) error
}

// store writes the messages, then the ledger. It returns only when that is
// done, or ctx has ended; what of it failed for good is marked unsaid.
func (h *Hook) store(ctx context.Context, messages []*message) error {
	groups := byDatabase(messages)
	for _, database := range slices.Sorted(maps.Keys(groups)) {
		if err := h.writeGroup(ctx, database, groups[database]); err != nil {
			return err
		}
	}
	if err := h.quarantine(ctx, messages); err != nil {
		return err
	}
	toEnter := make([]*message, 0, len(messages))
	for _, m := range messages {
		if m.envelope.ResponseTopic != "" && m.envelope.ID != "" && m.fate != unsaid {
			toEnter = append(toEnter, m)
		}
	}
	if err := h.enter(ctx, toEnter); err != nil {
		return err
	}
	for _, m := range messages {
		h.told(m)
	}
	return nil
}

// enter writes the ledger; when it refuses entries, one by one, so that one
// does no harm to the others.
func (h *Hook) enter(ctx context.Context, messages []*message) error {
	if len(messages) == 0 {
		return nil
	}
	entries := make([]contract.Entry, len(messages))
	for i, m := range messages {
		entries[i] = m.entry()
	}
	err := h.untilDone(ctx, "ledger", func(ctx context.Context) error { return h.options.Ledger.Enter(ctx, entries) })
	switch {
	case err == nil || ctx.Err() != nil || !refused(err):
		return err
	case len(messages) > 1:
		for _, m := range messages {
			if err := h.enter(ctx, []*message{m}); err != nil {
				return err
			}
		}
	default:
		h.unsaid(ctx, messages[0], "entry refused: its source keeps the batch", err)
	}
	return nil
}

// unsaid gives a message up: its source hears nothing, and keeps it.
func (h *Hook) unsaid(ctx context.Context, m *message, what string, err error) {
	m.fate = unsaid
	h.options.Unsaid.Inc()
	h.log.ErrorContext(ctx, what, slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.Any("err", err)) //nolint:sloglint // one of three constants
}

func byDatabase(messages []*message) map[string][]*message {
	groups := make(map[string][]*message)
	for _, m := range messages {
		if m.fate == stored && len(m.lines) > 0 {
			groups[m.database] = append(groups[m.database], m)
		}
	}
	return groups
}

// writeGroup writes the lines of many messages at once; when their content is
// refused, one by one, to find the ones to blame. What was stored of them
// before is stored again, the same.
func (h *Hook) writeGroup(ctx context.Context, database string, group []*message) error {
	var lines []byte
	if len(group) == 1 {
		lines = group[0].lines
	} else {
		n := 0
		for _, m := range group {
			n += len(m.lines)
		}
		lines = make([]byte, 0, n)
		for _, m := range group {
			lines = append(lines, m.lines...)
		}
	}
	for _, target := range append([]string{database}, h.options.Copies[database]...) {
		err := h.untilDone(ctx, "influxdb", func(ctx context.Context) error { return h.options.Store.Write(ctx, target, lines) })
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !refused(err) {
			return err
		}
		if len(group) > 1 {
			return h.writeEach(ctx, database, group)
		}
		if !beyondRetention(err) {
			group[0].fate, group[0].reason = quarantined, err.Error()
			return nil
		}
		group[0].fate = expired // here; a copy may keep longer
	}
	for _, m := range group {
		h.options.Points.Add(float64(m.records))
	}
	return nil
}

func (h *Hook) writeEach(ctx context.Context, database string, group []*message) error {
	for _, m := range group {
		if err := h.writeGroup(ctx, database, []*message{m}); err != nil {
			return err
		}
	}
	return nil
}

func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

func beyondRetention(err error) bool {
	r, ok := errors.AsType[interface {
		error
		BeyondRetention() bool
	}](err)
	return ok && r.BeyondRetention()
}

// untilDone repeats what is refused for the moment, until it is done, refused
// for good, or ctx ends. Meanwhile the queue fills and the sources keep their
// readings: that is the back pressure.
func (h *Hook) untilDone(ctx context.Context, what string, try func(context.Context) error) error {
	for wait := retryLeast; ; wait = min(2*wait, retryMost) {
		err := try(ctx)
		if err == nil || refused(err) {
			h.answering(ctx, what, nil)
			return err
		}
		h.options.NotNow.Inc()
		h.answering(ctx, what, err)
		pause := wait
		if r, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](err); ok {
			pause = min(max(pause, r.RetryAfter()), 30*time.Second)
		}
		if err := h.options.Pause(ctx, pause); err != nil {
			return err
		}
	}
}

// answering logs once when something stops to answer, and once when it is back.
func (h *Hook) answering(ctx context.Context, what string, err error) {
	h.mu.Lock()
	was := h.away[what]
	h.away[what] = err != nil
	h.mu.Unlock()
	switch {
	case err != nil && !was:
		level := slog.LevelWarn
		if needsOperator(err) {
			level = slog.LevelError
		}
		h.log.Log(ctx, level, "store away: sources keep their readings", slog.String("component", what), slog.Any("err", err))
	case err == nil && was:
		h.log.InfoContext(ctx, "store back", slog.String("component", what))
	}
}

// needsOperator tells that waiting alone will hardly help: credentials, rights,
// a full disk.
func needsOperator(err error) bool {
	o, ok := errors.AsType[interface {
		error
		NeedsOperator() bool
	}](err)
	return ok && o.NeedsOperator()
}
