// Package influx is the one place that speaks to InfluxDB, 1.8 and 2.x alike:
// line protocol in, InfluxQL out. It owns influxdb-client-go.
//
// A write returns nil only when InfluxDB said that all of its lines are stored.
// Any other outcome is an *Error that says whether the lines themselves are to
// blame (Refused) or whether to come again later (everything else), and nothing
// is kept here: whoever has the readings still has them. Writing lines again is
// harmless, the same lines are the same points.
//
// A query streams: memory is bounded by one chunk of rows, however long the
// answer is, and an answer that breaks off is an error, never a short result.
package influx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
)

// Client speaks to one InfluxDB server. It is safe for concurrent use.
type Client struct {
	cfg       Config
	http      *http.Client
	service   influxhttp.Service
	options   *write.Options
	writes    turns
	queries   turns
	known     atomic.Pointer[server] // nil: to be asked again
	bodyLimit atomic.Int64           // learned from 413; 0: none seen
	whenStuck func()
	epoch     string // the unit of times in answers, as /query names it
}

// Option changes a Client that New makes.
type Option func(*Client)

// WhenStuck has f called when a write fails in a way that InfluxDB 1.8 was seen
// to repeat until it is started again: after a full disk. f must not block and
// is called at each such write; influxd.Server.Heal is made for it.
func WhenStuck(f func()) Option { return func(c *Client) { c.whenStuck = f } }

// InNanoseconds has the times of writes and queries in nanoseconds, as InfluxDB
// keeps them. It is for copies of what others may have written.
func InNanoseconds() Option {
	return func(c *Client) {
		c.options.SetPrecision(time.Nanosecond)
		c.epoch = "ns"
	}
}

// New makes a client. It does not touch the network, so that a program starts
// before its database does; Ping tells whether the server is there.
func New(cfg Config, options ...Option) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("influx: %w", err)
	}
	if cfg.URL == "" {
		return nil, errors.New("influx: url: required")
	}
	hc := &http.Client{
		Transport: &transport{base: newTransport(cfg)},
		// A redirect turns a POST into a GET of somewhere else, and a 204 of
		// that place would count as stored.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	library := influxdb2.DefaultOptions().
		SetHTTPClient(hc).
		SetApplicationName("wattline").
		SetPrecision(time.Microsecond)
	client := influxdb2.NewClientWithOptions(strings.TrimRight(cfg.URL, "/"), cfg.Token.Reveal(), library)
	c := &Client{
		cfg:       cfg,
		http:      hc,
		service:   client.HTTPService(),
		options:   library.WriteOptions(),
		writes:    make(turns, cfg.MaxConcurrentWrites),
		queries:   make(turns, cfg.MaxConcurrentQueries),
		whenStuck: func() {},
		epoch:     "u",
	}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

func newTransport(cfg Config) *http.Transport {
	conns := cfg.MaxConcurrentWrites + cfg.MaxConcurrentQueries
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          conns,
		MaxIdleConnsPerHost:   conns,
		IdleConnTimeout:       90 * time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		// Compressing costs more than a local network does.
		DisableCompression: true,
	}
}

// Close ends idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// turns bounds how many calls are under way at once.
type turns chan struct{}

func (t turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) giveBack() { <-t }
