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
func crowd(tb testing.TB) (*engine.Engine, []device.ID) {
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
	ids := make([]device.ID, 10_000)
	for n := range ids {
		ids[n] = id(tb, fmt.Sprintf("sp_f%d.w.r%d.c%d", n/100, n%100/10, n%10))
		h.places[ids[n]] = contract.Place{Device: ids[n], Gateway: fmt.Sprintf("edge-f%d", n/100), MaxPower: 2000}
	}
	return engine.New(file, h), ids
}

// BenchmarkSecond is a second of 10,000 plugs that tell four values each: it must
// take less than a second of one core.
func BenchmarkSecond(b *testing.B) {
	e, ids := crowd(b)
	now := at(begin)
	for b.Loop() {
		now += 1_000_000
		for n, d := range ids {
			for _, m := range []string{"power", "voltage", "current", "status"} {
				e.Take(engine.Sample{Subject: engine.Subject{Device: d}, Signal: m, At: now, Value: float64(n%97) + float64(now%13)}, now)
			}
		}
		e.Tick(now)
	}
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N), "cores")
	b.ReportMetric(float64(e.Watched()), "series")
}
