package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	// Probation is the default of [Options.Probation]. Discovery follows plugs
	// within a minute.
	Probation = 3 * time.Minute
	// longestProbation bounds it where plugs are polled rarely.
	longestProbation = time.Hour
	// tries is how often a plug is polled before it is judged.
	tries = 4
	// maxStarts is how often the gateway may start while a configuration is on
	// trial: one that makes it crash is gone back from.
	maxStarts = 3
)

// trial is a configuration that reaches plugs otherwise than the one before did,
// and has to prove itself:
//
//	settled --other addresses--> tried --half of the plugs answer--> settled
//	                               |
//	                       time is up, fewer do
//	                               v
//	settled <--half answer------ back --time is up, no more than before--> settled, with the new
//
// Where neither reaches the plugs, the cause is elsewhere, and what the cloud
// says last holds.
type trial struct {
	Good contract.GatewayConfig `json:"good"` // the one before
	// Judges are the plugs that were not offline before and are reached otherwise.
	Judges []device.ID `json:"judges"`
	// Learned is what was known of the plugs under the one before.
	Learned map[device.ID]learned `json:"learned,omitempty"`
	Starts  int                   `json:"starts,omitempty"` // of the gateway meanwhile
	// Back is set when the one before is in force again, and Well is how many of
	// the judges answered under the new one.
	Back bool `json:"back,omitempty"`
	Well int  `json:"well,omitempty"`

	since, until time.Time
}

// take applies a configuration that the cloud gave.
func (f *floor) take(ctx context.Context, c contract.GatewayConfig) {
	f.mu.Lock()
	worse := f.worse != nil && reflect.DeepEqual(*f.worse, c)
	known := c.Version == f.config.Version
	if known && f.worse == nil && f.refused != nil {
		f.refused, f.unsaved = nil, true // the mistaken one was taken back
	}
	f.mu.Unlock()
	if known || worse {
		return
	}
	next := f.trialOf(c)
	if err := f.attempt(c); err != nil {
		f.gateway.log.ErrorContext(ctx, "configuration can't be applied: back to the last one", slog.Uint64("version", c.Version), slog.Any("err", err))
		f.mu.Lock()
		good := f.config
		f.refused, f.worse, f.unsaved = &contract.ConfigRefused{Version: c.Version, Reason: clip(err.Error())}, &c, true
		f.mu.Unlock()
		f.apply(good)
		return
	}
	f.mu.Lock()
	f.trial, f.refused, f.worse, f.unsaved = next, nil, nil, true
	f.mu.Unlock()
	f.gateway.log.InfoContext(ctx, "configuration applied", slog.Uint64("version", c.Version), slog.Int("plugs", len(c.Plugs)))
}

// attempt applies a configuration; a panic on the way is an error.
func (f *floor) attempt(c contract.GatewayConfig) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			f.gateway.log.Error("applying a configuration panicked", slog.String("err", fmt.Sprintf("%v\n%s", v, debug.Stack())))
		}
	}()
	f.apply(c)
	return nil
}

