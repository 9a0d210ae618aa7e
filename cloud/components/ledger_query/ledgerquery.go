// Package ledgerquery is the component ledger_query: it tells what is proven to
// be stored, lists what the storing hook refused, and hands it in again.
//
// On query/ledger_query it answers with the ledger's proofs, a JSON array with
// one object for each gateway: parameters gateway, from and to, the last two
// times of measurement. On query/ledger_query/quarantine it lists refused
// batches, newest first, as {"items": [...], "next": cursor or null}: parameters
// source (gateway means the same), from and to (of the refusal), limit and
// cursor. Times are POSIX seconds or RFC 3339; a parameter that is empty, null
// or absent is not given; every mistake is named at once.
//
// On query/ledger_query/switches it lists who switched what, newest first, each
// switch of a place joined with how it ended: {"items": [contract.Audited], "next":
// cursor, empty on the last page}. Parameters who, what ("switch on" or "switch
// off"), object (the place) and result, each the whole text or its beginning
// before a *; from and to (from <= time < to), limit and cursor. A page may have
// fewer entries than limit and yet a next.
//
// On query/ledger_query/sources it lists who sends data, by name, with what the
// storing hook counted of each: {"items": [Source], "next": cursor, empty on the
// last page}. Parameters source (the whole name), prefix, from and to (of when it
// was last heard), limit and cursor.
//
// command/ledger_query/replay with {"id": digest, "source": ...} publishes a
// refused payload once more, byte by byte, on the topic that it came on. The
// storing hook then decides anew, with the rules it has by then: what it accepts
// is stored and entered in the ledger like anything else, what it refuses
// appears in the list again. A payload is replayed only when all its pieces are
// there and its digest fits. Replaying twice is harmless.
//
// Beside it the component keeps gauges of the same facts.
package ledgerquery

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Name is the component's name on the bus.
const Name = "ledger_query"

// Where the storing hook puts what it refuses.
const (
	database    = "wattline"
	quarantined = "quarantine"
	replayed    = "quarantine_replay"
	dataHook    = "influx_data"
)

// timeout bounds one request.
const timeout = time.Minute

// ErrAway is the error of a request that the ledger, the store or the broker
// does not answer now; the same request may succeed later.
var ErrAway = errors.New("does not answer, try again")

// Prover draws the ledger's conclusions: a JSON array of one object for each
// gateway, or for the one named, for the times of measurement from..to, 0
// meaning no bound. An error with a method DatabaseMissing that gives true means
// that nothing was ever entered.
type Prover interface {
	Prove(ctx context.Context, gateway string, from, to device.Micros) (json.RawMessage, error)
}

// Store is where the quarantine is. Query calls each for every chunk of every
// series; an error with a method DatabaseMissing that gives true means that
// nothing was ever written.
type Store interface {
	Write(ctx context.Context, database string, lines []byte) error
	Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error
}

// Answer is where an answer goes, in one piece or in arrays that the asker
// joins. *hook.Answer fits.
type Answer interface {
	Send(data, failure json.RawMessage)
	Part(ctx context.Context, data json.RawMessage) error
}

// Options are what a Component needs. Prover and Store are required.
type Options struct {
	Prover Prover
	Store  Store
	// Publish puts a message on the bus and waits until the broker has it. When
	// nil, Run makes a connection for that.
	Publish func(ctx context.Context, m bus.Message) error
	Metrics *metrics.Registry
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
}

// Component answers. Safe for concurrent use.
type Component struct {
	options Options
	log     *slog.Logger
	away    atomic.Bool
	gauges  gauges

	malformed *metrics.Counter
	mistaken  *metrics.Counter
	failed    *metrics.Counter
	replays   *metrics.Counter

	mu   sync.Mutex // protects last
	last device.Micros
}

// New makes the component; it neither connects nor asks anything.
func New(options Options, log *slog.Logger) *Component {
	if options.Now == nil {
		options.Now = time.Now
	}
	m := options.Metrics
	return &Component{
		options:   options,
		log:       log,
		gauges:    newGauges(m),
		malformed: m.Counter("wattline_ledger_query_malformed_total", "Requests that could not be read."),
		mistaken:  m.Counter("wattline_ledger_query_mistaken_total", "Requests answered with their mistakes."),
		failed:    m.Counter("wattline_ledger_query_failed_total", "Requests that were understood and could not be answered."),
		replays:   m.Counter("wattline_quarantine_replays_total", "Refused batches that were handed in again."),
	}
}

