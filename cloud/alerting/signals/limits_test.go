package signals_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

func TestStrangersTakeBoundedRoom(t *testing.T) {
	st := newStage(t)
	for n := range 3000 {
		st.hear(bus.StatusTopic(fmt.Sprintf("g%d", n)), []byte(`{"online": true, "epoch": "9f3c0a5be1d27486"}`), false)
	}
	if got, want := st.s.Malformed(), 2000; got != want {
		t.Errorf("%d strangers were turned away, want %d", got, want)
	}
	st.hear(bus.GatewaysInfoPrefix+"edge-f3", contract.GatewayInfo{Gateway: "edge-f3", ConfigVersion: 7}, false)
	want(t, st.beat("edge-f3", nil), "gateway.online", "edge-f3", new(1.0)) // who is registered has room
	st.pass(700)
	st.hear(bus.StatusTopic("g2999"), []byte(`{"online": true, "epoch": "9f3c0a5be1d27486"}`), false)
	if got := st.s.Malformed(); got != 2000 {
		t.Errorf("strangers of long ago take room still: %d were turned away", got)
	}
}

func TestPlacesAndGatewaysAreBounded(t *testing.T) {
	st := newStage(t)
	for n := range 100_010 {
		name := fmt.Sprintf("sp_f5.x%d", n)
		st.s.Hear(bus.Message{Topic: bus.PlacesPrefix + name, Payload: fmt.Appendf(nil, `{"device": %q, "gateway": "edge-f1"}`, name)}, st.now)
	}
	if got, want := len(st.s.House().Devices("")), 100_000; got != want {
		t.Errorf("%d places are kept, want %d", got, want)
	}
	for n := range 10_010 {
		st.s.Hear(bus.Message{Topic: fmt.Sprintf("%sx%d", bus.GatewaysInfoPrefix, n), Payload: fmt.Appendf(nil, `{"gateway": "x%d"}`, n)}, st.now)
	}
	kept := 0
	for n := range 10_010 {
		if _, ok := st.s.House().Gateway(fmt.Sprintf("x%d", n)); ok {
			kept++
		}
	}
	if want := 10_000 - 2; kept != want { // those of the stage count
		t.Errorf("%d gateways are kept, want %d", kept, want)
	}
}

func TestFoundPlugsAreBounded(t *testing.T) {
	st := newStage(t)
	found := contract.Found{Plugs: make([]contract.FoundPlug, contract.MaxFound)}
	for g := range 50 {
		for n := range found.Plugs {
			found.Plugs[n] = contract.FoundPlug{Device: fmt.Sprintf("sp_f%d.x%d", g, n), Firmware: "1"}
		}
		st.hear(bus.FoundTopic(fmt.Sprintf("g%d", g)), found, false)
	}
	mine := contract.Found{Plugs: []contract.FoundPlug{{Device: "sp_f1.g0", Firmware: "1"}}}
	st.hear(bus.FoundTopic("edge-f1"), mine, false)
	want(t, st.beat("edge-f1", nil), "plug.firmware", "sp_f1.g0", nil)
	st.hear(bus.FoundTopic("g0"), []byte{}, false) // makes room
	st.hear(bus.FoundTopic("edge-f1"), mine, false)
	want(t, st.beat("edge-f1", nil), "plug.firmware", "sp_f1.g0", new(0.0))
}

func TestStormIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	s := signals.New(slog.New(slog.NewTextHandler(&out, nil)))
	for range 1000 {
		s.Hear(bus.Message{Topic: "data/loud/influx_data/sp", Payload: []byte("\x00" + strings.Repeat("junk", 1000))}, begin)
	}
	if got := strings.Count(out.String(), "\n"); got != 1 || out.Len() > 2000 {
		t.Errorf("%d lines of %d bytes in the log, want 1", got, out.Len())
	}
}

// topics are those that Hear looks at, and some others.
var topics = []string{
	"data/edge-f1/influx_data/sp/9f3c0a5be1d27486-1", "data/x/influx_data/outside", "gateways/edge-f1/status", "gateways/x/status", "gateways/edge-f1/found",
	"registry/site", "registry/places/sp_f1.g0", "registry/gateways/edge-f1", "registry/places/", "gateways//found", "",
}

