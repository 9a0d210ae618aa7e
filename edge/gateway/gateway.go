// Package gateway is the edge of one floor, put together: it reads as a table of
// contents of the edge.
//
// plugs -> collector -> outbox -> forwarder -> broker is the way of a reading;
// broker -> controller -> plugs the way of a command, whose account joins the
// readings in the outbox. Beside them the newest state and the heartbeat go out
// and the configuration comes in. It starts and runs without the cloud, with
// the configuration that it was given last.
package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/edge/enrolment"
	"github.com/wattline/wattline/edge/forwarder"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Gateway is one running edge.
type Gateway struct {
	config  Config
	version string
	log     *slog.Logger
	metrics *metrics.Registry
	epoch   contract.Epoch

	probation time.Duration
	beats     func() // Options.Beat, or nothing

	clock      *Clock
	outbox     *outbox.Outbox
	forwarder  *forwarder.Forwarder
	collector  *collector.Collector
	controller *controller.Controller
	floor      *floor
	discovery  *discovery.Discovery
	found      chan struct{} // the list of plugs around is to be published
	states     *states
	link       *bus.Link
	box        *enrolment.Box // nil where nobody enrols
	cloud      *cloud
	started    time.Time
	refused    int // readings, before this start

	malformed *metrics.Counter
	sparing   hook.Sparing // of malformed messages
}

// Options are what a program passes beside the operator's Config.
type Options struct {
	Version string
	// Ticks are the clocks; the zero value stands for those of the machine.
	Ticks Ticks
	// Probation is how long a new configuration has to prove itself; default
	// [Probation].
	Probation time.Duration
	// Discovery has the times of looking for plugs, for tests; the rest of it is
	// the gateway's.
	Discovery discovery.Options
	// Beat, where set, is called once everything runs, and then with each beat of
	// the heart, every ten seconds: never again when a part hangs that the heart
	// asks. A full disk or a cloud that is away does not stop it.
	Beat func()
}

// Run is the life of a gateway: it ends with ctx, having committed what was
// read, or with an error that a person must see to.
func Run(ctx context.Context, config Config, options Options, log *slog.Logger) error {
	if options.Ticks.Wall == nil {
		options.Ticks = SystemTicks()
	}
	g := &Gateway{config: config, version: options.Version, probation: cmp.Or(options.Probation, Probation), log: log, metrics: metrics.New(), epoch: drawEpoch()}
	if g.beats = options.Beat; g.beats == nil {
		g.beats = func() {}
	}
	g.malformed = g.metrics.Counter("wattline_edge_malformed_total", "Commands and configurations that make no sense.")
	g.clock = NewClock(config.Clock, options.Ticks, log)
	g.started = time.Now()
	if err := g.openOutbox(); err != nil {
		return err
	}
	g.refused = g.outbox.Stats().Refused
	defer g.outbox.Close() // Run of the outbox has reported its last commit
	g.forwarder = forwarder.New(g.forwarderOptions(), log)
	g.states = newStates(config.Gateway)
	g.collector = collector.New(collector.Options{Sink: g.outbox, Clock: g.clock.Now, Latest: g.states.put, Metrics: g.metrics}, log)
	sweep(filepath.Join(config.Data, keptFile))
	kept := readKept(filepath.Join(config.Data, keptFile), log)
	g.controller = controller.New(controller.Options{Boot: g.clock.Boot, Note: g.note, Protections: kept.Protections, Metrics: g.metrics}, log)
	defer g.controller.Close()
	g.openDiscovery(options.Discovery)
	g.floor = newFloor(ctx, g, kept)
	g.cloud = newCloud(config.Broker.URL, g.clock)
	if err := g.openBox(); err != nil {
		return err
	}
	g.link = bus.NewLink(g.busOptions(), log)
	log.InfoContext(ctx, "gateway starts", slog.String("gateway", config.Gateway), slog.String("version", options.Version),
		slog.String("epoch", g.epoch.String()), slog.Int("readings", g.outbox.Stats().Readings), slog.String("status", config.Status.Listen))
	g.gauges()
	return g.runAll(ctx)
}

