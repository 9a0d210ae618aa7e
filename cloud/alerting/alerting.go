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

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

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
	queueMessages = 10_000
	queueBytes    = 64 << 20
	tickEvery     = time.Second
	saveEvery     = time.Minute
	pruneEvery    = time.Hour
	sendTimeout   = time.Minute
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
	log     *slog.Logger
	now     func() time.Time
	counted counted

	mu       sync.Mutex // protects the fields below
	engine   *engine.Engine
	signals  *signals.Signals
	file     rule.File
	revision uint64
	unsaved  []engine.Change
	windows  []engine.Maintenance
	recent   []contract.Alert // ended within the last recentFor

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
	a.options = options
	listen := options
	listen.Up, listen.Down = a.up, a.down
	a.link = hook.NewListener(Name, listen, log, a.take) // alone: it subscribes by itself
	return a, nil
}

func prepare(cfg Config, data string, reg *metrics.Registry, log *slog.Logger) *Alerting {
	a := &Alerting{
		config: cfg, data: data, queue: hook.NewQueue(queueMessages, queueBytes), log: log, now: time.Now, signals: signals.New(log), publishing: newPublishing(),
		audience: &audience{},
		counted: counted{
			samples:   reg.Counter("wattline_alerting_samples_total", "Values that rules looked at."),
			dropped:   reg.Counter("wattline_alerting_dropped_total", "Messages that came while the queue was full."),
			unwritten: reg.Counter("wattline_alerting_unwritten_total", "Changes of alerts lost because the disk took nothing for too long."),
			firing:    reg.Gauge("wattline_alerting_firing", "Alerts that fire."),
		},
	}
	reg.CounterFunc("wattline_alerting_malformed_total", "Messages that say nothing, or more than there is room for.", func() float64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		return float64(a.signals.Malformed())
	})
	reg.GaugeFunc("wattline_alerting_receivers_failing", "Receivers that do not take their messages.", func() float64 { return float64(a.desk.Failing()) })
	return a
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
		all.Go(func() error { return component.Serve(running, a.options, a.log) })
	}
	asker := bus.NewAsker(Name+"/"+hook.Instance(), a.askOptions(), nil, a.log)
	all.Go(func() error { return asker.Run(running) })
	all.Go(func() error { return a.desk.Run(running) })
	for _, s := range a.states {
		all.Go(func() error { return s.Run(running, a.current) })
	}
	for _, work := range []func(context.Context){a.watch, a.publishAll, func(ctx context.Context) { a.ask(ctx, asker) }} {
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
	o.ClientID = hook.ClientID(Name + "-asks")
	return o
}

// take hands a message over: the connection's one reader must not wait.
func (a *Alerting) take(m bus.Message) {
	if !a.queue.Put(m) {
		a.counted.dropped.Inc()
	}
}

// watch looks at what came, and lets time pass.
func (a *Alerting) watch(ctx context.Context) {
	tick, save, prune := time.NewTicker(tickEvery), time.NewTicker(saveEvery), time.NewTicker(pruneEvery)
	defer tick.Stop()
	defer save.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-a.queue.Next():
			a.hear(m) //nolint:contextcheck // what is logged of a message belongs to no request
			a.queue.Took(m)
		case <-tick.C:
			a.tick()
		case <-save.C:
			if err := a.save(); err != nil {
				a.log.ErrorContext(ctx, "what is pending was not saved; after a crash it would have to hold anew", slog.Any("err", err))
			}
		case <-prune.C:
			a.prune(ctx)
		}
	}
}

// hear takes in one message.
func (a *Alerting) hear(m bus.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	if a.stale(m) {
		return
	}
	a.judge(a.signals.Hear(m, now), now)
}

// tick lets time pass.
func (a *Alerting) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	if a.signals.Changed() {
		a.change(a.engine.Rehouse(now))
	}
	a.judge(a.signals.Tick(now), now)
	a.judge(a.signals.TakeReceivers(a.desk.Failing(), now), now)
	a.change(a.engine.Tick(now)) // and what could not be written before
	a.forgetRecent(now)
}

// judge shows samples to the rules.
func (a *Alerting) judge(samples []engine.Sample, now device.Micros) {
	a.counted.samples.Add(float64(len(samples)))
	var changes []engine.Change
	for _, s := range samples {
		changes = append(changes, a.engine.Take(s, now)...)
	}
	if len(changes) > 0 {
		a.change(changes)
	}
}

// change writes what the engine changed, then lets it be told.
func (a *Alerting) change(changes []engine.Change) {
	if len(changes) == 0 && len(a.unsaved) == 0 {
		return
	}
	if err := a.keep(changes); err != nil {
		a.log.Error("alerts not written; they wait, and nobody is told yet", slog.Any("err", err))
		a.unsaved = append(a.unsaved, changes...)
		if more := len(a.unsaved) - maxUnsaved; more > 0 {
			a.unsaved = a.unsaved[more:]
			a.counted.unwritten.Add(float64(more))
		}
	}
}

// keep writes changes and what waited for a better disk, and has them told.
func (a *Alerting) keep(changes []engine.Change) error {
	all := append(a.unsaved, changes...)
	if len(all) == 0 {
		return nil
	}
	now := a.micros()
	if err := a.archive.Keep(all, func(tx *bbolt.Tx) error { return a.desk.Enter(tx, all, now) }); err != nil {
		return err
	}
	a.unsaved = nil
	a.counted.firing.Set(float64(len(a.engine.Firing())))
	for _, c := range all {
		if c.Kind == engine.Late {
			continue
		}
		a.publish(c.Alert)
		if c.Kind == engine.Ended {
			a.recent = append(a.recent, c.Alert)
		}
	}
	a.desk.Poke()
	for _, s := range a.states {
		s.Poke()
	}
	return nil
}

// save keeps what is pending, so that a restart need not wait anew.
func (a *Alerting) save() error {
	a.mu.Lock()
	remembered := a.engine.Remember()
	a.mu.Unlock()
	return a.archive.Remember(remembered)
}

func (a *Alerting) prune(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = a.archive.Prune(a.now()); err != nil {
			a.log.ErrorContext(ctx, "old alerts not pruned", slog.Any("err", err))
			return
		}
	}
}

// ask asks the other components how they are, and the disk how full it is.
func (a *Alerting) ask(ctx context.Context, asker *bus.Asker) {
	questions := signals.NewQuestions(asker.Link().IsUp, a.log)
	ticker := time.NewTicker(signals.AskEvery)
	defer ticker.Stop()
	for {
		a.mu.Lock()
		about := a.signals.About()
		a.mu.Unlock()
		answers := questions.Ask(ctx, asker, about)
		a.mu.Lock()
		now := a.micros()
		a.judge(a.signals.Take(answers, now), now)
		if percent, err := used(a.data); err == nil {
			a.judge(a.signals.TakeDisk(percent, now), now)
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// used is how full the disk of a directory is, in percent, for those who are not
// root.
func used(dir string) (percent float64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look how full the disk of %s is: %w", dir, err)
	}
	taken := float64(fs.Blocks - fs.Bfree)
	return 100 * taken / max(1, taken+float64(fs.Bavail)), nil
}

func text(v any) json.RawMessage {
	b, _ := json.Marshal(v) // of our own types, which encode
	return b
}
