package spcommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Name is the component's name on the bus.
const Name = "sp_command"

const (
	concurrent = 1024        // commands under way
	slack      = time.Second // for the answer to travel, after the deadline
	waitBeat   = 15 * time.Second
)

// Config is what an operator may set.
type Config struct {
	// Deadline is the time that a gateway has for a command that says none, beside
	// its pauses between plugs that it switches on.
	Deadline time.Duration `yaml:"deadline"`
}

// DefaultConfig has every default.
func DefaultConfig() Config { return Config{Deadline: 10 * time.Second} }

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	if c.Deadline < time.Second || c.Deadline > maxAllowed {
		return fmt.Errorf("deadline: %v is not 1s to %v", c.Deadline, maxAllowed)
	}
	return nil
}

// Options are what a Component needs beside its configuration.
type Options struct {
	// Store takes the audit; nil for none.
	Store   Store
	Metrics *metrics.Registry // may be nil
}

// Component answers commands. Any number may run side by side.
type Component struct {
	cfg   Config
	log   *slog.Logger
	view  *view
	audit *audit
	count counts

	instance string
	asker    *bus.Asker
}

type counts struct {
	malformed, strays *metrics.Counter
	outcomes          *metrics.CounterVec
	took              *metrics.Histogram
}

// New makes the component; Run lets it work.
func New(cfg Config, o Options, log *slog.Logger) *Component {
	r := o.Metrics
	return &Component{
		cfg: cfg, log: log, view: newView(), audit: newAudit(o.Store, r, log), instance: hook.Instance(),
		count: counts{
			malformed: r.Counter("wattline_sp_command_malformed_total", "Commands that could not be understood, or one of their targets."),
			strays:    r.Counter("wattline_sp_command_late_answers_total", "Answers of gateways that nobody waited for any more."),
			outcomes:  r.CounterVec("wattline_sp_command_switches_total", "Switches asked for, by how they ended.", 16, "outcome"),
			took:      r.Histogram("wattline_sp_command_seconds", "Duration of a command, plugs included.", 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
		},
	}
}

// Run answers commands until ctx ends.
func (c *Component) Run(ctx context.Context, broker bus.Options) error {
	if err := c.cfg.Validate(); err != nil {
		return fmt.Errorf("sp_command: %w", err)
	}
	asking := broker
	asking.ClientID = Name + "-ask-" + c.instance
	asking.Up = c.listen
	c.asker = bus.NewAsker(Name+"/"+c.instance, asking, c.count.strays.Inc, c.log)
	component := hook.Component{
		Name: Name, Family: hook.Commands, Timeout: maxAllowed + waitBeat, Concurrent: concurrent,
		Handle: c.handle, Malformed: c.count.malformed.Inc,
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return c.asker.Run(ctx) })
	all.Go(func() error { return component.Serve(ctx, broker, c.log) })
	all.Go(func() error {
		c.audit.run(ctx)
		return nil
	})
	return all.Wait()
}

// listen subscribes to what the component must know.
func (c *Component) listen(ctx context.Context, s *bus.Session) error {
	c.view.connected()
	for _, filter := range []string{bus.SiteTopic, bus.GatewaysInfoPrefix + "+", bus.PlacesPrefix + "+", bus.StatusFilter} {
		if err := s.Subscribe(ctx, filter, c.view.hear); err != nil {
			return err
		}
	}
	return nil
}

// handle answers one command.
func (c *Component) handle(ctx context.Context, r hook.Request, w *hook.Answer) error {
	begin := time.Now()
	o, err := parse(r.Data, c.cfg.Deadline)
	if err != nil {
		c.count.malformed.Inc()
		return err
	}
	if o.Who == "" {
		o.Who = "mqtt"
	}
	if err := c.view.settled(ctx); err != nil {
		return err
	}
	targets, mistakes := c.targets(r, o)
	whole := slices.ContainsFunc(mistakes, func(m mistake) bool { return m.target == "" })
	if len(mistakes) > 0 {
		c.count.malformed.Inc()
	}
	if len(mistakes) > 0 && (whole || !o.ioToad) {
		return told(mistakes)
	}
	s := c.resolve(targets, mistakes)
	if !o.ioToad && len(s.mistakes) > 0 {
		return told(s.mistakes)
	}
	id := r.ID
	if len(id) < 16 || len(id) > maxText { // not one that nobody else could have chosen
		id = bus.NewID()
	}
	c.carryOut(ctx, id, o, s, begin)
	c.count.took.Observe(time.Since(begin).Seconds())
	data, failure, err := s.answer(id, o.ioToad)
	if err != nil {
		return err
	}
	w.Send(data, failure)
	return nil
}

func (c *Component) targets(r hook.Request, o order) ([]target, []mistake) {
	switch isSelect := strings.Trim(r.Subpath, "/") == "select" && len(r.Subtopics) == 0; {
	case isSelect && o.ioToad:
		return nil, []mistake{{"", "select goes with a payload that has on and select"}}
	case isSelect:
		return selected(o.Select, c.view.look(nil).floors)
	case o.Select != nil:
		return nil, []mistake{{"select", "it goes on command/sp_command/select"}}
	}
	return parseTargets(r.Subpath, r.Subtopics)
}

// told makes one error of all mistakes.
func told(mistakes []mistake) error {
	errs := make([]string, len(mistakes))
	for i, m := range mistakes {
		errs[i] = m.Error()
	}
	return errors.New(strings.Join(errs, "; "))
}

// ioToadAnswer is the data of an answer in IoToad's form.
type ioToadAnswer struct {
	Successful []string `json:"successful"`
}

func encode(v any) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return text, nil
}