// page shows the gateway to whoever stands beside it. Readings matter more: a
// page that can't be served is logged and left out.
func (g *Gateway) page(ctx context.Context) {
	if g.config.Status.Listen == "" {
		return
	}
	page, err := status.Listen(ctx, g.config.Status, status.Options{Source: g.view, Healthy: g.healthy, Metrics: g.metrics.Handler()}, g.log)
	if err == nil {
		err = page.Run(ctx)
	}
	if err != nil {
		g.log.ErrorContext(ctx, "no status page", slog.Any("err", err))
	}
}

// runAll runs the parts. Those that take readings in end first, so that what
// they took is committed; then the heartbeat, whose last word is the farewell;
// the connection ends last.
func (g *Gateway) runAll(ctx context.Context) error {
	later, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	beating, still := context.WithCancel(later)
	defer still()
	var intake, outlet errgroup.Group
	var heart sync.WaitGroup
	intake.Go(func() error { return g.collector.Run(ctx) })
	intake.Go(func() error { g.page(ctx); return nil })
	intake.Go(func() error { g.floor.run(ctx); return nil })
	intake.Go(func() error { return g.discovery.Run(ctx) })
	if g.box != nil {
		intake.Go(func() error { return g.box.Run(ctx) })
	}
	outlet.Go(func() error { return g.outbox.Run(later) })
	outlet.Go(func() error { return g.forwarder.Run(later) })
	outlet.Go(func() error { return g.link.Run(later) })
	outlet.Go(func() error { g.states.run(later, g.link); return nil })
	outlet.Go(func() error { g.tellFound(later); return nil })
	heart.Go(func() { g.beat(beating) })
	err := intake.Wait()
	g.controller.Close()
	err = errors.Join(err, g.outbox.Commit())
	still()
	heart.Wait()
	g.farewell(ctx)
	stop()
	err = errors.Join(err, outlet.Wait())
	g.log.InfoContext(ctx, "gateway stopped", slog.String("gateway", g.config.Gateway), slog.Int("readings", g.outbox.Stats().Readings))
	return err
}

// Times of the farewell.
const (
	lastMoment = 2 * time.Second // for what was committed last
	lastWord   = time.Second
)

// farewell lets what was committed last have a moment to go out, and says that
// the gateway leaves: its will is not heard when it does so in order.
func (g *Gateway) farewell(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	g.drain(ctx)
	if !g.link.IsUp() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	s := g.status()
	s.Online = false
	if err := g.publishStatus(ctx, g.link, s); err != nil {
		g.log.DebugContext(ctx, "farewell not said", slog.Any("err", err))
	}
}

