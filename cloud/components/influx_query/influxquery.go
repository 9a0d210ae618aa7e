// Package influxquery is the component influx_query: it answers questions about
// stored readings, asked on query/influx_query/<database>/<measurement>.
//
// A question is checked whole before InfluxDB hears of it, and every mistake is
// named at once. What is asked of InfluxDB is SELECT only, each text of a
// stranger in it matched and quoted, windows always bounded in time and number.
// An answer of any length takes bounded memory: it leaves in parts, each when
// the asker wants it, and the database is read no faster than that. What does
// not exist (a measurement, a database, a device) has no points; that is an
// empty answer and no error.
//
// # What differs from InfluxQL
//
// An id or a floor matches what lies there in either spelling, with and without
// the site's default floor. The integral over several devices is the sum of
// theirs, and belongs to windows that have points: where one has none, what
// flowed in it counts in the next that has. Weeks start on Mondays. Windows need from; to is now unless given.
// The time of a value that is of no point in particular is the start of its
// window, else from; without from it is 0 in a pack, which is how SenML says now,
// and to or now in a series. The first and the last window hold what lies
// between from and to only.
//
// # Parameters
//
// operation is one of count, distinct, integral, mean, median, mode, spread,
// stddev, sum, bottom, first, last, max, min, percentile, sample and top, in
// any case; without it the points themselves are given. percentile, sample, top
// and bottom take n; integral takes unit (1s). id, type, floor, row and column
// filter, each a list separated by commas. from and to are POSIX seconds or RFC
// 3339, inclusive. every (30s, 5m, 1h, 1d, 1w) asks for windows, aligned in the
// time zone tz (UTC), and fill says what empty ones hold (null). group_by splits
// by device, type, floor, row and column. limit bounds the points of each
// series, order is asc or desc, format is senml or series.
//
// # Answers
//
// As senml: one pack, its first record with base fields only. Where records can
// be of several devices or groups each has its whole name, <id>/<measurement>
// or <group>/<measurement> with a group such as floor:2/row:1, and the base name
// is empty. Else the base name is <id>/<measurement>, under the id as it was
// asked for, or the measurement alone where no single device is meant. Empty
// windows have no record. As series: an array of contract.Series; one may go on
// in the next part under the same group, and empty windows are null.
//
// An error that begins with the name of a parameter and a colon is a mistake of
// the asker; one that ends in "try again" is none.
package influxquery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Name is the component's name on the bus.
const Name = "influx_query"

const concurrent = 8

// timeout bounds one request, the fetching of all parts included: a megabyte
// every few seconds is a slow line, not a dead one.
const timeout = 10 * time.Minute

// ErrStore is the error of a query that InfluxDB does not answer now, ErrSlow
// that of one on which it works for too long, ErrRefused that of one that it
// does not understand.
var (
	ErrStore   = errors.New("InfluxDB does not answer, try again")
	ErrSlow    = errors.New("InfluxDB takes too long, ask for less or try again")
	ErrRefused = errors.New("InfluxDB refused the query; the log says why")
)

// Store is where readings are. Query calls each for every chunk of every
// series, rows of time (microseconds) and columns; an error with a method
// DatabaseMissing is InfluxDB's verdict on the statement, any other means that
// it could not be asked.
type Store interface {
	Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error
}

// Answer is where an answer goes: JSON arrays, which the asker joins.
// *hook.Answer fits.
type Answer interface {
	Part(ctx context.Context, data json.RawMessage) error
}

// Options are what a Component needs. Only Store is required.
type Options struct {
	Store Store
	// DefaultFloor is the site's default floor, if it is known. When nil, Run
	// learns it from the retained topic registry/site.
	DefaultFloor func() (floor int, known bool)
	Metrics      *metrics.Registry
	// Concurrent is how many queries are under way at once; 0 means 8. Fewer than
	// the Store takes leave room for others while askers read slowly.
	Concurrent int
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
}

// Component answers queries. Safe for concurrent use.
type Component struct {
	options Options
	log     *slog.Logger
	away    atomic.Bool

	malformed *metrics.Counter
	mistaken  *metrics.Counter
	failed    *metrics.Counter
	duration  *metrics.Histogram
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
		malformed: m.Counter("wattline_query_malformed_total", "Requests that could not be read."),
		mistaken:  m.Counter("wattline_query_mistaken_total", "Queries answered with their mistakes."),
		failed:    m.Counter("wattline_query_failed_total", "Queries that InfluxDB did not answer to the end."),
		duration:  m.Histogram("wattline_query_duration_seconds", "Time until the last part of an answer was handed over."),
	}
}

// Run connects and answers until ctx ends.
func (c *Component) Run(ctx context.Context, options bus.Options) error {
	component := c.component(c.Handle)
	if c.options.DefaultFloor == nil {
		s := newSite(c.log)
		defer s.settleWithin(siteWait)()
		options.Up = s.subscribe(options.Up)
		component = c.component(func(ctx context.Context, r hook.Request, w Answer) error {
			floor, known := s.floor(ctx)
			return c.handle(ctx, r, w, floor, known)
		})
	}
	return component.Serve(ctx, options, c.log)
}

func (c *Component) component(handle func(context.Context, hook.Request, Answer) error) hook.Component {
	return hook.Component{
		Name: Name, Family: hook.Queries, Timeout: timeout, Malformed: c.malformed.Inc, Concurrent: cmp.Or(c.options.Concurrent, concurrent),
		Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
			if !r.Wanted {
				return nil // nobody would hear the answer
			}
			return handle(ctx, r, w)
		},
	}
}

// Handle answers one query. Its error is the text for the asker: it wraps
// [ErrMistakes] when the query is to blame, and [ErrStore] or [ErrSlow] when it
// may be asked again.
func (c *Component) Handle(ctx context.Context, r hook.Request, w Answer) error {
	if c.options.DefaultFloor == nil {
		return c.handle(ctx, r, w, 0, false)
	}
	floor, known := c.options.DefaultFloor()
	return c.handle(ctx, r, w, floor, known)
}

func (c *Component) handle(ctx context.Context, r hook.Request, w Answer, floor int, known bool) error {
	start := c.options.Now()
	q, err := Parse(r.Subpath, r.Data, device.MicrosOf(start))
	if err != nil {
		c.mistaken.Inc()
		return err
	}
	if err := c.answer(ctx, q, floor, known, w); err != nil {
		c.failed.Inc()
		return err
	}
	c.duration.Observe(c.options.Now().Sub(start).Seconds())
	return nil
}
