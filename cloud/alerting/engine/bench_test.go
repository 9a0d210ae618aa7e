package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// crowd is 10,000 plugs and 50 rules: those of the defaults, and more for the
// measurements that come most.
func crowd(tb testing.TB) (e *engine.Engine, ids []device.ID, gateways []string) {
	tb.Helper()
	file := rule.Defaults()
	for n := len(file.Rules); n < 50; n++ {
		limit := 3000 + float64(n)
		file.Rules = append(file.Rules, rule.Rule{
			Name: fmt.Sprintf("more-%d", n), Severity: contract.Info, Signal: []string{"power", "voltage", "current", "status"}[n%4],
			Condition: rule.Condition{Above: &limit}, For: rule.Duration(time.Minute), Summary: "{label}",
		})
	}
	h := &house{places: make(map[device.ID]contract.Place)}
	ids, gateways = make([]device.ID, 10_000), make([]string, 10_000)
	for n := range ids {
		ids[n] = id(tb, fmt.Sprintf("sp_f%d.w.r%d.c%d", n/100, n%100/10, n%10))
		gateways[n] = fmt.Sprintf("edge-f%d", n/100)
		h.places[ids[n]] = contract.Place{Device: ids[n], Gateway: gateways[n], MaxPower: 2000}
	}
	return engine.New(file, h), ids, gateways
}

// BenchmarkSecond is a second of 10,000 plugs that tell four values each: it must
// take less than a second of one core.
func BenchmarkSecond(b *testing.B) {
	e, ids, gateways := crowd(b)
	now := at(begin)
	for b.Loop() {
		now += 1_000_000
		for n, d := range ids {
			for _, m := range []string{"power", "voltage", "current", "status"} {
				e.Take(engine.Sample{Subject: engine.Subject{Device: d}, Signal: m, Gateway: gateways[n], At: now, Value: float64(n%97) + float64(now%13)}, now)
			}
		}
		e.Tick(now)
	}
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N), "cores")
	b.ReportMetric(float64(e.Watched()), "series")
}

// BenchmarkRehouse is what a change of one label costs ten thousand plugs: nothing
// else is looked at meanwhile.
func BenchmarkRehouse(b *testing.B) {
	e, ids, gateways := crowd(b)
	now := at(begin)
	for n, d := range ids {
		for _, m := range []string{"power", "voltage", "current", "status"} {
			e.Take(engine.Sample{Subject: engine.Subject{Device: d}, Signal: m, Gateway: gateways[n], At: now, Value: 1}, now)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		now += 1_000_000
		e.Rehouse(now)
	}
}
