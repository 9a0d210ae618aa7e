package controller

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

// DefaultStagger is the pause between two plugs that one command switches on.
const DefaultStagger = 200 * time.Millisecond

// Bounds on what a gateway takes on. A command beyond them is answered
// unreachable at once.
const (
	// MaxUnderWay commands may be unfinished.
	MaxUnderWay = 256
	// MaxSwitches may be in one command.
	MaxSwitches = 4096
	// MaxAhead is the longest time to a deadline; until then its id is kept.
	MaxAhead = time.Hour

	maxCommands = 1024  // remembered, unfinished ones included
	maxResults  = 16384 // remembered in all
	maxText     = 256   // bytes of a command's id, who and reason, each
	maxDetail   = 200   // bytes of a result's detail
	maxAskers   = 4     // who asked for the same command
	atOnce      = 256   // plugs being switched
)

// Switcher is one plug. Switch puts its relay into the state on, reads the relay
// back and returns what it shows; it goes before polls of the same plug and
// returns soon after ctx ends. Its errors may tell in one word what is wrong with
// the plug, by a method Reason() string.
type Switcher interface {
	Switch(ctx context.Context, on bool) (readBack bool, err error)
}

// Target is a plug that may be switched, or, where Protected gives the reason
// why not, must never be.
type Target struct {
	Device    device.ID
	Protected string
	Switcher  Switcher
}

// Options are what a Controller works with.
type Options struct {
	// Boot is the clock of deadlines: the id of this boot and the seconds since.
	Boot func() (id string, monotonic float64)
	// Note puts the account of a switch into the outbox, as a reading of now.
	Note func(id device.ID, text contract.Switched)
	// Protections are those that an earlier run knew; see [Controller.Protections].
	Protections Protections
	Metrics     *metrics.Registry // may be nil
}

// Protections are the protected places, by the newest configuration that was
// ever heard of. A gateway keeps them over restarts, so that it may start with
// an older configuration.
type Protections struct {
	Version uint64               `json:"version"`
	Places  map[device.ID]string `json:"places"` // with the reason
}

// Controller carries out commands. Its methods are safe for concurrent use.
type Controller struct {
	o     Options
	log   *slog.Logger
	count counts
	slots chan struct{} // plugs being switched
	work  sync.WaitGroup

	mu          sync.Mutex // protects what follows and all orders, desks and tasks
	closed      bool
	version     uint64
	targets     map[device.ID]Target
	protections Protections
	stagger     time.Duration
	orders      map[string]*order // by command id
	results     int               // places in the orders
	desks       map[device.ID]*desk
}

type counts struct {
	commands, repeated, late *metrics.Counter
	outcomes                 *metrics.CounterVec
	took                     *metrics.Histogram
}

// New returns a Controller without plugs; see [Controller.Set].
func New(o Options, log *slog.Logger) *Controller {
	if o.Protections.Places == nil {
		o.Protections.Places = map[device.ID]string{}
	}
	r := o.Metrics
	return &Controller{
		o: o, log: log,
		count: counts{
			commands: r.Counter("wattline_controller_commands_total", "Commands received, repeated ones included."),
			repeated: r.Counter("wattline_controller_repeated_total", "Commands that were known already and not carried out again."),
			late:     r.Counter("wattline_controller_late_total", "Commands that arrived after their deadline or in another boot."),
			outcomes: r.CounterVec("wattline_controller_switches_total", "Switches by how they ended.", 16, "outcome"),
			took:     r.Histogram("wattline_controller_switch_seconds", "Duration of a switch, its reading back included.", 0.1, 0.25, 0.4, 0.5, 0.75, 1, 2.5, 5, 10),
		},
		slots:       make(chan struct{}, atOnce),
		targets:     map[device.ID]Target{},
		protections: o.Protections,
		stagger:     DefaultStagger,
		orders:      map[string]*order{},
		desks:       map[device.ID]*desk{},
	}
}

// Set makes targets the plugs of the floor, from the configuration of that
// version. A newer version says what is protected; the version that is known
// already, or an older one, only adds to it. What waits to be switched is judged
// by the targets of the moment when its turn comes.
func (c *Controller) Set(version uint64, targets []Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	c.targets = make(map[device.ID]Target, len(targets))
	if version > c.protections.Version {
		c.protections = Protections{Version: version, Places: map[device.ID]string{}}
	}
	for _, t := range targets {
		c.targets[t.Device] = t
		if t.Protected != "" {
			c.protections.Places[t.Device] = t.Protected
		}
	}
}

// SetStagger sets the pause between two plugs that one command switches on, 0
// for none. It holds from the next plug on.
func (c *Controller) SetStagger(pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stagger = max(pause, 0)
}

// Protections are what a later run should know, to be kept beside the
// configuration whenever that changes.
func (c *Controller) Protections() Protections {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Protections{Version: c.protections.Version, Places: maps.Clone(c.protections.Places)}
}

// Close gives up what is under way, waits until that is answered, and ignores
// what comes later. It is safe to call it twice.
func (c *Controller) Close() {
	c.mu.Lock()
	c.closed = true
	for _, o := range c.orders {
		o.cancel(errStopping)
	}
	c.mu.Unlock()
	c.work.Wait()
}
