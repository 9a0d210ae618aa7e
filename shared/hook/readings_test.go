package hook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// agent runs a hook on a broker, and an agent that sends to it and hears its
// receipts.
func agent(t *testing.T, h hook.Readings) (send func(topic, payload string), receipts chan string) {
	t.Helper()
	broker := bustest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	up := make(chan struct{}, 10)
	receipts = make(chan string, 100)
	running.Go(func() {
		options := bus.Options{URL: broker.URL, Up: func(context.Context, *bus.Session) error { up <- struct{}{}; return nil }}
		if err := h.Run(ctx, options, quiet); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "agent", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "responses/agent/#", func(m bus.Message) { receipts <- string(m.Payload) })
	}}, quiet)
	running.Go(func() { _ = link.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	receive(t, up)
	return func(topic, payload string) {
		t.Helper()
		if err := link.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}, receipts
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
	}
	return v
}

func batch(id string) string {
	return fmt.Sprintf(`{"id":%q,"response_topic":"responses/agent/got","data":[{"bn":%q,"bt":1700000000,"n":"power","u":"W","v":61.5},{"n":"status","vb":true},{"n":"note","vs":"x"}]}`, id, "sp_f1.g0/")
}

func TestAHookIsGivenDecodedReadingsAndItsSourceReceipts(t *testing.T) {
	given := make(chan hook.Delivery, 10)
	send, receipts := agent(t, hook.Readings{Name: "mine", Receipts: true, Handle: func(_ context.Context, d hook.Delivery) error {
		given <- d
		switch d.ID {
		case "bad":
			return errors.New("not now")
		case "aside":
			return hook.ErrQuarantined
		case "panic":
			panic("bug")
		}
		return nil
	}})
	for _, id := range []string{"bad", "panic", "good", "aside"} {
		send("data/agent/mine/sp", batch(id))
	}
	for _, id := range []string{"bad", "panic", "good", "aside"} {
		d := receive(t, given)
		if d.ID != id || d.Source != "agent" || d.Database != "sp" || len(d.Readings) != 3 {
			t.Fatalf("%s: %+v", id, d)
		}
		if r := d.Readings[0]; r.Device.String() != "sp_f1.g0" || r.Measurement != "power" || r.Unit != "W" || r.Value != 61.5 || r.Time != 1_700_000_000_000_000 {
			t.Errorf("%+v", r)
		}
		if d.Readings[1].Value != 1 || d.Readings[2].Text != "x" {
			t.Errorf("%+v", d.Readings)
		}
	}
	for _, w := range []struct{ list, id string }{{"stored", "good"}, {"quarantined", "aside"}} {
		want := fmt.Sprintf(`{"data":{%q:[{"id":%q,"digest":"%v"}]}}`, w.list, w.id, contract.DigestOf([]byte(batch(w.id))))
		if got := receive(t, receipts); got != want {
			t.Errorf("receipt %s, want %s", got, want)
		}
	}
}

func TestWhatDoesNotFitIsShedAndTheSourceKeepsIt(t *testing.T) {
	var shed atomic.Int64
	release := make(chan struct{})
	send, receipts := agent(t, hook.Readings{
		Name: "slow", Receipts: true, Queue: 5, Shed: func() { shed.Add(1) },
		Handle: func(ctx context.Context, _ hook.Delivery) error {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		},
	})
	const sent = 50
	for n := range sent {
		send("data/agent/slow", batch(fmt.Sprint(n)))
	}
	for end := time.Now().Add(10 * time.Second); shed.Load() < sent-6 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // polling under a deadline
	}
	close(release)
	got := 0
	for range sent - int(shed.Load()) {
		receive(t, receipts)
		got++
	}
	if got < 5 || got > 6 || len(receipts) > 0 {
		t.Errorf("%d receipts, %d shed, %d more", got, shed.Load(), len(receipts))
	}
}

func TestMalformedReadingsHarmNobody(t *testing.T) {
	var malformed atomic.Int64
	given := make(chan hook.Delivery, 10)
	send, _ := agent(t, hook.Readings{
		Name: "any", Filters: []string{bus.StateFilter, bus.DataFilter}, Malformed: func() { malformed.Add(1) },
		Handle: func(_ context.Context, d hook.Delivery) error { given <- d; return nil },
	})
	bad := map[string]string{
		"state/g/sp_f1.g0": `[{"n":"sp_f1.g1/power","t":1700000000,"v":1}]`, // about another
		"state/g/nonsense": `[]`, "state/g": `[]`,
		"data/a/influx_data/sp": `{"data":[{"n":"sp_f1.g0/power","v":1}]}`, // no time
		"data/b/influx_data":    `{"data":[{"n":"sp_f1.g0/power","t":99999999999,"v":1}]}`,
		"data/c/influx_data":    `{"data":{}}`, "data/d/influx_data": `no`, "data/e/influx_data": `{}`,
		"data/f/influx_data/a/b/c/d": `{"data":[]}`,
	}
	for topic, payload := range bad {
		send(topic, payload)
	}
	send("state/edge-f1/sp_f1.g0", `[{"n":"sp_f1.g0/power","t":1700000000,"v":1}]`)
	if d := receive(t, given); !d.State || d.Source != "edge-f1" || len(d.Readings) != 1 {
		t.Errorf("%+v", d)
	}
	send("state/edge-f1/sp_f1.g0", "")
	if d := receive(t, given); d.Cleared.String() != "sp_f1.g0" {
		t.Errorf("%+v", d)
	}
	if got := malformed.Load(); got != int64(len(bad)) {
		t.Errorf("%d malformed, want %d", got, len(bad))
	}
}

func TestReceiptsAreForOwnDataOnly(t *testing.T) {
	err := hook.Readings{Name: "thief", Receipts: true, Filters: []string{bus.DataFilter}}.Run(t.Context(), bus.Options{URL: "tcp://127.0.0.1:1"}, quiet)
	if err == nil || !strings.Contains(err.Error(), "receipts") {
		t.Errorf("Run: %v", err)
	}
	for _, topic := range []string{"", "state/agent/x", "responses/other/x", "responses/agent", "responses/agent/+", "responses/agentx/y"} {
		if hook.MayAnswer(topic, "agent") {
			t.Errorf("the data of agent may be answered on %q", topic)
		}
	}
}

func TestGatewaysAreToldFromOtherSources(t *testing.T) {
	var s hook.Sources
	s.Hear(bus.Message{Topic: "gateways/edge-f1/status", Payload: []byte("{}")})
	s.Hear(bus.Message{Topic: "registry/gateways/edge-f2", Payload: []byte("{}")})
	for topic, want := range map[string]bool{
		"data/edge-f1/influx_data/sp": true, "data/edge-f2/influx_data": true, "data/agent/influx_data": false,
		"state/edge-f1/sp_f1.g0": false, "data/edge-f11/influx_data": false,
	} {
		if got := s.Skip(topic); got != want {
			t.Errorf("Skip(%s) = %v, want %v", topic, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("data/a/influx_data/sp", []byte(batch("1")))
	f.Add("state/g/sp_f1.g0", []byte(`[{"n":"sp_f1.g0/power","t":1700000000,"v":1}]`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		d, err := hook.Decode(bus.Message{Topic: topic, Payload: payload}, time.Unix(1_800_000_000, 0))
		if err != nil && (len(d.Readings) > 0 || !errors.Is(err, hook.ErrMalformed)) {
			t.Errorf("%v with %d readings", err, len(d.Readings))
		}
	})
}
