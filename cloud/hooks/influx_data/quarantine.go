package influxdata

import (
	"context"
	"encoding/base64"
	"log/slog"
	"slices"
	"strconv"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/device"
)

// quarantinePiece is how much of a payload one point carries, before base64.
const quarantinePiece = 48 << 10

// quarantineSources is how many sources get a tag of their own in one run. The
// tag of the others is no level of a topic that anybody could publish to.
const (
	quarantineSources = 200
	otherSources      = "+"
)

// quarantine writes refused messages, whole, with the reason.
func (h *Hook) quarantine(ctx context.Context, messages []*message) error {
	for _, m := range messages {
		if m.fate != quarantined {
			continue
		}
		if !h.limits.mayQuarantine(m) {
			why := h.notNow(byQuarantine)
			m.fate, m.reason, m.limited = unsaid, why.text, true
			h.options.Limited.With(why.by).Inc()
			if h.mayLog("limited " + m.topic.Source) {
				h.log.WarnContext(ctx, "batch neither stored nor quarantined: its source keeps it", slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.Any("err", why))
			}
			continue
		}
		lines := h.quarantineLines(m, h.tick())
		err := h.untilDone(ctx, "quarantine", func(ctx context.Context) error { return h.options.Store.Write(ctx, SystemDatabase, lines) })
		switch {
		case err == nil:
			h.options.Quarantined.Inc()
			h.log.WarnContext(ctx, "batch quarantined", slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.String("err", m.reason))
		case ctx.Err() != nil || !refused(err):
			return err
		default:
			h.unsaid(ctx, m, "quarantine refused: its source keeps the batch", err)
		}
	}
	return nil
}

// quarantineLines are the points of a refused message, one for each piece. Their
// identity is the run of this hook, the source, the piece and a time that no
// other refusal of this run has. The digest is a field: as a tag it would make
// series without bound.
func (h *Hook) quarantineLines(m *message, at device.Micros) (lines []byte) {
	digest := m.digest.String()
	source, sender := h.quarantineTag(m.topic.Source)
	pieces := slices.Collect(slices.Chunk(m.payload, quarantinePiece))
	for i, piece := range pieces {
		lines = line.Append(lines, "quarantine",
			[]line.Tag{{Key: "instance", Value: h.instance}, {Key: "piece", Value: strconv.Itoa(i)}, {Key: "source", Value: source}},
			[]line.Field{
				line.String("sender", sender), line.String("digest", digest), line.String("topic", m.on), line.String("batch", m.envelope.ID), line.String("reason", clip(m.reason)),
				line.Int("pieces", int64(len(pieces))), line.Int("bytes", int64(len(m.payload))), line.String("payload", base64.StdEncoding.EncodeToString(piece)),
			}, int64(at))
	}
	return lines
}

// quarantineTag is the tag of a source and, for one beyond those that get a tag
// of their own, its name for a field: anybody on the bus may invent sources, and
// each tag makes series that stay.
func (h *Hook) quarantineTag(name string) (tag, sender string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.tagged[name] {
		if len(h.tagged) >= quarantineSources {
			return otherSources, name
		}
		h.tagged[name] = true
	}
	return name, ""
}

// tick is max(wall clock, last + 1 us).
func (h *Hook) tick() device.Micros {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.options.Now(), h.last+1)
	return h.last
}
