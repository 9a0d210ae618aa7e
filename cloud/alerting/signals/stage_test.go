package signals_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

const (
	begin = device.Micros(1_705_320_000_000_000)
	epoch = contract.Epoch(0x9f3c0a5be1d27486)
)

// stage is a house of two gateways: edge-f1 with three places, of which one has
// no plug, and edge-f2 with one.
type stage struct {
	t   testing.TB
	s   *signals.Signals
	now device.Micros
}

func newStage(t testing.TB) *stage {
	t.Helper()
	st := &stage{t: t, s: signals.New(slog.New(slog.DiscardHandler)), now: begin}
	st.s.Connected(st.now)
	st.registry()
	return st
}

// registry tells the whole house.
func (st *stage) registry() {
	st.t.Helper()
	st.hear(bus.SiteTopic, contract.Site{Name: "Head office", DefaultFloor: 1, TimeZone: "Europe/Vienna"}, true)
	for _, g := range []string{"edge-f1", "edge-f2"} {
		st.hear(bus.GatewaysInfoPrefix+g, contract.GatewayInfo{Gateway: g, Label: g, Floor: int(g[6] - '0'), ConfigVersion: 7}, true)
	}
	for id, gateway := range map[string]string{"sp_f1.g0": "edge-f1", "sp_w.r0.c1": "edge-f1", "sp_f2.p0": "edge-f2"} {
		st.place(id, contract.Place{Gateway: gateway, Address: "10.0.0.1"})
	}
	st.place("sp_f1.g9", contract.Place{Gateway: "edge-f1"})
}

func (st *stage) place(name string, p contract.Place) {
	st.t.Helper()
	p.Device = id(st.t, name)
	st.hear(bus.PlacesPrefix+name, p, true)
}

// hear publishes a value as JSON, or bytes as they are.
func (st *stage) hear(topic string, value any, retained bool) []engine.Sample {
	st.t.Helper()
	payload, raw := value.([]byte)
	if !raw {
		var err error
		if payload, err = json.Marshal(value); err != nil {
			st.t.Fatal(err)
		}
	}
	return st.s.Hear(bus.Message{Topic: topic, Payload: payload, Retained: retained}, st.now)
}

// beat is a heartbeat of a gateway that is well.
func (st *stage) beat(name string, change func(*contract.Status)) []engine.Sample {
	st.t.Helper()
	s := contract.Status{
		Gateway: name, Online: true, Epoch: epoch, ConfigVersion: 7, Time: st.now, Clock: contract.ClockStatus{Set: true},
		Outbox: contract.OutboxStatus{Limit: 1000}, Plugs: contract.PlugsStatus{Configured: 2, Reachable: 2},
	}
	if change != nil {
		change(&s)
	}
	return st.hear(bus.StatusTopic(name), s, false)
}

// pass lets seconds pass, and gives the samples of the last.
func (st *stage) pass(seconds int) (all []engine.Sample) {
	for range seconds {
		st.now += 1_000_000
		all = append(all, st.s.Tick(st.now)...)
	}
	return all
}

// data is a batch of a gateway, or any other message of readings.
func data(t testing.TB, batch string, records ...senml.Record) []byte {
	t.Helper()
	var e bus.Envelope
	e.ID = batch
	e.Data = json.RawMessage("[")
	for i, r := range records {
		record := map[string]any{"n": r.Name, "t": r.Time}
		switch r.Kind {
		case senml.Text:
			record["vs"] = r.Text
		case senml.Bool:
			record["vb"] = r.Value == 1
		default:
			record["v"] = r.Value
		}
		if r.Unit != "" {
			record["u"] = r.Unit
		}
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			e.Data = append(e.Data, ',')
		}
		e.Data = append(e.Data, text...)
	}
	e.Data = append(e.Data, ']')
	payload, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func id(t testing.TB, text string) device.ID {
	t.Helper()
	id, err := device.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// find gives the last sample of a signal about a subject.
func find(samples []engine.Sample, signal, subject string) (found engine.Sample, ok bool) {
	for _, s := range samples {
		if s.Signal == signal && s.Subject.String() == subject {
			found, ok = s, true
		}
	}
	return found, ok
}

// want is the value of a sample, or none for nil.
func want(t testing.TB, samples []engine.Sample, signal, subject string, value *float64) {
	t.Helper()
	got, ok := find(samples, signal, subject)
	switch {
	case ok != (value != nil):
		t.Errorf("%s of %s: a sample is %v, want %v", signal, subject, ok, value != nil)
	case ok && (got.Value-*value > 1e-6 || *value-got.Value > 1e-6):
		t.Errorf("%s of %s is %v, want %v", signal, subject, got.Value, *value)
	}
}

var minute = device.Micros(time.Minute / time.Microsecond)
