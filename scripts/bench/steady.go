package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

// steadyTick is the time between two batches: each of a hundred gateways hands
// one in every second.
const steadyTick = time.Second / configGateways

// steady has a hundred gateways hand in so many readings a second together, and
// tell as many states: 1,000 are their ten thousand plugs polled every ten
// seconds, 10,000 every second.
func (h *hooked) steady(ctx context.Context, perSecond int) error {
	rounds, seconds := 5, 6
	if h.long {
		rounds, seconds = 10, 20
	}
	name := fmt.Sprintf("hooks_steady_%d", perSecond)
	var alone, full []time.Duration
	var p50, p99, kept []float64
	var cpuAlone, cpuFull []float64
	var told figures
	for range rounds {
		a, err := h.steadyRound(ctx, h.alone, perSecond, seconds)
		if err != nil {
			return err
		}
		before, err := h.quietly(ctx)
		if err != nil {
			return err
		}
		f, err := h.steadyRound(ctx, h.full, perSecond, seconds)
		if err != nil {
			return err
		}
		after, err := h.quietly(ctx)
		if err != nil {
			return err
		}
		told = after.less(before)
		alone, full = append(alone, a.took...), append(full, f.took...)
		p50 = append(p50, float64(median(f.took))/float64(median(a.took)))
		p99 = append(p99, float64(quantile(f.took, 0.99))/float64(quantile(a.took, 0.99)))
		kept = append(kept, 100*float64(len(f.took))/float64(len(a.took)))
		cpuAlone, cpuFull = append(cpuAlone, 100*a.cpu), append(cpuFull, 100*f.cpu)
	}
	h.note("%d readings/s and as many states/s of %d gateways, from a batch's publish to its receipt, medians of %d rounds of %d s in turns", perSecond, configGateways, rounds, seconds)
	h.fact(name+"_stored_ratio", median(kept), "%")
	for _, q := range []struct {
		name   string
		q      float64
		ratios []float64
	}{{"p50", 0.5, p50}, {"p99", 0.99, p99}} {
		h.fact(name+"_alone_"+q.name, millis(quantile(alone, q.q)), "ms")
		h.fact(name+"_subscribed_"+q.name, millis(quantile(full, q.q)), "ms")
		h.fact(name+"_ratio_"+q.name, median(q.ratios), "x")
	}
	h.fact(name+"_cpu_alone", median(cpuAlone), "% of a processor")
	h.fact(name+"_cpu_subscribed", median(cpuFull), "% of a processor")
	h.fact(name+"_in", float64(perSecond*pointsOf), "values/s")
	h.fact(name+"_republished", told["republish_published"]/float64(seconds), "messages/s")
	h.fact(name+"_superseded", told["republish_superseded"]/float64(seconds), "values/s")
	h.fact(name+"_live", told["live_events"]/float64(seconds), "events/s")
	h.shed(name, told, float64(perSecond*seconds))
	return nil
}

// pace is what a round at a steady rate took.
type pace struct {
	took []time.Duration // from publish to receipt, of each batch receipted
	cpu  float64         // of the cloud, in processors
}

// steadyRound sends at the rate for so many seconds, and waits for what is not
// receipted then.
func (h *hooked) steadyRound(ctx context.Context, c *central, perSecond, seconds int) (p pace, err error) {
	perBatch := perSecond / configGateways
	s := &source{name: "steady", receipted: make(chan string, seconds*configGateways), failed: make(chan error, 2)}
	floors := make([]*load, configGateways)
	start := device.MicrosOf(time.Now().Truncate(time.Second))
	for n := range floors {
		if floors[n], err = rooms(n+1, start); err != nil {
			return p, err
		}
	}
	epoch := contract.Epoch(rand.Uint64())
	for n := range seconds * configGateways {
		floor := n % configGateways
		one, err := makeBatch(fmt.Sprintf("edge-f%d", floor+1), floors[floor], contract.BatchID{Epoch: epoch + contract.Epoch(floor), Sequence: uint64(n/configGateways + 1)}, perBatch)
		if err != nil {
			return p, err
		}
		s.waiting = append(s.waiting, one)
	}
	if err := s.connect(c, bus.ReceiptsTopic("+")); err != nil {
		return p, err
	}
	defer s.close()
	states, err := newStates(c)
	if err != nil {
		return p, err
	}
	defer states.client.close()
	before, err := spent(c.pid())
	if err != nil {
		return p, err
	}
	sent := make(map[string]time.Time, len(s.waiting))
	answered := func(id string) { p.took = append(p.took, time.Since(sent[id])) }
	begin := time.Now()
	for n, one := range s.waiting {
		due := begin.Add(time.Duration(n) * steadyTick)
		if err := s.untilDue(ctx, due, answered); err != nil {
			return p, err
		}
		sent[one.id] = time.Now()
		if err := errors.Join(s.say.publish(one.topic, one.payload, 0), s.say.w.Flush(), states.tell(perBatch)); err != nil {
			return p, err
		}
	}
	after, err := spent(c.pid())
	if err != nil {
		return p, err
	}
	p.cpu = (after[0] - before[0]).Seconds() / time.Since(begin).Seconds()
	for end := time.Now().Add(10 * time.Second); len(p.took) < len(sent) && time.Now().Before(end); {
		if err := s.untilDue(ctx, time.Now().Add(steadyTick), answered); err != nil {
			return p, err
		}
	}
	return p, nil
}

// untilDue takes receipts until it is time to send.
func (s *source) untilDue(ctx context.Context, due time.Time, answered func(id string)) error {
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			return nil
		case id := <-s.receipted:
			answered(id)
		case err := <-s.failed:
			return fmt.Errorf("%s hears no more: %w", s.name, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// states tells the newest reading of every plug of the building, one after the
// other.
type states struct {
	client *client
	floors []*load
	topics [][]string
	next   int
	told   map[string]device.Micros // the newest of each plug
}

func newStates(c *central) (*states, error) {
	s := &states{told: make(map[string]device.Micros)}
	for n := range configGateways {
		l, err := rooms(n+1, 0)
		if err != nil {
			return nil, err
		}
		gateway := fmt.Sprintf("edge-f%d", n+1)
		var topics []string
		for _, id := range l.plugs {
			topics = append(topics, bus.StateTopic(gateway, id.String()))
		}
		s.floors, s.topics = append(s.floors, l), append(s.topics, topics)
	}
	var err error
	s.client, err = dialRole(c.mqtt, hook.ClientID("states"), hooksPassword)
	return s, err
}

// tell publishes so many.
func (s *states) tell(n int) error {
	now := device.MicrosOf(time.Now())
	for range n {
		floor := s.floors[s.next%configGateways]
		topic := s.topics[s.next%configGateways][floor.next]
		s.next++
		r := floor.read()
		r.Time = now
		s.told[r.Device.String()] = now
		pack, err := senml.Append(nil, outbox.AppendRecords(nil, r))
		if err != nil {
			return err
		}
		if err := s.client.tell(topic, pack, retain); err != nil {
			return err
		}
	}
	return s.client.w.Flush()
}
