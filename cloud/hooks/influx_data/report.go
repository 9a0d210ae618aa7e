package influxdata

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/device"
)

// SourceMeasurement is where the sources are told of, in [SystemDatabase]: a
// point for each source, run of a hook and day, written anew while that day
// lasts, with what was counted since the run began. Tags are source and
// instance, the field name is the source as it is.
const SourceMeasurement = "source"

const (
	// reportEvery is how long a source's record stands at least, reportTick how
	// often is looked for what changed.
	reportEvery = 30 * time.Second
	reportTick  = 2 * time.Second
	lastReport  = 2 * time.Second
	// tallySources is how many sources one run tells apart; the others are one,
	// with a name that no topic can have.
	tallySources = 2000
	day          = device.Micros(24 * time.Hour / time.Microsecond)
)

// tally is what came from a source since the hook's run began.
type tally struct {
	messages, records, quarantined, limited, malformed int64
	entered, numbered                                  int64
	first, heard, failed                               device.Micros
	failure                                            string
	changed                                            bool
	written                                            device.Micros
}

// tallies of all sources. Safe for concurrent use.
type tallies struct {
	mu   sync.Mutex // protects what follows
	of   map[string]*tally
	last device.Micros // newest day that was written
}

// note changes what is counted of a source at a time. failure, unless empty, is
// what went wrong.
func (t *tallies) note(source string, now device.Micros, failure string, change func(*tally)) {
	if source == "" {
		return // nobody's name
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[source]
	if one == nil {
		if len(t.of) >= tallySources {
			source = otherSources
		}
		if one = t.of[source]; one == nil {
			one = &tally{first: now}
			t.of[source] = one
		}
	}
	one.heard = max(one.heard, now)
	one.changed = true
	change(one)
	if failure != "" {
		one.failure, one.failed = clip(failure), now
	}
}

// changed gives what changed of those whose record has stood for long enough,
// and when; it counts as told.
func (t *tallies) changed(now device.Micros, every time.Duration) (at device.Micros, found map[string]tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, now-now%day)
	found = make(map[string]tally)
	for name, one := range t.of {
		stood := now - one.written
		if !one.changed || one.written != 0 && stood >= 0 && stood < device.Micros(every.Microseconds()) {
			continue
		}
		one.changed, one.written = false, now
		found[name] = *one
	}
	return t.last, found
}

// untold marks what could not be written.
func (t *tallies) untold(found map[string]tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range found {
		t.of[name].changed, t.of[name].written = true, 0
	}
}

// reports enters what the sources did, until ctx ends, and once more then.
func (h *Hook) reports(ctx context.Context) {
	ticker := time.NewTicker(reportTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.limits.forget()
			h.Report(ctx, reportEvery)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
			defer cancel()
			h.Report(last, 0)
			return
		}
	}
}

// Report enters what changed of sources whose record is older than every. What
// cannot be written now is written the next time.
func (h *Hook) Report(ctx context.Context, every time.Duration) {
	at, found := h.tallies.changed(h.options.Now(), every)
	if len(found) == 0 {
		return
	}
	var lines []byte
	for _, name := range slices.Sorted(maps.Keys(found)) {
		lines = h.sourceLine(lines, name, found[name], at)
	}
	if err := h.options.Store.Write(ctx, SystemDatabase, lines); err != nil {
		h.tallies.untold(found)
		h.log.DebugContext(ctx, "sources not entered", slog.Any("err", err)) // the store's absence is told elsewhere
	}
}

func (h *Hook) sourceLine(dst []byte, name string, t tally, at device.Micros) []byte {
	return line.Append(dst, SourceMeasurement, []line.Tag{{Key: "instance", Value: h.instance}, {Key: "source", Value: name}}, []line.Field{
		line.String("name", name), line.Int("messages", t.messages), line.Int("records", t.records), line.Int("quarantined", t.quarantined),
		line.Int("limited", t.limited), line.Int("malformed", t.malformed), line.Int("entered", t.entered), line.Int("numbered", t.numbered),
		line.Int("series", int64(h.limits.seriesOf(name))), line.Int("first", int64(t.first)), line.Int("heard", int64(t.heard)),
		line.String("error", t.failure), line.Int("failed", int64(t.failed)),
	}, int64(at))
}
