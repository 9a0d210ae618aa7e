package alerting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Name is that of the component, and of the file below the data directory.
const Name = "alerting"

const (
	queueMessages = 250_000 // with each connection comes all of a house, and what fires
	queueBytes    = 64 << 20
	tickEvery     = time.Second
	saveEvery     = time.Minute
	pruneEvery    = time.Hour
	// sendTimeout is longer than what senders may be told to wait: they bound
	// themselves, and no receiver waits for another.
	sendTimeout = 20 * time.Minute
	// maxUnsaved bounds the changes that wait for a disk that takes nothing.
	maxUnsaved = 10_000
)

// Alerting is the role. Its methods are safe for concurrent use.
type Alerting struct {
	config  Config
	data    string // directory
	archive *archive.Archive
	desk    *notify.Desk
	*audience
	queue   *hook.Queue
	options bus.Options
	link    *bus.Link
	hears   chan struct{} // closed once it hears the bus
	heard   func()        // closes hears
	log     *slog.Logger
	now     func() time.Time
	ran     func() time.Duration // by the clock that nobody sets
	counted counted

	mu       sync.Mutex // protects the fields below
	engine   *engine.Engine
	signals  *signals.Signals
	file     rule.File
	revision uint64
	unsaved  []engine.Change
	windows  []engine.Maintenance
	recent   []ended // within the last recentFor
	looked   looked
	rehoused device.Micros

	publishing
}

type counted struct {
	samples, dropped, unwritten *metrics.Counter
	firing                      *metrics.Gauge
}

// New opens what was kept below the data directory, and makes the receivers; a
// mistake in their configuration is told here. Run closes it.
func New(cfg Config, data string, options bus.Options, reg *metrics.Registry, log *slog.Logger) (*Alerting, error) {
	a := prepare(cfg, data, reg, log)
	receivers, err := cfg.audience(a.site, a.zone, log)
	if err != nil {
		return nil, err
	}
	a.audience = receivers
	if err := a.open(receivers.told); err != nil {
		receivers.close()
		return nil, err
	}
	// Only now: it may be asked from here on, and asks the queues.
	reg.CounterFunc("wattline_alerting_damaged_total", "Notifications that could not be read and were set aside.", func() float64 { return float64(a.desk.Damaged()) })
	reg.GaugeFunc("wattline_alerting_receivers_failing", "Receivers that do not take their messages.", func() float64 { return float64(a.failing()) })
	a.options = options
	listen := options
	listen.Up, listen.Down = a.up, a.down
	a.link = hook.NewListener(Name, listen, log, a.take) // alone: it subscribes by itself
	return a, nil
}

func prepare(cfg Config, data string, reg *metrics.Registry, log *slog.Logger) *Alerting {
	a := &Alerting{
		config: cfg, data: data, queue: hook.NewQueue(queueMessages, queueBytes), log: log, now: time.Now, signals: signals.New(log), publishing: newPublishing(),
		audience: &audience{}, hears: make(chan struct{}),
		counted: counted{
			samples:   reg.Counter("wattline_alerting_samples_total", "Values that rules looked at."),
			dropped:   reg.Counter("wattline_alerting_dropped_total", "Messages that came while the queue was full."),
			unwritten: reg.Counter("wattline_alerting_unwritten_total", "Changes of alerts lost because the disk took nothing for too long."),
			firing:    reg.Gauge("wattline_alerting_firing", "Alerts that fire."),
		},
	}
	begin := time.Now()
	a.ran = func() time.Duration { return time.Since(begin) }
	a.heard = sync.OnceFunc(func() { close(a.hears) })
	a.count(reg, "wattline_alerting_malformed_total", "Messages that say nothing, or more than there is room for.", func() int { return a.signals.Malformed() })
	a.count(reg, "wattline_alerting_unwatched_total", "Values that nobody looked at: their source, or all, have more series than are watched.", func() int { return a.engine.Dropped() })
	a.count(reg, "wattline_alerting_foreign_total", "Values of a place that another source than its own gateway sent; they say nothing.", func() int { return a.engine.Foreign() })
	return a
}

