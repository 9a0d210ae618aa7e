package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

const denied = "wattline_broker_denied_total"

// testTrespass tries, as a client without credentials, what only roles and
// gateways may.
func testTrespass(t *testing.T, b *besieged) {
	spied := make(chan bus.Message, 1000)
	link := b.client("trespasser", func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "#", func(m bus.Message) {
			if strings.HasPrefix(m.Topic, "registry/") {
				spied <- m
			}
		})
	})
	config := `{"version":18446744073709551615,"gateway":"edge-f1","floor":1,"poll_seconds":3600,"plugs":[]}`
	for topic, payload := range map[string]string{
		"registry/site": `{"name":"mine","default_floor":9}`, "registry/places/sp_g1": ``, "gateways/edge-f1/config": config, "gateways/edge-f1/command": `{"data":{}}`,
		"gateways/edge-f1/status": `{"gateway":"edge-f1","online":false,"epoch":"0000000000000001"}`, "state/edge-f1/sp_g1": `[{"n":"sp_g1/power","v":9999,"t":1893456000}]`,
		"responses/edge-f1/receipts": `{"data":{"stored":[]}}`, "responses/sp_command/x/edge-f1/y": `{"data":{}}`, "alerts/x": `{}`,
	} {
		t.Run("publish on "+topic, func(t *testing.T) {
			count := b.metric(denied)
			b.insult(t, link, bus.Message{Topic: topic, Payload: []byte(payload), Retained: true}, denied, count)
		})
	}
	for name, o := range map[string]bus.Options{
		"a role with a wrong password":      {ClientID: "x", Username: "wattline", Password: "guessed"},
		"a role without a password":         {ClientID: "y", Username: "wattline"},
		"a will in the name of a gateway":   {ClientID: "z", Will: &bus.Message{Topic: "gateways/edge-f1/status", Payload: []byte(`{"online":false}`), Retained: true}},
		"a will that rewrites the registry": {ClientID: "w", Will: &bus.Message{Topic: "registry/site", Payload: []byte(`{}`), Retained: true}},
	} {
		t.Run(name, func(t *testing.T) {
			o.URL = b.mqtt()
			ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
			defer cancel()
			link := bus.NewLink(o, slog.New(slog.DiscardHandler))
			done := make(chan error, 1)
			go func() { done <- link.Run(ctx) }()
			if link.AwaitUp(ctx) == nil {
				t.Error("it was let in")
			}
			cancel()
			<-done
		})
	}
	if len(spied) > 0 {
		t.Errorf("the registry was shown to a stranger: %s", (<-spied).Topic)
	}
	b.unmoved(t)
}

// unmoved checks that site and gateway are as they were.
func (b *besieged) unmoved(t *testing.T) {
	t.Helper()
	if a := b.rest("/api/v1/devices/sp_g1"); a.status != http.StatusOK || !strings.Contains(a.body, `"sp_g1"`) {
		t.Errorf("%v", a)
	}
	eventually(t, 30*time.Second, "the gateway polls all its plugs", func() bool {
		v, err := b.page()
		return err == nil && v.Status.Plugs.Configured == len(b.plugs) && v.Status.Plugs.Reachable == len(b.plugs)
	})
	eventually(t, 30*time.Second, "the gateway is online", func() bool {
		return strings.Contains(b.rest("/api/v1/gateways/"+gatewayName).body, `"online":true`)
	})
	if a := b.rest("/api/v1/devices/sp_g1/state"); a.status != http.StatusOK || strings.Contains(a.body, "9999") {
		t.Errorf("%v", a)
	}
}

// testRogue is a role of the cloud gone mad: whatever it sends to a gateway, the
// gateway goes on with what it has.
func testRogue(t *testing.T, b *besieged) {
	link := bus.NewLink(bus.Options{URL: b.mqtt(), ClientID: "rogue", Username: "wattline", Password: secret}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = link.Run(ctx) }()
	defer func() { cancel(); <-done }()
	page := func(name string) float64 {
		return sum(t, fetch(http.MethodGet, "http://"+b.ip+":8081/metrics", "").body, name)
	}
	unheeded, misheard := page("wattline_forwarder_answers_ignored_total"), page("wattline_edge_malformed_total")
	plugs := strings.Repeat(`{"device":"sp_g1","driver":"hs110","address":"x"},`, 20_000) + `{"device":"nonsense"}`
	garbage := []string{"", "garbage", "[]", "null", "\xff\xfe", "{", strings.Repeat("[", 100_000), gzipOf(make([]byte, 1<<20), 16), "\x28\xb5\x2f\xfd\xff\xff"}
	sent := map[string][]string{
		"gateways/edge-f1/config": {
			`{"version":7,"gateway":"edge-f2"}`, `{"version":7000000,"gateway":"edge-f1","poll_seconds":0.001}`, `{"version":7000000,"gateway":"edge-f1","plugs":[` + plugs + `]}`, `{"version":-1}`,
		},
		"gateways/edge-f1/command": {
			`{"data":{"id":"x","switches":[{"device":"nonsense","on":true}]}}`, `{"response_topic":"data/x/influx_data/sp","data":7}`, `{"response_topic":"#","data":{}}`,
			fmt.Sprintf(`{"data":{"id":"y","deadline":{"boot_id":"%s","monotonic":1e308},"switches":[]}}`, strings.Repeat("x", 1<<20)),
		},
		"responses/edge-f1/receipts": {
			`{"data":{"stored":[{"id":"0000000000000001-1","digest":"zz"}]}}`, `{"data":{"stored":[{"id":"ffffffffffffffff-18446744073709551615","digest":"0000000000000000"}]}}`, `{"error":"no"}`,
			`{"data":{"stored":[` + strings.Repeat(`{"id":"0000000000000001-1","digest":"0000000000000000"},`, 50_000) + `{"id":"0000000000000001-2","digest":"0000000000000000"}]}}`,
		},
	}
	for topic, payloads := range sent {
		for _, payload := range append(payloads, garbage...) {
			if topic == "gateways/edge-f1/config" && payload == "" {
				continue // clears it; the registry says it again
			}
			if err := link.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
				t.Errorf("%s %.80q: %v", topic, payload, err)
			}
		}
	}
	eventually(t, 10*time.Second, "the gateway has counted it", func() bool {
		return page("wattline_forwarder_answers_ignored_total") >= unheeded+10 && page("wattline_edge_malformed_total") >= misheard+20
	})
	b.unmoved(t)
	var v struct {
		Status struct{ Outbox json.RawMessage }
	}
	fetched := fetch(http.MethodGet, "http://"+b.ip+":8081/status.json", "")
	fetched.into(t, &v)
	if len(v.Status.Outbox) == 0 {
		t.Errorf("%v", fetched)
	}
}
