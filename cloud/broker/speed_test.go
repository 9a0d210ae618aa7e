package broker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

// BenchmarkDrain is what the outboxes of many gateways do to a broker: windows
// of 64 batches of 4 kB, QoS 1, to one listener of a shared subscription that
// answers each batch with a receipt. Mosquitto does the same beside it.
func BenchmarkDrain(b *testing.B) {
	for _, gateways := range []int{1, 3, 50} {
		b.Run(fmt.Sprintf("wattline/gateways=%d", gateways), func(b *testing.B) {
			br := start(b)
			drain(b, br.URL(), gateways)
			if br.Dropped() > 0 {
				b.Errorf("%d dropped", br.Dropped())
			}
		})
		b.Run(fmt.Sprintf("mosquitto/gateways=%d", gateways), func(b *testing.B) {
			drain(b, bustest.Start(b).URL, gateways)
		})
	}
}

func drain(b *testing.B, url string, gateways int) {
	var hook *bus.Link
	hook = link(b, url, bus.Options{ClientID: "hook", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "$share/influx_data/data/+/influx_data/#", func(m bus.Message) {
			d, err := bus.ParseData(m.Topic)
			if err != nil {
				b.Error(err)
				return
			}
			if err := hook.Send(bus.Message{Topic: bus.ReceiptsTopic(d.Source), Payload: []byte("{}")}); err != nil {
				b.Error(err)
			}
		})
	}})
	batch := make([]byte, 4096)
	var received, sent atomic.Int64
	all := make(chan struct{})
	windows := make([]chan struct{}, gateways)
	links := make([]*bus.Link, gateways)
	for i := range gateways {
		windows[i] = make(chan struct{}, 64)
		name := fmt.Sprintf("g%d", i)
		links[i] = link(b, url, bus.Options{ClientID: name, Up: func(ctx context.Context, s *bus.Session) error {
			return s.Subscribe(ctx, bus.ReceiptsTopic(name), func(bus.Message) {
				<-windows[i]
				if received.Add(1) == int64(b.N) {
					close(all)
				}
			})
		}})
	}
	b.SetBytes(4096)
	b.ResetTimer()
	var senders sync.WaitGroup
	for i, l := range links {
		senders.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				windows[i] <- struct{}{}
				if err := l.Send(bus.Message{Topic: fmt.Sprintf("data/g%d/influx_data/sp/x", i), Payload: batch}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	senders.Wait()
	select {
	case <-all:
	case <-within(b).Done():
		b.Fatalf("%d of %d received", received.Load(), b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
}
