package signals_test

import (
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/senml"
)

func TestAgeOfData(t *testing.T) {
	reading := senml.Record{Name: "sp_f1.g0/power", Time: begin, Value: 60}
	batch := func(st *stage, n string) {
		st.hear("data/edge-f1/influx_data/sp/"+n, data(st.t, n, reading), false)
	}
	// beats lets seconds pass in which the gateway beats.
	beats := func(st *stage, seconds int, change func(*contract.Status)) *float64 {
		var newest *float64
		for range seconds / 10 {
			st.beat("edge-f1", change)
			if s, ok := find(st.pass(10), "gateway.data_age", "edge-f1"); ok {
				newest = new(s.Value)
			}
		}
		return newest
	}
	value := func(v *float64) any {
		if v == nil {
			return "unknown"
		}
		return *v
	}
	check := func(st *stage, got *float64, want float64) {
		st.t.Helper()
		if got == nil || *got != want {
			st.t.Errorf("age is %v, want %v s", value(got), want)
		}
	}
	t.Run("counts from the newest batch", func(t *testing.T) {
		st := newStage(t)
		beats(st, 60, nil)
		batch(st, "9f3c0a5be1d27486-1")
		check(st, beats(st, 100, nil), 100)
	})
	t.Run("and from when it came online where there is none", func(t *testing.T) {
		st := newStage(t)
		st.pass(1000)
		check(st, beats(st, 60, nil), 60)
	})
	t.Run("a batch that is sent again is none that came", func(t *testing.T) {
		st := newStage(t)
		batch(st, "9f3c0a5be1d27486-1")
		beats(st, 100, nil)
		batch(st, "9f3c0a5be1d27486-1")
		check(st, beats(st, 10, nil), 110)
		batch(st, "9f3c0a5be1d27486-2")
		check(st, beats(st, 10, nil), 10)
	})
	t.Run("nor is a tombstone, or what does not decode", func(t *testing.T) {
		st := newStage(t)
		beats(st, 100, nil)
		st.hear("data/edge-f1/influx_data/sp/x", data(t, "9f3c0a5be1d27486-3"), false)
		st.hear("data/edge-f1/influx_data/sp/x", []byte(`{"data": 3}`), false)
		check(st, beats(st, 10, nil), 110)
	})
	t.Run("nor is what a broker has kept", func(t *testing.T) {
		st := newStage(t)
		beats(st, 100, nil)
		st.hear("data/edge-f1/influx_data/sp/x", data(t, "x", reading), true)
		check(st, beats(st, 10, nil), 110)
	})
	t.Run("without plugs that it reaches there is none", func(t *testing.T) {
		st := newStage(t)
		batch(st, "9f3c0a5be1d27486-1")
		if got := beats(st, 60, func(s *contract.Status) { s.Plugs.Reachable = 0 }); got != nil {
			t.Errorf("age is %v, want none", *got)
		}
	})
	t.Run("while it is away there is none", func(t *testing.T) {
		st := newStage(t)
		beats(st, 60, nil)
		st.pass(30)
		want(t, st.pass(100), "gateway.data_age", "edge-f1", nil)
		check(st, beats(st, 10, nil), 10)
	})
}

func TestReadingsBecomeSamples(t *testing.T) {
	st := newStage(t)
	payload := data(t, "9f3c0a5be1d27486-1041",
		senml.Record{Name: "sp_f1.w.r0.c1/power", Unit: "W", Time: begin - 60*minute, Value: 61.5}, // the other spelling
		senml.Record{Name: "weather_x1/temperature", Unit: "Cel", Time: begin, Value: 21},
		senml.Record{Name: "weather_x1/raining", Time: begin, Kind: senml.Bool, Value: 1},
		senml.Record{Name: "sp_f1.g0/suspect", Time: begin, Kind: senml.Text, Text: "{}"},
		senml.Record{Name: "sp_f1.g0/plug.reached", Time: begin, Value: 0},
		senml.Record{Name: "sp_f1.g0/voltage", Unit: "V\u0000", Time: begin, Value: 230},
	)
	samples := st.hear("data/edge-f1/influx_data/sp/9f3c0a5be1d27486-1041", bus.Compress(payload), false)
	if got, want := len(samples), 4; got != want {
		t.Fatalf("%d samples, want %d: %+v", got, want, samples)
	}
	got, _ := find(samples, "power", "sp_w.r0.c1")
	if got.At != begin-60*minute || got.Value != 61.5 || got.Unit != "W" || got.Gateway != "edge-f1" {
		t.Errorf("power is %+v", got)
	}
	want(t, samples, "temperature", "weather_x1", new(21.0))
	want(t, samples, "raining", "weather_x1", new(1.0))
	if got, _ := find(samples, "voltage", "sp_f1.g0"); got.Unit != "" {
		t.Errorf("unit %q would be shown to people", got.Unit)
	}
	if got := st.hear("data/edge-f1/influx_data/sp/9f3c0a5be1d27486-1041", payload, false); len(got) > 0 {
		t.Errorf("a batch sent again makes %d samples", len(got))
	}
	same := data(t, "any", senml.Record{Name: "weather_x1/temperature", Time: begin, Value: 22})
	for range 2 {
		if got := st.hear("data/weather/influx_data/outside", same, false); len(got) != 1 || got[0].Gateway != "weather" {
			t.Errorf("samples of an agent are %+v", got)
		}
	}
}

func TestBatchesAreKnownAgain(t *testing.T) {
	st := newStage(t)
	told := func(run contract.Epoch, n uint64) bool {
		batch := contract.BatchID{Epoch: run, Sequence: n}.String()
		return len(st.hear("data/edge-f1/influx_data/sp/"+batch, data(t, batch, senml.Record{Name: "sp_f1.g0/power", Time: begin}), false)) > 0
	}
	for _, n := range []uint64{10, 12, 11, 9, 20, 14, 13, 1 << 63} {
		if !told(epoch, n) || told(epoch, n) {
			t.Errorf("batch %d is not told once", n)
		}
	}
	for n := range uint64(14) {
		if got, want := told(epoch, n+1), n+1 < 9; got != want {
			t.Errorf("batch %d is told: %v, want %v", n+1, got, want)
		}
	}
	for n := range uint64(200) { // far more spans than fit
		told(2, 10*n+10)
	}
	if told(2, 2000) || told(2, 1800) || !told(2, 10) {
		t.Error("want the newest known, and the oldest not")
	}
	for n := range 20 { // more runs than fit
		told(contract.Epoch(100+n), 1)
	}
	if told(119, 1) || !told(epoch, 10) {
		t.Error("want the newest run known, and the oldest not")
	}
}