// FuzzHear: whatever comes, no sample is made of what nobody may tell, time goes
// on, and those who are well are heard.
func FuzzHear(f *testing.F) {
	examples := []string{
		`{"id": "x", "data": [{"n": "sp_f1.g0/power", "t": 1705320000, "v": 60, "u": "W"}]}`,
		`{"online": true, "epoch": "9f3c0a5be1d27486", "plugs": {"configured": 1, "problems": [{"device": "sp_f1.g0", "reason": "locked", "since": 1}], "suspects": {"sp_f1.g0": 4}}}`,
		`{"online": false, "epoch": "9f3c0a5be1d27486"}`, `{"plugs": [{"device": "sp_f1.g0", "firmware": "1", "problem": "locked"}]}`,
		`{"name": "x", "default_floor": 2, "time_zone": "UTC"}`, `{"device": "sp_f1.g0", "gateway": "edge-f2"}`,
		`{"gateway": "edge-f1", "floor": 1, "trust": "trusted", "certificates": [{"expires": 9e9}]}`, ``, `null`, `[]`,
	}
	for n := range topics {
		for _, e := range examples {
			f.Add(n, []byte(e), n%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, n int, payload []byte, retained bool) {
		st := newStage(t)
		topic := topics[((n%len(topics))+len(topics))%len(topics)]
		for range 2 {
			for _, s := range st.s.Hear(bus.Message{Topic: topic, Payload: payload, Retained: retained}, st.now) {
				if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
					t.Errorf("sample %+v has no number", s)
				}
				if strings.HasPrefix(topic, "data/") && (s.Subject.Device.IsZero() || strings.HasPrefix(s.Signal, "plug.") || strings.HasPrefix(s.Signal, "site.")) {
					t.Errorf("readings make sample %+v", s)
				}
			}
			st.s.House().Devices("")
			st.s.House().Devices("edge-f1")
			st.pass(40)
			st.s.Connected(st.now)
		}
		st.registry()
		want(t, st.beat("edge-f2", func(s *contract.Status) { s.Epoch = 5 }), "gateway.online", "edge-f2", new(1.0))
		want(t, st.pass(40), "gateway.online", "edge-f1", new(0.0))
	})
}

// BenchmarkSecond is a second of 10,000 plugs in 100 batches, as gateways send
// them: five records for each plug, compressed; and ten heartbeats, for each of
// the gateways has one in ten seconds. It must take well under half a second.
func BenchmarkSecond(b *testing.B) {
	st := newStage(b)
	const gateways, plugs = 100, 100
	messages := make([]bus.Message, gateways)
	for g := range gateways {
		name := fmt.Sprintf("edge-f%d", g)
		st.hear(bus.GatewaysInfoPrefix+name, contract.GatewayInfo{Gateway: name, Floor: g}, false)
		var records []senml.Record
		for p := range plugs {
			place := fmt.Sprintf("sp_f%d.w.r%d.c%d", g, p/10, p%10)
			st.place(place, contract.Place{Gateway: name, Address: "10.0.0.1"})
			at := begin + device.Micros(p)*7919
			for n, m := range []string{device.Power, device.Voltage, device.Current, device.Energy, device.Status} {
				records = append(records, senml.Record{
					Name: place + "/" + m, Unit: []string{"W", "V", "A", "Wh", "/"}[n], Time: at, Absolute: true, Kind: senml.Number, Value: float64(p*n) * 1.37,
				})
			}
		}
		pack, err := senml.Append(nil, records)
		if err != nil {
			b.Fatal(err)
		}
		payload, err := bus.Envelope{ID: "agent", ResponseTopic: bus.ReceiptsTopic(name), Data: json.RawMessage(pack)}.Encode()
		if err != nil {
			b.Fatal(err)
		}
		messages[g] = bus.Message{Topic: "data/" + name + "/influx_data/sp/agent", Payload: bus.Compress(payload)}
	}
	b.ReportAllocs()
	status, err := json.Marshal(contract.Status{
		Online: true, Epoch: epoch, Time: begin, Clock: contract.ClockStatus{Set: true}, Outbox: contract.OutboxStatus{Limit: 1000},
		Plugs: contract.PlugsStatus{Configured: plugs, Reachable: plugs},
	})
	if err != nil {
		b.Fatal(err)
	}
	samples, facts := 0, 0
	for b.Loop() {
		samples, facts = 0, 0
		for g := range 10 {
			facts += len(st.s.Hear(bus.Message{Topic: bus.StatusTopic(fmt.Sprintf("edge-f%d", g)), Payload: status}, st.now))
		}
		for _, m := range messages {
			samples += len(st.s.Hear(m, st.now))
		}
		st.now += 1_000_000
		st.s.Tick(st.now)
	}
	if samples != gateways*plugs*5 {
		b.Fatalf("%d samples", samples)
	}
	b.ReportMetric(float64(samples+facts), "samples")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "cores")
}