// Run connects, answers and keeps the gauges until ctx ends.
func (c *Component) Run(ctx context.Context, options bus.Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	publish, parts := c.options.Publish, []func() error{
		func() error { c.watch(ctx); return nil },
	}
	if publish == nil {
		publishing := options
		publishing.ClientID = hook.ClientID(Name)
		link := bus.NewLink(publishing, c.log)
		publish = link.Publish
		parts = append(parts, func() error { return link.Run(ctx) })
	}
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		component := hook.Component{
			Name: Name, Family: family, Timeout: timeout, Malformed: c.malformed.Inc,
			Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
				if family == hook.Commands {
					return c.command(ctx, r, w, publish)
				}
				return c.Query(ctx, r, w)
			},
		}
		parts = append(parts, func() error { return component.Serve(ctx, options, c.log) })
	}
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			defer cancel() // one that gives up ends all
			errs[i] = part()
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Query answers a request of the family query. Its error is the text for the
// asker; it wraps [ErrMistakes] when the request is to blame, [ErrAway] when it
// may be sent again.
func (c *Component) Query(ctx context.Context, r hook.Request, w Answer) error {
	if !r.Wanted {
		return nil // nobody would hear the answer
	}
	switch r.Subpath {
	case "":
		return c.count(c.prove(ctx, r, w))
	case "quarantine":
		return c.count(c.list(ctx, r, w))
	case "switches":
		return c.count(c.switches(ctx, r, w))
	case "sources":
		return c.count(c.sources(ctx, r, w))
	default:
		return c.count(mistakes{"topic: " + clip(r.Subpath) + " is not asked here; there are " + Name + ", " + Name + "/quarantine, " + Name + "/switches and " + Name + "/sources"})
	}
}

// Command carries out a request of the family command; errors are as of Query.
func (c *Component) Command(ctx context.Context, r hook.Request, w Answer) error {
	return c.command(ctx, r, w, c.options.Publish)
}

func (c *Component) command(ctx context.Context, r hook.Request, w Answer, publish func(context.Context, bus.Message) error) error {
	if r.Subpath != "replay" {
		return c.count(mistakes{"topic: " + clip(r.Subpath) + " is no command; there is " + Name + "/replay"})
	}
	return c.count(c.replay(ctx, r, w, publish))
}

func (c *Component) count(err error) error {
	switch {
	case errors.Is(err, ErrMistakes):
		c.mistaken.Inc()
	case err != nil:
		c.failed.Inc()
	}
	return err
}

// asked turns what the store or the ledger said into what the asker hears, and
// logs the change from answering to not answering and back.
func (c *Component) asked(ctx context.Context, what string, err error) error {
	if err == nil {
		if c.away.Swap(false) {
			c.log.InfoContext(ctx, "ledger back", slog.String("component", Name))
		}
		return nil
	}
	if ctx.Err() == nil && !c.away.Swap(true) {
		c.log.WarnContext(ctx, "ledger away", slog.String("component", Name), slog.Any("err", err))
	}
	return &awayError{what}
}

// awayError names who does not answer, and nothing of the inside.
type awayError struct{ what string }

func (e *awayError) Error() string { return e.what + " " + ErrAway.Error() }

func (*awayError) Is(target error) bool { return target == ErrAway }

// query asks the store; a database that nobody has written to has no rows.
func (c *Component) query(ctx context.Context, influxql string, each func(r row) error) error {
	err := c.options.Store.Query(ctx, database, influxql, func(_ string, tags map[string]string, columns []string, rows [][]any) error {
		for _, values := range rows {
			if err := each(newRow(tags, columns, values)); err != nil {
				return err
			}
		}
		return nil
	})
	if databaseMissing(err) {
		err = nil
	}
	return c.asked(ctx, "InfluxDB", err)
}

// databaseMissing tells that nothing was ever written to the database.
func databaseMissing(err error) bool {
	missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err)
	return ok && missing.DatabaseMissing()
}

// tick is max(wall clock, last + 1 us).
func (c *Component) tick() device.Micros {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(device.MicrosOf(c.options.Now()), c.last+1)
	return c.last
}
