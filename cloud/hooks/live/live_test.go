package live_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/cloud/hooks/live"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// house is a broker, a hub on it, and whoever a test plays.
type house struct {
	t       *testing.T
	ctx     context.Context
	options bus.Options
	link    *bus.Link
	metrics *metrics.Registry
	hub     *live.Hub
	stop    func() // ends the hub
}

func start(t *testing.T, options live.Options, role bus.Options) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h := &house{t: t, ctx: ctx, options: role, metrics: metrics.New()}
	options.Metrics = h.metrics
	h.hub = live.New(options, quiet)
	role.ClientID = "house"
	h.link = bus.NewLink(role, quiet)
	var running sync.WaitGroup
	running.Go(func() { _ = h.link.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	h.stop = h.run(h.hub)
	if err := h.link.AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) run(hub *live.Hub) (stop func()) {
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	up := make(chan struct{}, 10)
	options := h.options
	options.Up = func(context.Context, *bus.Session) error { up <- struct{}{}; return nil }
	go func() { done <- hub.Run(ctx, options) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				h.t.Errorf("Run: %v", err)
			}
		})
	}
	h.t.Cleanup(stop)
	select {
	case <-up:
	case <-h.ctx.Done():
		h.t.Fatal("the hub does not come up")
	}
	return stop
}

func (h *house) publish(topic, payload string) {
	h.t.Helper()
	if err := h.link.Publish(h.ctx, bus.Message{Topic: topic, Payload: []byte(payload), Retained: !strings.HasPrefix(topic, "data/")}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) state(id string, watts int) {
	h.t.Helper()
	h.publish("state/edge-f1/"+id, fmt.Sprintf(`[{"n":"%s/power","u":"W","t":1700000000,"v":%d},{"n":"%s/status","t":1700000000,"v":1}]`, id, watts, id))
}

func all(contract.Event) bool { return true }

func (h *house) follow(after string) *live.Follower {
	h.t.Helper()
	f, err := h.hub.Follow(after, all)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(f.Close)
	return f
}

// until reads until an event has the text, and gives all that was read.
func (h *house) until(f *live.Follower, text string) (events []contract.Event) {
	h.t.Helper()
	for {
		more, err := f.Next(h.ctx)
		if err != nil || h.ctx.Err() != nil {
			h.t.Fatalf("%s does not come: %v; came %s", text, err, told(events))
		}
		events = append(events, more...)
		for _, e := range more {
			if strings.Contains(e.Kind+" "+string(e.Data), text) {
				return events
			}
		}
	}
}

func told(events []contract.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s %s\n", e.Kind, e.Data)
	}
	return b.String()
}

func onBoth(t *testing.T, test func(t *testing.T, role bus.Options)) {
	t.Run("mosquitto", func(t *testing.T) { test(t, bus.Options{URL: bustest.Start(t).URL}) })
	t.Run("the embedded broker", func(t *testing.T) {
		cfg := broker.DefaultConfig()
		cfg.Listen = "127.0.0.1:0"
		b, err := broker.Start(t.Context(), cfg, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		test(t, bus.Options{URL: b.URL()})
	})
}

func TestWhatHappensIsTold(t *testing.T) {
	onBoth(t, func(t *testing.T, role bus.Options) {
		h := start(t, live.Options{}, role)
		f := h.follow("")
		h.until(f, "current")
		h.publish("gateways/edge-f1/status", `{"gateway":"edge-f1","online":true,"epoch":"0000000000000007","time":1700000000,"plugs":{"configured":2,"reachable":1}}`)
		h.until(f, `gateway {"gateway":"edge-f1","online":true,"plugs_configured":2,"plugs_reachable":1}`)
		h.state("sp_f1.g0", 61)
		h.until(f, `state {"device":"sp_f1.g0","gateway":"edge-f1","time":"2023-11-14T22:13:20Z","on":true,"values":{"power":{"value":61,"unit":"W"},"status":{"value":1}}}`)
		h.publish("alerts/standby", `{"rule": "standby", "device": "sp_f1.g0"}`)
		if e := h.until(f, `alert {"topic":"alerts/standby","alert":{"rule":"standby","device":"sp_f1.g0"}}`); e[len(e)-1].Device.String() != "sp_f1.g0" {
			t.Errorf("the alert is about %v", e[len(e)-1].Device)
		}
		h.publish("alerts/standby", "")
		h.until(f, `{"topic":"alerts/standby","alert":null}`)

		// A gateway's data is on state/... already; another source's is told, piece by piece.
		h.publish("data/edge-f1/influx_data", `{"data":[{"n":"sp_f1.g0/power","t":1700000009,"v":99}]}`)
		h.publish("data/agent/influx_data", `{"data":[{"n":"sp_f1.g7/power","t":1700000000,"v":5}]}`)
		h.until(f, `"power":{"value":5}`)
		h.publish("data/agent/influx_data", `{"data":[{"n":"sp_f1.g7/status","t":1700000001,"v":1},{"n":"sp_f1.g7/power","t":1600000000,"v":6}]}`)
		h.until(f, `"on":true,"values":{"power":{"value":5},"status":{"value":1}}`)

		h.publish("gateways/edge-f1/status", `{"online":false,"epoch":"0000000000000008"}`) // the will of another run
		h.publish("gateways/edge-f1/status", `{"online":false,"epoch":"0000000000000007"}`)
		h.publish("state/edge-f1/sp_f1.g0", "")
		events := told(h.until(f, `{"device":"sp_f1.g0","gateway":"edge-f1","gone":true}`))
		if strings.Contains(events, "99") || strings.Count(events, `"online":false,"plugs_configured":2`) != 1 {
			t.Errorf("told was\n%s", events)
		}
	})
}

func TestWhoComesBackGoesOnBehindWhatHeHasSeen(t *testing.T) {
	h := start(t, live.Options{Events: 100}, bus.Options{URL: bustest.Start(t).URL})
	f := h.follow("")
	h.state("sp_f1.g0", 1)
	seen := h.until(f, `"value":1,`)
	f.Close()
	h.state("sp_f1.g0", 2)
	h.state("sp_f1.g1", 3)
	again := h.follow(seen[len(seen)-1].ID)
	events := h.until(again, `"value":3,`)
	if len(events) != 2 || events[0].Kind != contract.EventState || events[1].ID == events[0].ID {
		t.Errorf("told was\n%s", told(events))
	}

	for n := range 200 { // more than the ring has
		h.state("sp_f1.g2", 1000+n)
		if n%50 == 49 {
			h.until(again, fmt.Sprintf(`"value":%d,`, 1000+n))
		}
	}
	for name, after := range map[string]string{
		"too long ago": seen[len(seen)-1].ID, "unknown id": "nonsense", "start": "", "unknown id ": "0123456789abcdef-1", "unknown id  ": events[0].ID + "000000",
	} {
		begin := h.until(h.follow(after), "current")
		text := told(begin)
		if begin[0].Kind != contract.EventReset || !strings.Contains(text, strings.TrimSpace(name)) || len(begin) != 5 || begin[1].ID != "" || begin[4].ID == "" {
			t.Errorf("%s: told was\n%s", name, text)
		}
		for _, want := range []string{`"value":2,`, `"value":3,`, `"value":1199,`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is missing in\n%s", name, want, text)
			}
		}
	}
}

