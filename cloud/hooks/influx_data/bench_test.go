package influxdata_test

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// discard is a store and a ledger that cost nothing.
type discard struct{}

func (discard) Write(context.Context, string, []byte) error   { return nil }
func (discard) Enter(context.Context, []contract.Entry) error { return nil }
func (discard) send(string, []byte) error                     { return nil }

// batchOf is a batch as gateways send it: n readings of 100 workplaces, five
// records each, compressed.
func batchOf(tb testing.TB, sequence uint64, n int, start device.Micros) bus.Message {
	tb.Helper()
	var records []senml.Record
	for i := range n {
		plug := i % 100
		name := fmt.Sprintf("sp_f2.w.r%d.c%d/", plug/5, plug%5)
		at := start + device.Micros(i)*10_000 + device.Micros(plug*7)
		for j, m := range []struct{ name, unit string }{{"power", "W"}, {"voltage", "V"}, {"current", "A"}, {"energy", "Wh"}, {"status", "/"}} {
			v := []float64{float64((i*7919+int(sequence))%100_000) / 1000, 229 + float64(i*31%3000)/1000, float64(i%900) / 1000, float64(int(sequence)+i) / 1000, 1}[j]
			records = append(records, senml.Record{Name: name + m.name, Unit: m.unit, Time: at, Absolute: true, Kind: senml.Number, Value: v})
		}
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		tb.Fatal(err)
	}
	id := contract.BatchID{Epoch: 0x9f3c, Sequence: sequence}
	head := contract.BatchHead{Readings: n, From: records[0].Time, To: records[len(records)-1].Time}
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic("edge-f2"), Batch: &head, Data: pack}.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return bus.Message{Topic: "data/edge-f2/influx_data/sp/" + id.String(), Payload: bus.Compress(payload)}
}

// BenchmarkHandle is the hook's own share of a point: from the payload as it
// comes to the lines and the receipt as they leave.
func BenchmarkHandle(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d readings a batch", n), func(b *testing.B) {
			h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}}, slog.New(slog.DiscardHandler))
			messages := make([]bus.Message, 10)
			for i := range messages {
				messages[i] = batchOf(b, uint64(i+1), n, 1_700_000_000_000_000+device.Micros(i)*1e7)
			}
			b.ReportAllocs()
			b.ResetTimer()
			begin, used := time.Now(), cpu(b)
			points := 0
			for b.Loop() {
				h.Handle(b.Context(), messages, discard{}.send)
				points += len(messages) * n * 5
			}
			b.ReportMetric(float64(points)/time.Since(begin).Seconds(), "points/s")
			b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(points), "cpu-ns/point")
		})
	}
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
