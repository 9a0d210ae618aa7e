package influxdata

import (
	"fmt"
	"log/slog"

	"github.com/wattline/wattline/shared/bus"
)

// limited is the error of a message that is not taken now: nothing is said to
// its source, which keeps it if it waits for receipts.
type limited struct{ by, text string }

func (e *limited) Error() string { return e.text }

// notNow says what is beyond a limit and what to do.
func (h *Hook) notNow(by string) *limited {
	l := h.limits.Limits
	var text string
	switch by {
	case byRate:
		text = fmt.Sprintf("more than %d records/s: send less, or raise influx_data.limits.records_per_second", l.RecordsPerSecond)
	case bySources:
		text = fmt.Sprintf("no room for another source beside %d: find the agent that invents names, or raise influx_data.limits.sources", l.Sources)
	case byQuarantine:
		text = fmt.Sprintf("more than %d bytes/h for the quarantine: mend the source, or raise influx_data.limits.quarantine_bytes_per_hour", l.QuarantineBytesPerHour)
	default:
		text = "more waits to be stored than one source may have waiting: ask for receipts, and send again what has none"
	}
	return &limited{by, text}
}

// shed counts a message that is not taken now, and logs once per source and
// minute.
func (h *Hook) shed(source string, why *limited) {
	h.options.Limited.With(why.by).Inc()
	h.tallies.note(source, h.options.Now(), why.text, func(t *tally) {
		t.messages++
		t.limited++
	})
	if h.mayLog("limited " + source) {
		h.log.Warn("source limited: without receipts its data is lost", slog.String("source", clip(source)), slog.Any("err", why))
	}
}

// accept holds a message to the limits of its source: nil when it may be stored
// or, refused, go into the quarantine. Beyond the series it is refused here.
func (h *Hook) accept(m *message) *limited {
	cost := m.records
	if m.fate == quarantined {
		cost = costRefused
	}
	if !m.numbered() && !h.limits.charge(m.topic.Source, cost) {
		return h.notNow(byRate)
	}
	if m.fate == stored {
		if err := h.limits.keep(m); err != nil {
			m.fate, m.reason, m.lines = quarantined, err.Error(), nil
		}
	}
	m.fresh = nil
	return nil
}

// told notes what became of a message that was read.
func (h *Hook) told(m *message) {
	h.tallies.note(m.topic.Source, h.options.Now(), m.reason, func(t *tally) {
		t.messages++
		switch m.fate {
		case stored, expired:
			t.records += int64(m.records)
		case quarantined:
			t.quarantined++
		case unsaid:
			if m.limited {
				t.limited++
			}
			return
		}
		if m.envelope.ResponseTopic != "" && m.envelope.ID != "" {
			t.entered++
		}
		if m.numbered() {
			t.numbered++
		}
	})
}

// unread notes a message that could not be read, and makes its source pay for it.
func (h *Hook) unread(m *message, cause error) *limited {
	source := ""
	if m != nil {
		source = m.topic.Source
	}
	if !h.limits.charge(source, costRefused) {
		return h.notNow(byRate)
	}
	h.tallies.note(source, h.options.Now(), cause.Error(), func(t *tally) {
		t.messages++
		t.malformed++
	})
	return nil
}

// senderIn is the source in a message's topic.
func senderIn(m bus.Message) string {
	source, _ := senderOf(m.Topic)
	return source
}
