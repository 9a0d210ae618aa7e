package signals_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

// TestOverARealBroker hears the filters from Mosquitto, retained messages and new
// ones, and asks a real component.
func TestOverARealBroker(t *testing.T) {
	broker := bustest.Start(t)
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	run := func(f func(context.Context) error) { running.Go(func() { _ = f(ctx) }) }

	publisher := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "publisher"}, log)
	run(publisher.Run)
	publish := func(topic string, retained bool, value any) {
		t.Helper()
		payload, raw := value.([]byte)
		if !raw {
			var err error
			if payload, err = json.Marshal(value); err != nil {
				t.Fatal(err)
			}
		}
		if err := publisher.Publish(ctx, bus.Message{Topic: topic, Payload: payload, Retained: retained}); err != nil {
			t.Fatal(err)
		}
	}
	beat := contract.Status{Gateway: "edge-f1", Online: true, Epoch: epoch, Plugs: contract.PlugsStatus{Configured: 1, Reachable: 1}}
	publish(bus.StatusTopic("edge-f1"), true, beat)
	publish(bus.FoundTopic("edge-f1"), true, contract.Found{Plugs: []contract.FoundPlug{{Device: "sp_f1.g0", Firmware: "1.5.2"}}})
	publish(bus.PlacesPrefix+"sp_f1.g0", true, contract.Place{Device: id(t, "sp_f1.g0"), Gateway: "edge-f1", Address: "10.0.0.1"})
	publish(bus.GatewaysInfoPrefix+"edge-f1", true, contract.GatewayInfo{Gateway: "edge-f1", Floor: 1})
	publish(bus.SiteTopic, true, contract.Site{Name: "Head office"})

	s := signals.New(log)
	s.Connected(device.MicrosOf(time.Now()))
	messages := make(chan bus.Message, 100)
	listener := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "alerting", Up: func(ctx context.Context, session *bus.Session) error {
		for _, filter := range s.Filters() {
			if err := session.Subscribe(ctx, filter, func(m bus.Message) { messages <- m }); err != nil {
				return err
			}
		}
		return nil
	}}, log)
	run(listener.Run)
	// until hears messages until one makes a sample of a signal.
	until := func(signal string) (samples []engine.Sample) {
		t.Helper()
		for {
			select {
			case m := <-messages:
				samples = slices.Clone(s.Hear(m, device.MicrosOf(time.Now())))
				if m.Retained && len(samples) > 0 {
					t.Errorf("retained %s makes samples", m.Topic)
				}
				if slices.ContainsFunc(samples, func(s engine.Sample) bool { return s.Signal == signal }) {
					return samples
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no sample of %s", signal)
			}
		}
	}
	if err := listener.AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	publish(bus.StatusTopic("edge-f1"), true, beat)
	samples := until("gateway.online")
	want(t, samples, "plug.reached", "sp_f1.g0", new(1.0))
	if got, _ := find(samples, "plug.firmware", "sp_f1.g0"); got.Text != "1.5.2" {
		t.Errorf("firmware is %q, want what was retained", got.Text)
	}
	at := device.MicrosOf(time.Now())
	publish("data/edge-f1/influx_data/sp/b", false, bus.Compress(data(t, "b", senml.Record{Name: "sp_f1.g0/power", Unit: "W", Time: at, Value: 60})))
	if got, _ := find(until("power"), "power", "sp_f1.g0"); got.At != at || got.Value != 60 {
		t.Errorf("power is %+v, want 60 at %v", got, at)
	}

	asker := bus.NewAsker("alerting/test", bus.Options{URL: broker.URL, ClientID: "asker"}, nil, log)
	run(asker.Run)
	ready := make(chan struct{}, 2)
	for name, answer := range map[string]func(ctx context.Context, r hook.Request, w *hook.Answer) error{
		"influx_query": func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
			return w.Part(ctx, json.RawMessage(`[]`))
		},
		"ledger_query": func(ctx context.Context, r hook.Request, w *hook.Answer) error {
			if r.Subpath == "quarantine" {
				w.Send(json.RawMessage(`{"items": [{"source": "weather", "replayed": null}], "next": null}`), nil)
				return nil
			}
			for _, part := range []string{`[{"gateway": "weather"}]`, `[{"gateway": "edge-f1", "missing": 4}]`} {
				if err := w.Part(ctx, json.RawMessage(part)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		component := hook.Component{Name: name, Family: hook.Queries, Handle: answer}
		options := bus.Options{URL: broker.URL, Up: func(context.Context, *bus.Session) error { ready <- struct{}{}; return nil }}
		run(func(ctx context.Context) error { return component.Serve(ctx, options, log) })
	}
	<-ready
	<-ready
	if err := asker.Link().AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	questions := signals.NewQuestions(asker.Link().IsUp, log)
	samples = s.Take(questions.Ask(ctx, asker, s.About()), device.MicrosOf(time.Now()))
	want(t, samples, "site.store", "site", new(1.0))
	want(t, samples, "gateway.missing", "edge-f1", new(4.0))
	want(t, samples, "gateway.missing", "weather", nil)
	want(t, samples, "site.quarantine", "site", new(1.0))

	broker.Kill()
	samples = s.Take(questions.Ask(ctx, asker, s.About()), device.MicrosOf(time.Now()))
	want(t, samples, "site.store", "site", nil)
}
