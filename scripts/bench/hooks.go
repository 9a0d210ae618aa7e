package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/shared/device"
)

// measureHooks compares two clouds on one InfluxDB, in turns: one with the
// storing hook only, one with everything: republish, with Home Assistant's
// discovery, live, with somebody who follows it, and a foreign hook.
//
// The hooks run in the process of the storing hook and compute for themselves. So
// on a machine whose processors are all busy, as while a backlog drains, they take
// from it what they need, as any other program would; whether they hold it up is
// seen where there is processor time left, at a steady rate.
func measureHooks(ctx context.Context, b *bench) error {
	server, err := b.startInflux(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	h := &hooked{bench: b, influx: server, now: device.MicrosOf(time.Now())}
	if h.alone, err = h.cloud(ctx, "alone", "", "-roles", "broker,registry,hooks"); err != nil {
		return err
	}
	defer h.alone.stop()
	h.full, err = h.cloud(ctx, "full", "republish: {enabled: true, home_assistant: {enabled: true}}\n")
	if err != nil {
		return err
	}
	defer h.full.stop()
	listeners, err := h.listen(ctx)
	if err != nil {
		return err
	}
	defer listeners.close()
	if err := h.drains(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	for _, perSecond := range []int{1000, 10_000} {
		if err := h.steady(ctx, perSecond); err != nil {
			return fmt.Errorf("%d readings/s: %w; the clouds said %s, %s", perSecond, err, h.alone.tail(), h.full.tail())
		}
	}
	if err := h.agent(ctx); err != nil {
		return fmt.Errorf("an agent's backlog: %w", err)
	}
	if err := h.flood(ctx, listeners); err != nil {
		return fmt.Errorf("flood of states: %w", err)
	}
	return listeners.err()
}

// hooked are the two clouds.
type hooked struct {
	*bench

	influx      *influxd.Server
	alone, full *central
	now         device.Micros
	rounds      int     // of readings made so far, so that each has times of its own
	ingest      float64 // points/s of the storing hook, everything subscribed
}

const hooksPassword = "of the bench"

// cloud starts one on a directory of its own, with an inventory of a hundred
// floors of a hundred plugs; one with all roles can be profiled.
func (h *hooked) cloud(ctx context.Context, name, more string, roles ...string) (*central, error) {
	c := &central{}
	var err error
	for _, address := range []*string{&c.http, &c.mqtt} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(h.dir, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the cloud's directory: %w", err)
	}
	list, conf := filepath.Join(h.dir, name+"-inventory.yaml"), filepath.Join(h.dir, name+".yaml")
	text := fmt.Sprintf("data: %s\nbroker: {listen: %q, password: %q}\nhttp: {listen: %q}\nregistry: {inventory: %s}\ninflux: {url: %q, token: %q}\n",
		dir, c.mqtt, hooksPassword, c.http, list, h.influx.URL(), h.influx.Token())
	for path, text := range map[string]string{list: building(time.Hour), conf: text + more} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the cloud's configuration: %w", err)
		}
	}
	if len(roles) == 0 {
		c.process, err = h.startProgram(name, "wattline-cloud", conf)
	} else {
		c.process, err = h.start(name, append([]string{filepath.Join(h.bin, "wattline-cloud"), "-config", conf}, roles...)...)
	}
	if err != nil {
		return nil, err
	}
	return c, until(ctx, c.process, time.Minute, "the cloud", listens(c.mqtt))
}

// figures are the counters of the hooks.
type figures map[string]float64

func (c *central) figures() (figures, error) {
	answer, err := http.Get("http://" + c.http + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var text strings.Builder
	if err := answer.Write(&text); err != nil {
		return nil, err
	}
	f := figures{}
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, prefix := range []string{"wattline_republish_", "wattline_live_"} {
			if short, ours := strings.CutPrefix(name, prefix); ours {
				if f[strings.TrimPrefix(prefix, "wattline_")+strings.TrimSuffix(short, "_total")], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, fmt.Errorf("metric %s: %w", name, err)
				}
			}
		}
	}
	return f, nil
}

// less tells what came since.
func (f figures) less(before figures) figures {
	d := figures{}
	for name, v := range f {
		d[name] = v - before[name]
	}
	return d
}