// trialOf is the trial that a configuration needs, nil for none: where it reaches
// no plug otherwise there is nothing to prove.
func (f *floor) trialOf(c contract.GatewayConfig) *trial {
	offline := map[device.ID]bool{}
	for _, v := range f.gateway.collector.Plugs() {
		offline[v.Device] = v.Offline
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	good, before, was := f.config, maps.Clone(f.learned), f.used
	var judges []device.ID
	if t := f.trial; t != nil && !t.Back { // the one on trial has proved nothing
		good, before = t.Good, t.Learned
		judges = t.Judges
		was = nil
	}
	if good.Version == 0 {
		return nil
	}
	t := &trial{Good: good, Learned: before}
	changed := map[device.ID]bool{}
	for _, id := range judges {
		changed[id] = true
	}
	slowest := 0.0
	for _, p := range c.Plugs {
		old, had := was[p.Device]
		if changed[p.Device] || had && !offline[p.Device] && !sameHardware(old, f.reached(p)) {
			t.Judges = append(t.Judges, p.Device)
			slowest = max(slowest, p.PollSeconds, c.PollSeconds)
		}
	}
	if len(t.Judges) == 0 {
		return nil
	}
	t.begin(f.gateway.probation, slowest)
	return t
}

// begin sets the time that it has.
func (t *trial) begin(probation time.Duration, pollSeconds float64) {
	polls := time.Duration(tries * pollSeconds * float64(time.Second))
	t.since = time.Now()
	t.until = t.since.Add(max(probation, min(polls, longestProbation)))
}

// well is how many of the judges have answered since the trial began.
func (f *floor) well(t *trial, views map[device.ID]collector.PlugView) (n int) {
	since := date(f.gateway.clock, t.since)
	for _, id := range t.Judges {
		if v := views[id]; v.Last != nil && *v.Last >= since && v.Failures == 0 {
			n++
		}
	}
	return n
}

// judge ends a trial when it can be.
func (f *floor) judge(ctx context.Context, views map[device.ID]collector.PlugView) {
	f.mu.Lock()
	t, c := f.trial, f.config
	f.mu.Unlock()
	if t == nil {
		return
	}
	log := f.gateway.log
	well := f.well(t, views)
	switch over := !time.Now().Before(t.until); {
	case 2*well >= len(t.Judges):
		log.InfoContext(ctx, "configuration has proved itself", slog.Uint64("version", c.Version), slog.Int("plugs", well))
		f.end()
	case !over:
	case t.Back && well <= t.Well:
		worse := f.stay()
		log.WarnContext(ctx, "the configuration before reaches no more plugs either: the newest holds again", slog.Uint64("version", worse))
	case t.Back:
		f.end()
	default:
		f.back(ctx, well, fmt.Errorf("of %d plugs that it reaches otherwise than version %d did, and that were not offline, %d answered within %v",
			len(t.Judges), t.Good.Version, well, t.until.Sub(t.since).Round(time.Second)))
	}
}

// end lets what is in force stay.
func (f *floor) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trial, f.unsaved = nil, true
}

// back puts the configuration before in force again. What is protected by either
// stays so: the controller only adds to what the newest version said.
func (f *floor) back(ctx context.Context, well int, reason error) {
	f.mu.Lock()
	t, bad := f.trial, f.config
	f.learned = t.Learned
	if f.learned == nil {
		f.learned = map[device.ID]learned{}
	}
	f.set(t.Good)
	f.refused = &contract.ConfigRefused{Version: bad.Version, Reason: "gone back from: " + reason.Error()}
	f.worse, f.unsaved = &bad, true
	t.Back, t.Well, t.Starts = true, well, 0
	t.begin(f.gateway.probation, t.Good.PollSeconds)
	f.mu.Unlock()
	f.gateway.log.ErrorContext(ctx, "configuration gone back from: the one before holds", slog.Uint64("version", bad.Version),
		slog.Uint64("good", t.Good.Version), slog.Any("err", reason))
}

// stay puts the newer one in force for good.
func (f *floor) stay() (version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(*f.worse)
	f.trial, f.refused, f.worse, f.unsaved = nil, nil, nil, true
	return f.config.Version
}

// resume goes on with what was kept. A trial begins anew, as often as a gateway
// that does not crash would start.
func (f *floor) resume(ctx context.Context, k kept) {
	f.apply(k.Config)
	f.safe = k.Config.Version
	t := k.Trial
	if t == nil || t.Back && k.Worse == nil {
		return
	}
	f.trial, f.unsaved = t, true
	t.Starts++
	t.begin(f.gateway.probation, k.Config.PollSeconds)
	if t.Starts > maxStarts && !t.Back {
		f.back(ctx, 0, fmt.Errorf("the gateway was started %d times while it was tried", t.Starts))
	}
	f.settle(ctx)
}
