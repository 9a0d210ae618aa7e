package ledgerquery

import (
	"context"
	"fmt"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	watchEvery  = time.Minute
	watchLimit  = 30 * time.Second // for one look
	watchShare  = 20               // a look takes at most this part of the time
	maxGateways = 1000
	maxSources  = 1000
	maxReplays  = 100_000
)

// gauges show what the ledger and the quarantine say, for alerts.
type gauges struct {
	missing, waiting, dropped, complete *metrics.GaugeVec
	quarantined                         *metrics.GaugeVec
	checked                             *metrics.Gauge
}

func newGauges(m *metrics.Registry) gauges {
	return gauges{
		missing:     m.GaugeVec("wattline_ledger_missing_batches", "Batches that are neither stored, waiting nor dropped.", maxGateways, "gateway"),
		waiting:     m.GaugeVec("wattline_ledger_waiting_batches", "Batches that the gateway may still have.", maxGateways, "gateway"),
		dropped:     m.GaugeVec("wattline_ledger_dropped_batches", "Batches that the gateway dropped for want of room.", maxGateways, "gateway"),
		complete:    m.GaugeVec("wattline_ledger_complete_state", "1 when nothing is missing and nothing unknown, else 0.", maxGateways, "gateway"),
		quarantined: m.GaugeVec("wattline_quarantine_open_batches", "Refused batches that were not handed in again since.", maxSources, "source"),
		checked:     m.Gauge("wattline_ledger_checked_seconds", "POSIX time of the last look that these gauges come from."),
	}
}

// watch keeps the gauges fresh until ctx ends. A ledger that takes long to read
// is read less often.
func (c *Component) watch(ctx context.Context) {
	sources := make(map[string]bool)
	for ctx.Err() == nil {
		begin := time.Now()
		c.look(ctx, sources)
		timer := time.NewTimer(max(watchEvery, watchShare*time.Since(begin)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look brings the gauges up to date; sources are those whose quarantine was
// shown before. What fails is asked again at the next look; the log has it.
func (c *Component) look(ctx context.Context, sources map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	if c.lookAtLedger(ctx) == nil && c.lookAtQuarantine(ctx, sources) == nil {
		c.gauges.checked.Set(float64(c.options.Now().UnixMicro()) / 1e6)
	}
}

func (c *Component) lookAtLedger(ctx context.Context) error {
	var proofs []struct {
		Gateway  string `json:"gateway"`
		Complete bool   `json:"complete"`
		Missing  uint64 `json:"missing"`
		Waiting  uint64 `json:"waiting"`
		Dropped  uint64 `json:"dropped"`
	}
	if err := c.ledger(ctx, "", 0, 0, &proofs); err != nil {
		return err
	}
	for _, p := range proofs {
		c.gauges.missing.With(p.Gateway).Set(float64(p.Missing))
		c.gauges.waiting.With(p.Gateway).Set(float64(p.Waiting))
		c.gauges.dropped.With(p.Gateway).Set(float64(p.Dropped))
		complete := 0.0
		if p.Complete {
			complete = 1
		}
		c.gauges.complete.With(p.Gateway).Set(complete)
	}
	return nil
}

// lookAtQuarantine counts the refusals that no replay followed. Its memory is
// the newest replays, however many refusals there are.
func (c *Component) lookAtQuarantine(ctx context.Context, sources map[string]bool) error {
	type key struct{ source, digest string }
	answered := make(map[key]device.Micros)
	q := fmt.Sprintf(`SELECT "digest", "topic" FROM %q ORDER BY time DESC LIMIT %d`, replayed, maxReplays)
	err := c.query(ctx, q, func(r row) error {
		k := key{sourceOf(r.text("topic")), r.text("digest")}
		answered[k] = max(answered[k], r.time())
		return nil
	})
	if err != nil {
		return err
	}
	open := make(map[string]int)
	q = fmt.Sprintf(`SELECT "digest", "topic" FROM %q WHERE "piece" = '0'`, quarantined)
	err = c.query(ctx, q, func(r row) error {
		source := sourceOf(r.text("topic"))
		if answered[key{source, r.text("digest")}] >= r.time() {
			return nil
		}
		if _, known := open[source]; !known && len(open) >= maxSources {
			source = metrics.Other
		}
		open[source]++
		return nil
	})
	if err != nil {
		return err
	}
	for source := range sources {
		if open[source] == 0 {
			c.gauges.quarantined.With(source).Set(0)
			delete(sources, source)
		}
	}
	for source, n := range open {
		c.gauges.quarantined.With(source).Set(float64(n))
		sources[source] = true
	}
	return nil
}

func sourceOf(topic string) string {
	data, err := bus.ParseData(topic)
	if err != nil {
		return ""
	}
	return data.Source
}