// count has what the engine and its samples count shown; nothing before they are
// there.
func (a *Alerting) count(reg *metrics.Registry, name, help string, n func() int) {
	reg.CounterFunc(name, help, func() float64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.engine == nil {
			return 0
		}
		return float64(n())
	})
}

// open begins with the rules and alerts as they were.
func (a *Alerting) open(receivers []notify.Receiver) (err error) {
	if a.archive, err = archive.Open(filepath.Join(a.data, Name, Name+".db"), a.log); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.archive.Close())
		}
	}()
	if a.file, a.revision, err = a.archive.Rules(); err != nil {
		return err
	}
	if a.revision == 0 {
		if err := a.first(); err != nil {
			return err
		}
	}
	if err := a.config.checkRules(&a.file); err != nil {
		a.log.Error("rules tell receivers that are not configured any more; of their alerts nobody hears", slog.Any("err", err))
	}
	now := a.micros()
	if a.windows, err = a.archive.Windows(now); err != nil {
		return err
	}
	a.desk, err = notify.Open(a.archive.DB(), receivers, notify.Options{Site: a.site, Link: a.config.Link, SendTimeout: sendTimeout}, a.log)
	if err != nil {
		return err
	}
	remembered, err := a.archive.Recall()
	if err != nil {
		return err
	}
	a.engine = engine.New(a.file, a.signals.House())
	a.signals.Watch(a.engine.Watches)
	a.engine.Maintain(a.windows)
	return a.keep(a.engine.Recall(remembered, now))
}

// first takes the rules of the configured file, or those of the program.
func (a *Alerting) first() error {
	file, from := rule.Defaults(), "the program"
	if a.config.Rules != "" {
		var err error
		if file, err = rule.Load(a.config.Rules); err != nil {
			return fmt.Errorf("alerting.rules: %w", err)
		}
		if err := a.config.checkRules(&file); err != nil {
			return fmt.Errorf("alerting.rules: %s: %w", a.config.Rules, err)
		}
		from = a.config.Rules
	}
	revision, err := a.archive.SetRules(file, contract.Audited{At: a.micros(), Who: Name, What: "import rules", Detail: "from " + from, Result: "done"})
	a.file, a.revision = file, revision
	return err
}

func (a *Alerting) micros() device.Micros { return device.MicrosOf(a.now()) }

// site is asked by the queues, outside the lock.
func (a *Alerting) site() contract.Site {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.signals.House().Site()
}

// zone is the site's, UTC as long as nobody has said which.
func (a *Alerting) zone() *time.Location {
	zone, err := time.LoadLocation(a.site().TimeZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

// Run watches until ctx ends, and closes what it opened.
func (a *Alerting) Run(ctx context.Context) error {
	all, running := errgroup.WithContext(ctx)
	all.Go(func() error { return a.link.Run(running) })
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		component := hook.Component{Name: Name, Family: family, Handle: a.handle(family)}
		all.Go(func() error {
			select {
			case <-a.hears: // who asks for what it says may count on what is measured next
				return component.Serve(running, a.options, a.log)
			case <-running.Done():
				return nil
			}
		})
	}
	asker := bus.NewAsker(Name+"/"+hook.Instance(), a.askOptions(), nil, a.log)
	all.Go(func() error { return asker.Run(running) })
	all.Go(func() error { return a.desk.Run(running) })
	for _, s := range a.states {
		all.Go(func() error { return s.Run(running, a.current) })
	}
	says := asker.Link()
	for _, work := range []func(context.Context){a.watch, func(ctx context.Context) { a.publishAll(ctx, says) }, func(ctx context.Context) { a.ask(ctx, asker) }} {
		all.Go(func() error {
			work(running)
			return nil
		})
	}
	err := all.Wait()
	a.audience.close()
	return errors.Join(err, a.save(), a.archive.Close())
}

func (a *Alerting) askOptions() bus.Options {
	o := a.options
	o.ClientID, o.Up = hook.ClientID(Name+"-asks"), a.again
	return o
}

func text(v any) json.RawMessage {
	b, _ := json.Marshal(v) // of our own types, which encode
	return b
}