// drain waits a moment for the batches that are being sent.
func (g *Gateway) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastMoment)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil && g.link.IsUp() {
		if s := g.outbox.Stats(); s.Batches <= len(s.SetAside) {
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (g *Gateway) openOutbox() (err error) {
	config := g.config.Outbox
	if !filepath.IsAbs(config.Path) {
		config.Path = filepath.Join(g.config.Data, config.Path)
	}
	g.outbox, err = outbox.Open(outbox.Options{
		Config: config, Gateway: g.config.Gateway, Epoch: g.epoch, Clock: g.clock.Now, Boot: g.clock.Boot,
		InWindow: func(id contract.BatchID) bool { return g.forwarder != nil && g.forwarder.InWindow(id) },
	}, g.log)
	return err
}

func (g *Gateway) forwarderOptions() forwarder.Options {
	m := g.metrics
	return forwarder.Options{
		Source:            g.outbox,
		ReadingsPerSecond: g.config.CatchUp,
		Send: func(id contract.BatchID, payload []byte) error {
			topic := bus.Data{Source: g.config.Gateway, Hook: "influx_data", Database: g.floor.database(), Batch: id.String()}
			return g.link.Send(bus.Message{Topic: topic.String(), Payload: payload})
		},
		Sent:       m.Counter("wattline_forwarder_batches_sent_total", "Batches sent for the first time in this run."),
		Resent:     m.Counter("wattline_forwarder_batches_resent_total", "Batches sent again."),
		Released:   m.Counter("wattline_forwarder_batches_released_total", "Batches deleted for a receipt."),
		Unanswered: m.Counter("wattline_forwarder_answers_ignored_total", "Answers and receipts that released nothing."),
	}
}

// busOptions is the gateway's one connection: client id and will name the epoch.
func (g *Gateway) busOptions() bus.Options {
	options := g.config.Broker.options(g.config.Gateway + "-" + g.epoch.String())
	will, err := encodeStatus(contract.Status{Gateway: g.config.Gateway, Epoch: g.epoch})
	if err == nil {
		options.Will = &bus.Message{Topic: bus.StatusTopic(g.config.Gateway), Payload: will, Retained: true}
	}
	g.secure(&options)
	options.Up = g.up
	options.Failed = g.cloud.failed
	options.Down = func(err error) {
		g.cloud.lost(err)
		g.forwarder.Down()
	}
	return options
}

// up sets a new connection up: hear first, then say what is retained, then drain.
func (g *Gateway) up(ctx context.Context, s *bus.Session) error {
	own := g.config.Gateway
	if err := s.Subscribe(ctx, bus.ReceiptsTopic(own), func(m bus.Message) { g.cloud.answered(); g.forwarder.Receipts(m.Payload) }); err != nil {
		return err
	}
	if err := s.Subscribe(ctx, bus.CommandTopic(own), func(m bus.Message) { g.command(ctx, m) }); err != nil {
		return err
	}
	if err := s.Subscribe(ctx, bus.ConfigTopic(own), func(m bus.Message) { g.floor.hear(ctx, m) }); err != nil {
		return err
	}
	if err := g.publishStatus(ctx, s, g.status()); err != nil {
		return err
	}
	g.states.again()
	g.foundNow()
	g.cloud.found()
	g.forwarder.Up()
	return nil
}

// note puts the account of a switch among the readings.
func (g *Gateway) note(id device.ID, account contract.Switched) {
	at, set := g.clock.Now()
	text, err := encodeNote(account)
	if err == nil {
		err = g.outbox.Accept(device.Reading{Device: id, Time: at, Notes: map[string]string{device.Switched: text}}, set)
	}
	if err != nil {
		g.log.Error("account of a switch not kept", slog.String("device", id.String()), slog.Any("err", err))
	}
}

func drawEpoch() contract.Epoch {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return contract.Epoch(binary.BigEndian.Uint64(b[:]))
}

func (g *Gateway) gauges() {
	stats := lately(g.outbox.Stats)
	gauge := func(name, help string, value func(contract.OutboxStatus) float64) {
		g.metrics.GaugeFunc(name, help, func() float64 { return value(stats()) })
	}
	gauge("wattline_outbox_readings", "Readings that wait.", func(s contract.OutboxStatus) float64 { return float64(s.Readings) })
	gauge("wattline_outbox_batches", "Batches that wait.", func(s contract.OutboxStatus) float64 { return float64(s.Batches) })
	gauge("wattline_outbox_bytes", "Bytes of waiting batches.", func(s contract.OutboxStatus) float64 { return float64(s.Bytes) })
	gauge("wattline_outbox_file_bytes", "Size of the file.", func(s contract.OutboxStatus) float64 { return float64(s.File) })
	gauge("wattline_outbox_set_aside_batches", "Batches set aside.", func(s contract.OutboxStatus) float64 { return float64(len(s.SetAside)) })
	gauge("wattline_outbox_dropped_readings", "Readings dropped for want of room.", func(s contract.OutboxStatus) float64 { return float64(s.Dropped) })
	gauge("wattline_outbox_refused_readings", "Readings that the disk did not take.", func(s contract.OutboxStatus) float64 { return float64(s.Refused) })
	g.metrics.CounterFunc("wattline_clock_rebased_total", "Steps of the system clock that were followed.", func() float64 { return float64(g.clock.Rebased()) })
}

// lately gives what get gave within the last second: one scrape asks many times,
// and the outbox is busy with other things.
func lately(get func() contract.OutboxStatus) func() contract.OutboxStatus {
	var mu sync.Mutex // protects the two that follow
	var last contract.OutboxStatus
	var at time.Time
	return func() contract.OutboxStatus {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) > time.Second {
			last, at = get(), time.Now()
		}
		return last
	}
}
