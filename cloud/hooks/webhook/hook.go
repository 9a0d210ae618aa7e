package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/webhook"
)

// Name of the hook on the bus.
const Name = "webhook"

// Feed tells what was entered into the ledger after a position.
type Feed interface {
	Start(ctx context.Context, from device.Micros) (position json.RawMessage, err error)
	Next(ctx context.Context, position json.RawMessage, most int) (list []contract.Added, after json.RawMessage, err error)
	Taken(position json.RawMessage, some []contract.Added) (json.RawMessage, error)
	Behind(ctx context.Context, position json.RawMessage) (count int, oldest device.Micros, err error)
}

// Store is where readings are read from.
type Store interface {
	Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error
}

// readers is how many receivers read InfluxDB at once; the others wait.
const readers = 2

// Options are what a program passes beside the operator's Config.
type Options struct {
	Feed  Feed
	Store Store
	// Data is the directory below which the positions are kept.
	Data string
	// Copies lists further databases that get the data of one.
	Copies  map[string][]string
	Metrics *metrics.Registry // may be nil
}

// Hook delivers what is stored.
type Hook struct {
	options   Options
	log       *slog.Logger
	queue     *hook.Queue
	heard     *heard
	listens   atomic.Int64 // since when, in microseconds
	receivers []*receiver
	file      *file
	count     counts
	pace      pace
	// turns bounds how many receivers read InfluxDB at once, whose turns others
	// want too.
	turns chan struct{}
}

// pace is how long the hook waits for what; tests hurry.
type pace struct {
	poll                   time.Duration // between questions to the ledger
	patience               time.Duration // for a batch whose entry came first
	awayLeast, awayMost    time.Duration // after a receiver did not answer
	refuseLeast, refuseMax time.Duration // after it refused
	storeLeast, storeMost  time.Duration // after InfluxDB or the disk failed
	attemptLeast           time.Duration // between the attempts of one Send
	measure                time.Duration // between looks at how far behind it is
}

func usualPace() pace {
	return pace{
		poll: time.Second, patience: 3 * time.Second,
		awayLeast: 5 * time.Second, awayMost: 5 * time.Minute, refuseLeast: time.Minute, refuseMax: time.Hour,
		storeLeast: time.Second, storeMost: 30 * time.Second, attemptLeast: 500 * time.Millisecond, measure: 15 * time.Second,
	}
}

type counts struct {
	readings, requests, failed, refused, shed *metrics.CounterVec
	behindSeconds, behindEntries, up, status  *metrics.GaugeVec
	malformed, unheard, odd                   *metrics.Counter
}

func newCounts(r *metrics.Registry) counts {
	const label = "receiver"
	return counts{
		readings:      r.CounterVec("wattline_webhook_readings_total", "Readings that a receiver took.", maxReceivers, label),
		requests:      r.CounterVec("wattline_webhook_requests_total", "Requests that a receiver took.", maxReceivers, label),
		failed:        r.CounterVec("wattline_webhook_failed_total", "Deliveries that a receiver could not take at the moment; they are repeated.", maxReceivers, label),
		refused:       r.CounterVec("wattline_webhook_refused_total", "Deliveries that a receiver refused; they are repeated with long pauses.", maxReceivers, label),
		shed:          r.CounterVec("wattline_webhook_shed_total", "Messages without receipt that a receiver could not be given.", maxReceivers, label),
		behindSeconds: r.GaugeVec("wattline_webhook_behind_seconds", "How long ago the oldest entry that a receiver does not have yet was entered.", maxReceivers, label),
		behindEntries: r.GaugeVec("wattline_webhook_behind_entries", "Entries of the ledger that a receiver does not have yet.", maxReceivers, label),
		up:            r.GaugeVec("wattline_webhook_up", "1 while the last delivery was taken, 0 while one is repeated.", maxReceivers, label),
		status:        r.GaugeVec("wattline_webhook_last_error_status", "HTTP status of the last error, 0 where there was no answer.", maxReceivers, label),
		malformed:     r.Counter("wattline_webhook_malformed_total", "Messages of the bus that could not be read."),
		unheard:       r.Counter("wattline_webhook_unheard_total", "Messages that came faster than they could be looked at."),
		odd:           r.Counter("wattline_webhook_odd_series_total", "Series in InfluxDB that no record can name, and that were left out."),
	}
}

// New allocates a hook; it reads CA files, and opens nothing.
func New(config Config, options Options, log *slog.Logger) (*Hook, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	h := &Hook{
		options: options, log: log, queue: hook.NewQueue(queueLength, queueBytes), heard: newHeard(config.MemoryBytes),
		count: newCounts(options.Metrics), pace: usualPace(), turns: make(chan struct{}, readers),
	}
	for _, c := range config.Receivers {
		h.receivers = append(h.receivers, newReceiver(h, c.filled()))
	}
	return h, nil
}

// Run delivers until ctx ends. An error is for a person: an address, a file or a
// directory that can never work.
func (h *Hook) Run(ctx context.Context, options bus.Options) (err error) {
	for _, r := range h.receivers {
		if r.sender, err = webhook.New(webhook.Options{
			URL: r.config.URL, Secret: r.config.Secret.Reveal(), CA: r.config.CA, Timeout: r.config.Timeout, WaitLeast: h.pace.attemptLeast,
		}); err != nil {
			return fmt.Errorf("receiver %s: %w", r.config.Name, err)
		}
		defer r.sender.Close()
	}
	if h.file, err = openFile(h.options.Data, h.log); err != nil {
		return err
	}
	defer func() {
		if closed := h.file.close(); err == nil && closed != nil {
			err = fmt.Errorf("close the positions of webhooks: %w", closed)
		}
	}()
	if err := h.file.forget(h.names()); err != nil { // it takes room, and no more
		h.log.WarnContext(ctx, "positions of receivers that are gone are kept", slog.Any("err", err))
	}
	up := options.Up
	options.Up = func(ctx context.Context, s *bus.Session) error {
		h.listens.Store(int64(device.MicrosOf(time.Now())))
		if up != nil {
			return up(ctx, s)
		}
		return nil
	}
	link := hook.NewListener(Name, options, h.log, h.take, bus.DataFilter)
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { h.listen(ctx) })
	for _, r := range h.receivers {
		all.Go(func() { r.run(ctx) })
	}
	err = link.Run(ctx)
	stop()
	all.Wait()
	return err
}

func (h *Hook) names() []string {
	names := make([]string, 0, len(h.receivers))
	for _, r := range h.receivers {
		names = append(names, r.config.Name)
	}
	return names
}

// wait sleeps; false means that ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
