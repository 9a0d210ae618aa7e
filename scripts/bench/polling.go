package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	plugs110 "github.com/wattline/wattline/shared/hs110"
)

// measurePolling has one collector poll 2,000 plugs, which live in another
// process of the same two cores.
func measurePolling(ctx context.Context, b *bench) error {
	length, rounds := 20*time.Second, 3
	if b.long {
		length, rounds = 5*time.Minute, 7
	}
	sim, err := b.startPlugs(ctx, 4, 100)
	if err != nil {
		return err
	}
	defer sim.stop()
	if err := b.everySecond(ctx, sim.list, length); err != nil {
		return err
	}
	return b.fullTilt(ctx, sim.list, rounds)
}

// watch stands before a driver and notes when it is asked and when it has
// answered. The collector asks one at a time.
type watch struct {
	*hs110.Plug
	begun, ended []time.Time
	failed       int
}

func (w *watch) Poll(ctx context.Context) (device.Measurement, error) {
	w.begun = append(w.begun, time.Now())
	m, err := w.Plug.Poll(ctx)
	w.ended = append(w.ended, time.Now())
	if err != nil {
		w.failed++
	}
	return m, err
}

// late is how late a plug was asked, and how late its answer was there, against
// the grid of seconds that its most punctual poll lies on; missed is how many
// seconds had no poll.
func (w *watch) late() (asked, answered time.Duration, missed int) {
	if len(w.begun) == 0 {
		return 0, 0, 0
	}
	origin := w.begun[0]
	offset := func(t time.Time) time.Duration { // against the tick that it belongs to
		d := t.Sub(origin)
		return d - d.Round(time.Second)
	}
	grid := time.Duration(0)
	for _, t := range w.begun {
		grid = min(grid, offset(t))
	}
	for i, t := range w.begun {
		asked = max(asked, offset(t)-grid)
		answered = max(answered, w.ended[i].Sub(t)+offset(t)-grid)
	}
	seconds := int(w.begun[len(w.begun)-1].Sub(origin).Round(time.Second) / time.Second)
	return asked, answered, seconds + 1 - len(w.begun)
}

// accept counts readings.
type accept struct{ n atomic.Int64 }

func (a *accept) Accept(device.Reading, bool) error {
	a.n.Add(1)
	return nil
}

func wallClock() (device.Micros, bool) { return device.MicrosOf(time.Now()), true }

// collect runs a collector for so long.
func collect(ctx context.Context, targets []collector.Target, sink *accept, length time.Duration) error {
	c := collector.New(collector.Options{Sink: sink, Clock: wallClock}, quiet)
	c.Set(targets)
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	return c.Run(ctx)
}

func newDriver(p contract.Plug) (*hs110.Plug, error) {
	return hs110.New(p.Device, hs110.Options{Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC})
}

func (b *bench) everySecond(ctx context.Context, plugs []contract.Plug, length time.Duration) error {
	watches := make([]*watch, len(plugs))
	targets := make([]collector.Target, len(plugs))
	for i, p := range plugs {
		driver, err := newDriver(p)
		if err != nil {
			return err
		}
		watches[i] = &watch{Plug: driver}
		targets[i] = collector.Target{Device: p.Device, Interval: time.Second, Meter: watches[i]}
	}
	var sink accept
	if err := collect(ctx, targets, &sink, length); err != nil {
		return err
	}
	var asked, answered time.Duration
	missed, failed := 0, 0
	for _, w := range watches {
		a, r, m := w.late()
		asked, answered = max(asked, a), max(answered, r)
		missed, failed = missed+m, failed+w.failed
	}
	b.note("%d plugs polled each second for %v, %d readings", len(plugs), length, sink.n.Load())
	b.fact("polling_asked_late_max", asked.Seconds(), "s")
	b.most("polling_answered_late_max", answered.Seconds(), 1, "s")
	b.most("polling_missed", float64(missed), 0, "polls")
	b.fact("polling_failed", float64(failed), "polls") // those under way at the end among them
	return nil
}