// quietly waits until the hooks have done with all that came.
func (h *hooked) quietly(ctx context.Context) (figures, error) {
	last, err := h.full.figures()
	for same := 0; err == nil && same < 2; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
		var next figures
		if next, err = h.full.figures(); err != nil {
			break
		}
		if same++; next["republish_published"] != last["republish_published"] || next["live_events"] != last["live_events"] {
			same = 0
		}
		last = next
	}
	return last, err
}

// drains has two gateways hand in a backlog, as fast as they are receipted.
func (h *hooked) drains(ctx context.Context) error {
	const gateways = 2
	readings, rounds := 100_000, 5 // of each gateway
	if h.long {
		readings, rounds = 300_000, 15
	}
	var alone, full, costs, ratios []float64
	for range rounds {
		a, costA, err := h.drain(ctx, h.alone, gateways, readings)
		if err != nil {
			return err
		}
		f, costF, err := h.drain(ctx, h.full, gateways, readings)
		if err != nil {
			return err
		}
		alone, full, ratios = append(alone, a), append(full, f), append(ratios, 100*f/a)
		costs = append(costs, costF-costA)
	}
	h.ingest = median(full)
	h.note("%d gateways with %d readings each in batches of %d, medians of %d rounds in turns; all processors are busy", gateways, readings, batchOf, rounds)
	h.fact("hooks_drain_alone", median(alone), "points/s")
	h.fact("hooks_drain_subscribed", median(full), "points/s")
	h.fact("hooks_drain_ratio", median(ratios), "%")
	h.fact("hooks_drain_ratio_least", quantile(ratios, 0), "%")
	h.fact("hooks_drain_ratio_most", quantile(ratios, 1), "%")
	h.fact("hooks_drain_cpu_added", median(costs), "us/point")
	return nil
}

// drain gives points per second, and the cloud's processor time in us per point.
func (h *hooked) drain(ctx context.Context, c *central, gateways, readings int) (perSecond, cost float64, err error) {
	at := past(h.now, readings*(h.rounds+1))
	h.rounds++
	var sources []*source
	for n := range gateways {
		s, err := newSource(c, fmt.Sprintf("edge-f%d", n+1), n+1, at, readings, batchOf)
		if err != nil {
			return 0, 0, err
		}
		defer s.close()
		sources = append(sources, s)
	}
	before, err := spent(c.pid())
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := handIn(ctx, sources); err != nil {
		return 0, 0, err
	}
	took := time.Since(begin)
	after, err := spent(c.pid())
	points := gateways * readings * pointsOf
	return rate(points, took), float64(after[0]-before[0]) / 1e3 / float64(points), err
}

// agentFloor has no gateway.
const agentFloor = configGateways + 1

// agent has somebody who is no gateway hand in a backlog: of him the hooks hear
// readings by his data, each of which they must look at.
func (h *hooked) agent(ctx context.Context) error {
	readings := 200_000
	if h.long {
		readings = 1_000_000
	}
	s, err := newSource(h.full, "agent", agentFloor, past(h.now, readings), readings, batchOf)
	if err != nil {
		return err
	}
	defer s.close()
	before, err := h.quietly(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := handIn(ctx, []*source{s}); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := h.quietly(ctx)
	if err != nil {
		return err
	}
	d := after.less(before)
	points := float64(readings * pointsOf)
	h.note("an agent that is no gateway hands in %d readings; of its 500 values republish and live tell the newest", readings)
	h.fact("hooks_agent_in", points/took.Seconds(), "points/s")
	h.fact("hooks_agent_republished", d["republish_published"]/took.Seconds(), "messages/s")
	h.fact("hooks_agent_superseded", 100*d["republish_superseded"]/points, "%")
	h.fact("hooks_agent_live", d["live_events"]/took.Seconds(), "events/s")
	h.shed("hooks_agent", d, float64(readings/batchOf))
	return nil
}

// shed says what share of the messages was left out.
func (h *hooked) shed(name string, d figures, messages float64) {
	h.fact(name+"_republish_shed", d["republish_shed"], "messages")
	h.fact(name+"_live_shed", d["live_shed"], "messages")
	h.fact(name+"_live_slow", d["live_slow"], "followers")
	if worst := max(d["republish_shed"], d["live_shed"]); worst > 0 {
		h.note("of %.0f messages %.3g %% were shed", messages, 100*worst/math.Max(messages, 1))
	}
}
