package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	versionsFile = "config-versions.json"
	lookEvery    = 2 * time.Second // for a changed file
	settle       = 200 * time.Millisecond
	atOnce       = 64 // messages under way
	syncTime     = time.Minute
)

// Config says where the inventory is.
type Config struct {
	// Inventory is the file with the site, its gateways and places.
	Inventory string `yaml:"inventory"`
}

// DefaultConfig has every default.
func DefaultConfig() Config { return Config{Inventory: "inventory.yaml"} }

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	if c.Inventory == "" {
		return errors.New("inventory: required, the file with the site, its gateways and places")
	}
	return nil
}

// Registry publishes the inventory. Its methods are safe for concurrent use.
type Registry struct {
	cfg      Config
	versions *versions
	link     *bus.Link
	log      *slog.Logger
	reload   chan struct{} // the inventory is to be read again
	dirty    chan struct{} // the bus differs from the inventory

	mistakes *metrics.Gauge
	places   *metrics.Gauge
	gateways *metrics.Gauge

	syncing sync.Mutex // one sync at a time; protects versions

	mu      sync.Mutex // protects the fields below
	content *content
	file    stamp
	seen    *seen
	wanted  map[string][]byte // what is or is being published, by topic
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// New reads the inventory, which must be without mistakes the first time, and
// what directory remembers; the directory is made if need be. reg may be nil.
func New(cfg Config, directory string, broker bus.Options, reg *metrics.Registry, log *slog.Logger) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{
		cfg: cfg, log: log, reload: make(chan struct{}, 1), dirty: make(chan struct{}, 1), seen: newSeen(),
		mistakes: reg.Gauge("wattline_registry_inventory_mistakes", "Mistakes in the inventory file; it is not in force while there are any."),
		places:   reg.Gauge("wattline_registry_places", "Places in the inventory in force."),
		gateways: reg.Gauge("wattline_registry_gateways", "Gateways in the inventory in force."),
	}
	var lost error
	if r.versions, lost = openVersions(filepath.Join(directory, versionsFile)); lost != nil {
		log.Warn("configuration versions lost, going on above what the bus has", slog.Any("err", lost))
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	broker.ClientID = hook.ClientID("registry")
	broker.Up = r.up
	r.link = bus.NewLink(broker, log)
	return r, nil
}

// Reload asks for the inventory to be read again, as a change of the file does.
func (r *Registry) Reload() { poke(r.reload) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	var all errgroup.Group
	all.Go(func() error { return r.link.Run(ctx) })
	all.Go(func() error {
		r.watch(ctx)
		return nil
	})
	return all.Wait()
}

// watch looks after the file and the bus.
func (r *Registry) watch(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.reload:
			r.readAgain(ctx, true)
		case <-look.C:
			r.readAgain(ctx, false)
		case <-r.dirty:
			pause(ctx, settle) // what comes together is answered together
			r.sync(ctx, r.link)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// read takes the inventory in.
func (r *Registry) read() error {
	stamp := r.stampOf()
	inventory, err := Load(r.cfg.Inventory)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = stamp
	if err != nil {
		r.mistakes.Set(1)
		return fmt.Errorf("inventory: %w", err)
	}
	content, err := inventory.content()
	if err != nil {
		return fmt.Errorf("inventory: %w", err) // Load has looked already
	}
	r.content = content
	r.mistakes.Set(0)
	r.places.Set(float64(len(content.places)))
	r.gateways.Set(float64(len(content.gateways)))
	return nil
}

func (r *Registry) stampOf() stamp {
	info, err := os.Stat(r.cfg.Inventory)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// readAgain reads the inventory if it has changed or somebody asked for it. With
// mistakes in it the one in force stays.
func (r *Registry) readAgain(ctx context.Context, asked bool) {
	r.mu.Lock()
	before := r.file
	r.mu.Unlock()
	now := r.stampOf()
	if !asked && (now == before || now == stamp{}) {
		return
	}
	if err := r.read(); err != nil {
		r.log.ErrorContext(ctx, "inventory not taken, the one before stays in force", slog.Any("err", err))
		return
	}
	r.log.InfoContext(ctx, "inventory taken", slog.String("source", r.cfg.Inventory))
	r.sync(ctx, r.link)
}

// up is called on each new connection.
func (r *Registry) up(ctx context.Context, s *bus.Session) error {
	r.mu.Lock()
	r.seen = newSeen()
	seen := r.seen
	r.mu.Unlock()
	end := "responses/registry/" + hook.Instance() + "/all-heard"
	heard := make(chan struct{}, 1)
	for _, filter := range []string{bus.RegistryFilter, bus.ConfigFilter, bus.StatusFilter} {
		if err := s.Subscribe(ctx, filter, r.hear(seen)); err != nil {
			return err
		}
	}
	if err := s.Subscribe(ctx, end, func(bus.Message) { poke(heard) }); err != nil {
		return err
	}
	// The retained messages come before what is published after subscribing, so
	// this one tells that all have come.
	if err := s.Publish(ctx, bus.Message{Topic: end, Payload: []byte("{}")}); err != nil {
		return err
	}
	select {
	case <-heard:
	case <-time.After(syncTime):
		return errors.New("the broker does not give back what it has retained")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.publish(ctx, s, seen)
}

// publisher is a session that is not up yet, or the link.
type publisher interface {
	Publish(ctx context.Context, m bus.Message) error
}

// sync makes the bus what the inventory says. Without a connection it does
// nothing: the next one begins with it.
func (r *Registry) sync(ctx context.Context, to publisher) {
	if !r.link.IsUp() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	r.mu.Lock()
	seen := r.seen
	r.mu.Unlock()
	if err := r.publish(ctx, to, seen); err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "registry not published", slog.Any("err", err))
		poke(r.dirty)
	}
}

// publish publishes what seen has not and clears what it has too much.
func (r *Registry) publish(ctx context.Context, to publisher, seen *seen) error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	r.mu.Lock()
	content := r.content
	r.mu.Unlock()
	if r.versions.assign(content.configs, seen.config) {
		if err := r.versions.save(); err != nil {
			// Better an unsaved version than places that nobody learns of; what is
			// retained and the statuses keep it from going back.
			r.log.ErrorContext(ctx, "configuration versions not saved", slog.Any("err", err))
		}
	}
	topics, err := content.topics()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.wanted = topics
	r.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(atOnce)
	for topic, payload := range seen.differs(topics) {
		all.Go(func() error {
			return to.Publish(ctx, bus.Message{Topic: topic, Payload: payload, Retained: true})
		})
	}
	return all.Wait()
}