// fullTilt offers a collector more than it can do, in turns with loops that do
// nothing but connect, ask and read.
func (b *bench) fullTilt(ctx context.Context, plugs []contract.Plug, rounds int) error {
	const length = 4 * time.Second
	var ratios, byCPU, ours, bare, bareCPU []float64
	for range rounds {
		direct, directCPU, err := paced(func() (int, error) { return bareLoop(ctx, plugs, length) })
		if err != nil {
			return fmt.Errorf("bare loop: %w", err)
		}
		// Enough plugs that as many polls are due as the bare loop has done.
		targets, err := crowd(plugs, int(direct))
		if err != nil {
			return err
		}
		whole, wholeCPU, err := tilted(ctx, targets, length)
		if err != nil {
			return err
		}
		ours, bare = append(ours, whole), append(bare, direct)
		bareCPU = append(bareCPU, directCPU)
		ratios, byCPU = append(ratios, 100*whole/direct), append(byCPU, 100*wholeCPU/directCPU)
	}
	b.fact("polling", median(ours), "polls/s")
	b.fact("polling_bare", median(bare), "polls/s")
	b.least("polling_ratio", median(ratios), 60, "%")
	b.fact("polling_ratio_by_cpu", median(byCPU), "%")
	b.fact("polling_bare_by_cpu", median(bareCPU), "polls/CPU s")
	return nil
}

// tilted counts once every plug has been asked: the first poll of each takes two
// questions, because only the first tells whether the second is harmless.
func tilted(ctx context.Context, targets []collector.Target, length time.Duration) (perSecond, perCPU float64, err error) {
	var sink accept
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- collect(ctx, targets, &sink, time.Hour) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if err := until(ctx, nil, time.Minute, "a first poll of all", func() bool { return int(sink.n.Load()) >= 3*len(targets)/2 }); err != nil {
		return 0, 0, err
	}
	return paced(func() (int, error) {
		before := sink.n.Load()
		select {
		case <-time.After(length):
		case <-ctx.Done():
		}
		return int(sink.n.Load() - before), context.Cause(ctx)
	})
}

// paced tells how many polls a function did a second of the clock, and a second
// of this process's processor time.
func paced(do func() (polls int, err error)) (perSecond, perCPU float64, err error) {
	before, err := spent(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	n, err := do()
	took := time.Since(begin)
	if err != nil {
		return 0, 0, err
	}
	after, err := spent(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	return rate(n, took), rate(n, after[0]-before[0]), nil
}

// crowd makes n targets, several drivers for each plug.
func crowd(plugs []contract.Plug, n int) ([]collector.Target, error) {
	targets := make([]collector.Target, n)
	for i := range targets {
		id, err := device.Parse(fmt.Sprintf("sp_f%d.w%d", i/10_000+100, i))
		if err != nil {
			return nil, err
		}
		driver, err := newDriver(plugs[i%len(plugs)])
		if err != nil {
			return nil, err
		}
		targets[i] = collector.Target{Device: id, Interval: time.Second, Meter: driver}
	}
	return targets, nil
}

// bareLoop has 64 loops ask one plug after the other.
func bareLoop(ctx context.Context, plugs []contract.Plug, length time.Duration) (polls int, err error) {
	const loops = 64
	question := plugs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`))
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var done, next atomic.Int64
	errs := make([]error, loops)
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			buf := make([]byte, 8192)
			for ctx.Err() == nil && errs[i] == nil {
				plug := plugs[int(next.Add(1))%len(plugs)]
				if errs[i] = askBare(plug.Address, question, buf); errs[i] == nil {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(done.Load()), errors.Join(errs...)
}

func askBare(address string, question, buf []byte) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return err
	}
	_, err = plugs110.ReadFrame(conn, buf)
	return err
}
