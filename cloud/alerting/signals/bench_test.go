package signals_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// BenchmarkReadings is what alerting costs of a reading, five values of one of a
// hundred plugs, from the payload to the rules, which are the defaults.
func BenchmarkReadings(b *testing.B) {
	const plugs = 100
	batches := make([][]byte, 200) // a second each
	for n := range batches {
		var records []senml.Record
		for plug := range plugs {
			at := begin + device.Micros(n)*1_000_000 + device.Micros(plug)
			for _, m := range []struct {
				name, unit string
				value      float64
			}{{"power", "W", float64(n%97) / 7}, {"voltage", "V", 230 + float64(n%13)/10}, {"current", "A", 0.1}, {"energy", "Wh", float64(n)}, {"status", "/", 1}} {
				name := fmt.Sprintf("sp_f1.w.r%d.c%d/%s", plug/10, plug%10, m.name)
				records = append(records, senml.Record{Name: name, Unit: m.unit, Time: at, Absolute: true, Kind: senml.Number, Value: m.value})
			}
		}
		pack, err := senml.Append(nil, records)
		if err != nil {
			b.Fatal(err)
		}
		payload, err := bus.Envelope{ID: fmt.Sprintf("%v-%d", epoch, n+1), Data: pack}.Encode()
		if err != nil {
			b.Fatal(err)
		}
		batches[n] = bus.Compress(payload)
	}
	begun := func() (*stage, *engine.Engine) {
		st := newStage(b)
		for plug := range plugs {
			st.place(fmt.Sprintf("sp_f1.w.r%d.c%d", plug/10, plug%10), contract.Place{Gateway: "edge-f1", MaxPower: 2000})
		}
		e := engine.New(rule.Defaults(), st.s.House())
		st.s.Watch(e.Watches)
		return st, e
	}
	var st *stage
	var e *engine.Engine
	b.ReportAllocs()
	n, used := 0, cpu(b)
	for b.Loop() {
		if n%len(batches) == 0 {
			st, e = begun()
		}
		st.now += 1_000_000
		for _, s := range st.hear("data/edge-f1/influx_data/sp", batches[n%len(batches)], false) {
			e.Take(s, st.now)
		}
		n++
	}
	b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(n*plugs), "cpu-ns/reading")
}

// cpu is what this process has computed for: unlike the clock it is the same on
// a busy machine.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
