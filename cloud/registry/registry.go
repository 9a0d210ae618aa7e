package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	name      = "registry" // of the component
	lookEvery = 10 * time.Second
	saveEvery = time.Minute
	settle    = 200 * time.Millisecond
	atOnce    = 64 // messages under way
	syncTime  = time.Minute
	// publishAgain is how long after a failure.
	publishAgain = 5 * time.Second
)

// Config is what an operator says of the registry.
type Config struct {
	// Inventory is a YAML file with a site, its gateways and places that is
	// imported once, when the registry has none.
	Inventory string `yaml:"inventory"`
}

// DefaultConfig has every default.
func DefaultConfig() Config { return Config{Inventory: "inventory.yaml"} }

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error { return nil }

// Registry is the store on the bus: it answers, and publishes what must be known
// of it. Its methods are safe for concurrent use.
type Registry struct {
	cfg     Config
	store   *Store
	options bus.Options
	link    *bus.Link
	log     *slog.Logger
	dirty   chan struct{} // the bus differs from the registry
	changed chan struct{} // the registry differs from the bus
	looked  chan struct{} // a gateway has told what it found
	file    stamp         // of the first inventory

	places   *metrics.Gauge
	gateways *metrics.Gauge
	plugs    *metrics.Gauge

	syncing sync.Mutex // one sync at a time

	mu     sync.Mutex // protects the fields below
	seen   *seen
	wanted map[string][]byte // what is or is being published, by topic
	found  map[string][]byte // by gateway, what is to be taken in
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// New opens the registry below the data directory and imports the first
// inventory if need be, which must be without mistakes. [Registry.Run] closes it.
// reg may be nil.
func New(cfg Config, data string, broker bus.Options, reg *metrics.Registry, log *slog.Logger) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	store, err := Open(data, log)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		cfg: cfg, store: store, options: broker, log: log, dirty: make(chan struct{}, 1), changed: make(chan struct{}, 1), looked: make(chan struct{}, 1),
		seen: newSeen(), found: make(map[string][]byte),
		places:   reg.Gauge("wattline_registry_places", "Places that are registered."),
		gateways: reg.Gauge("wattline_registry_gateways", "Gateways that are registered."),
		plugs:    reg.Gauge("wattline_registry_plugs", "Plugs that gateways have found, placed or not."),
	}
	r.file = r.stampOf()
	if err := store.first(cfg.Inventory); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r.count()
	broker.ClientID = hook.ClientID(name)
	broker.Up = r.up
	r.link = bus.NewLink(broker, log)
	return r, nil
}

// Store is the registry without the bus.
func (r *Registry) Store() *Store { return r.store }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run answers and publishes until ctx ends, and closes the registry. It begins to
// publish when it can be asked, so that a request of somebody who waited to hear
// of the site is not lost.
func (r *Registry) Run(ctx context.Context) error {
	all, running := errgroup.WithContext(ctx)
	var answers []<-chan struct{}
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		component := hook.Component{Name: name, Family: family, Handle: r.handle(family)}
		up := make(chan struct{}, 1)
		options := r.options
		options.Up = func(context.Context, *bus.Session) error {
			poke(up)
			return nil
		}
		answers = append(answers, up)
		all.Go(func() error { return component.Serve(running, options, r.log) })
	}
	all.Go(func() error {
		for _, up := range answers {
			select {
			case <-up:
			case <-running.Done():
				return nil
			}
		}
		return r.link.Run(running)
	})
	all.Go(func() error {
		r.watch(running)
		return nil
	})
	return errors.Join(all.Wait(), r.store.Close())
}

// handle answers the requests of one family.
func (r *Registry) handle(family hook.Family) func(context.Context, hook.Request, *hook.Answer) error {
	return func(ctx context.Context, request hook.Request, w *hook.Answer) error {
		var asked contract.RegistryRequest
		var answer contract.RegistryAnswer
		switch err := json.Unmarshal(request.Data, &asked); {
		case err != nil:
			answer = refuse(contract.Invalid, "not a request to the registry: %v", err)
		case IsQuery(asked.Verb) != (family == hook.Queries):
			answer = refuse(contract.Invalid, "%.40q is no %s", asked.Verb, family)
		default:
			answer = r.store.Answer(ctx, request.Subpath, asked)
			if family == hook.Commands && answer.Problem == nil && !asked.DryRun {
				poke(r.changed)
			}
		}
		text, err := json.Marshal(answer)
		if err == nil {
			w.Send(text, nil)
		}
		return err
	}
}

// watch looks after the bus and what comes from it.
func (r *Registry) watch(ctx context.Context) {
	look, save := time.NewTicker(lookEvery), time.NewTicker(saveEvery)
	defer look.Stop()
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
			r.count()
			r.sync(ctx, r.link)
		case <-r.dirty:
			pause(ctx, settle) // what comes together is answered together
			r.sync(ctx, r.link)
		case <-r.looked:
			r.takeFound(ctx)
		case <-save.C:
			r.store.saveSeen()
			r.count()
		case <-look.C:
			r.remind()
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

// takeFound takes in what gateways have found.
func (r *Registry) takeFound(ctx context.Context) {
	r.mu.Lock()
	all := r.found
	r.found = make(map[string][]byte)
	r.mu.Unlock()
	for gateway, payload := range all {
		var found contract.Found
		if json.Unmarshal(payload, &found) != nil {
			continue // a gateway's own harm; its status tells its version
		}
		changed, err := r.store.Found(gateway, found)
		if err != nil && r.store.said.May("found "+gateway) {
			r.log.ErrorContext(ctx, "plugs found not kept", slog.String("gateway", gateway), slog.Any("err", err))
		}
		if changed {
			poke(r.changed)
		}
	}
}

func (r *Registry) count() {
	places, gateways, plugs := r.store.counts()
	r.places.Set(float64(places))
	r.gateways.Set(float64(gateways))
	r.plugs.Set(float64(plugs))
}

func (r *Registry) stampOf() stamp {
	info, err := os.Stat(r.cfg.Inventory)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// remind tells whoever writes the first inventory again that it is not read.
func (r *Registry) remind() {
	now := r.stampOf()
	if now == r.file {
		return
	}
	if r.file = now; now != (stamp{}) {
		r.store.remind(r.cfg.Inventory)
	}
}