func TestTwoHundredSlowFollowersHoldNobodyUp(t *testing.T) {
	h := start(t, live.Options{Events: 20, Clients: 201}, bus.Options{URL: bustest.Start(t).URL})
	slow := make([]*live.Follower, 200)
	for i := range slow {
		slow[i] = h.follow("")
		h.until(slow[i], "current")
	}
	quick := h.follow("")
	h.until(quick, "current")
	if _, err := h.hub.Follow("", all); !errors.Is(err, live.ErrFull) {
		t.Errorf("one more: %v", err)
	}
	for n := range 60 {
		h.state("sp_f1.g0", n)
		h.until(quick, fmt.Sprintf(`"value":%d,`, n))
	}
	for _, f := range slow {
		if _, err := f.Next(h.ctx); !errors.Is(err, live.ErrSlow) {
			t.Fatalf("a slow one: %v", err)
		}
		f.Close()
		f.Close()
	}
	if !strings.Contains(h.text(), "wattline_live_slow_total 200\n") || !strings.Contains(h.text(), "wattline_live_followers 1\n") {
		t.Errorf("the metrics say\n%s", h.text())
	}
}

func (h *house) text() string {
	var b strings.Builder
	if err := h.metrics.WriteText(&b); err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

func TestABrokerThatStartsAgainMidStreamRepeatsNothing(t *testing.T) {
	b := bustest.Start(t)
	h := start(t, live.Options{}, bus.Options{URL: b.URL})
	f := h.follow("")
	h.state("sp_f1.g0", 1)
	h.until(f, `"value":1,`)
	b.Kill()
	b.Start()
	for len(h.up()) == 0 { // until the hub hears again; its publisher says it again meanwhile
		h.state("sp_f1.g0", 1)
		h.state("sp_f1.g1", 2)
	}
	if events := h.until(f, `"value":2,`); len(events) != 1 {
		t.Errorf("told was\n%s", told(events))
	}
}

// up tells that the newest state of sp_f1.g1 has come.
func (h *house) up() string {
	ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	f := h.follow("")
	defer f.Close()
	for {
		events, err := f.Next(ctx)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, e := range events {
			if strings.Contains(string(e.Data), "sp_f1.g1") {
				return "up"
			}
			if e.Kind == contract.EventCurrent {
				return ""
			}
		}
	}
}

func TestTheEndOfTheHubEndsItsStreams(t *testing.T) {
	h := start(t, live.Options{}, bus.Options{URL: bustest.Start(t).URL})
	f := h.follow("")
	h.until(f, "current")
	ended := make(chan error, 1)
	go func() { _, err := f.Next(h.ctx); ended <- err }()
	h.stop()
	select {
	case err := <-ended:
		if !errors.Is(err, live.ErrClosed) {
			t.Errorf("Next: %v", err)
		}
	case <-h.ctx.Done():
		t.Error("the stream does not end")
	}
	if _, err := h.hub.Follow("", all); !errors.Is(err, live.ErrClosed) {
		t.Errorf("Follow: %v", err)
	}
}

func TestMalformedEventsAreCounted(t *testing.T) {
	h := start(t, live.Options{}, bus.Options{URL: bustest.Start(t).URL})
	f := h.follow("")
	h.publish("alerts/x", "no")
	h.publish("alerts/y", `"`+strings.Repeat("x", 70_000)+`"`)
	h.publish("gateways/g/status", "no")
	h.publish("state/g/sp_f1.g0", "no")
	h.publish("alerts/z", "1")
	h.until(f, "alerts/z")
	for end := time.Now().Add(10 * time.Second); !strings.Contains(h.text(), "wattline_live_malformed_total 4\n"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) { // polling under a deadline
			t.Fatal(h.text())
		}
	}
}
