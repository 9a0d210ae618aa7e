package alertmanager

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Options are what a pusher needs beside its settings.
type Options struct {
	// Name of the receiver.
	Name string
	// From is the least severity that is pushed; empty means warning.
	From contract.Severity
	// Site gives the site's name whenever something is pushed; nil leaves the label
	// out.
	Site func() string
	// Link is where the alerts can be looked at; empty leaves it out.
	Link string
	Log  *slog.Logger
}

// How often what fires is pushed, how long it counts, and how long pushes are
// apart at least, however often there is something new.
const (
	every   = time.Minute
	periods = 4 // that an alert counts without another push, as with Prometheus
	apart   = 500 * time.Millisecond
	retry   = time.Second // after the first failure, twice as long after each, up to every
	batch   = 500         // alerts of one request
	dial    = 5 * time.Second
)

// Pusher keeps the instances of one Alertmanager informed. Safe for concurrent
// use; Run must run once.
type Pusher struct {
	cfg       Config
	options   Options
	client    *http.Client
	instances []*instance
	every     time.Duration
}

// instance is one of them; only its own goroutine pushes.
type instance struct {
	p     *Pusher
	url   *url.URL
	poked chan struct{}
	known map[string]stamp // alerts that it has, by id, as they were

	mu      sync.Mutex // guards what follows
	failing time.Time
	fault   string
	sent    time.Time
	refused int
}

// stamp is what makes an alert worth a push before its turn.
type stamp struct {
	ended, hushed, until device.Micros
	severity             contract.Severity
	flapping             bool
}

// New allocates a pusher; it reads the CA file and touches no network.
func New(cfg Config, options Options) (*Pusher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	roots, err := cfg.roots()
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	options.From = cmp.Or(options.From, contract.Warning)
	p := &Pusher{cfg: cfg.filled(), options: options, every: every}
	p.client = &http.Client{
		Timeout:       p.cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// Proxy stays nil: what an environment variable says is nobody's wish here.
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dial,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        3 * time.Minute,
			DisableCompression:     true,
		},
	}
	for _, text := range cfg.URLs {
		u, _ := base(text)
		p.instances = append(p.instances, &instance{p: p, url: u, poked: make(chan struct{}, 1), known: make(map[string]stamp)})
	}
	return p, nil
}

// Run pushes until ctx ends. state gives what fires and what was over in the last
// five minutes; it is called from one goroutine of each instance.
func (p *Pusher) Run(ctx context.Context, state func() []contract.Alert) error {
	var all sync.WaitGroup
	for _, i := range p.instances {
		all.Go(func() { i.run(ctx, state) })
	}
	all.Wait()
	p.client.CloseIdleConnections()
	return nil
}

// Poke has changes pushed at once. It does not block.
func (p *Pusher) Poke() {
	for _, i := range p.instances {
		select {
		case i.poked <- struct{}{}:
		default:
		}
	}
}

// trialFor is how long a trial counts: Alertmanager gathers alerts for some time
// before it tells anybody.
const trialFor = 5 * time.Minute

// Try pushes an alert that only says that somebody tries, and waits for the answer
// of each instance. An error names those that did not take it, and why.
func (p *Pusher) Try(ctx context.Context, a contract.Alert) error {
	site := ""
	if p.options.Site != nil {
		site = p.options.Site()
	}
	trial := []wire{encode(a, site, p.options.Link, time.Now(), trialFor)}
	errs := make([]error, len(p.instances))
	var all sync.WaitGroup
	for n, i := range p.instances {
		all.Go(func() {
			if err := i.post(ctx, trial); err != nil {
				errs[n] = fmt.Errorf("%s: %w", i.url.Host, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Status says how the instances are: since when one of them fails and which, and
// when the last push succeeded.
func (p *Pusher) Status() notify.Status {
	s := notify.Status{Name: p.options.Name, Kind: "alertmanager", From: p.options.From}
	var faults []string
	for _, i := range p.instances {
		i.mu.Lock()
		if !i.failing.IsZero() {
			since := device.MicrosOf(i.failing)
			if s.Failing == 0 || since < s.Failing {
				s.Failing = since
			}
			faults = append(faults, i.url.Host+": "+i.fault)
		}
		if !i.sent.IsZero() {
			s.Sent = max(s.Sent, device.MicrosOf(i.sent))
		}
		i.mu.Unlock()
	}
	s.Fault = wording.Shorten(strings.Join(faults, "; "), 300)
	return s
}

// Refused counts requests of which Alertmanager took only a part.
func (p *Pusher) Refused() int {
	n := 0
	for _, i := range p.instances {
		i.mu.Lock()
		n += i.refused
		i.mu.Unlock()
	}
	return n
}
