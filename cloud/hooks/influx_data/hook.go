package influxdata

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

// Name of the hook on the bus.
const Name = "influx_data"

// Sizes: a write is worth making from 5,000 lines on; smaller ones wait a
// moment for company. The queue is bounded in messages and in bytes.
const (
	writeLines  = 5000
	writeBytes  = 16 << 20
	company     = 20 * time.Millisecond
	writers     = 2
	queueLength = 2048
	queueBytes  = 64 << 20

	retryLeast = 200 * time.Millisecond
	retryMost  = 5 * time.Second
	logSources = 1000
)

// Options of the hook. Counters may be nil.
type Options struct {
	Store  Store
	Ledger Ledger
	// Copies lists further databases that get the data of one.
	Copies map[string][]string
	// Now is the wall clock, for refusing times and naming quarantined batches.
	Now func() device.Micros
	// Pause waits; nil means really.
	Pause func(ctx context.Context, d time.Duration) error

	// Limits of each source; the zero value means the defaults.
	Limits Limits
	// Limited counts messages that were not taken because of them, by which.
	Limited *metrics.CounterVec

	// Unsaid counts batches that not even the quarantine or the ledger takes, or
	// over which the code panics.
	Messages, Points, Malformed, Discarded, NotNow, Quarantined, Misdirected, Unsaid *metrics.Counter
}

// Hook stores what agents publish.
type Hook struct {
	options  Options
	log      *slog.Logger
	queue    *hook.Queue
	instance string // names this run in the quarantine
	limits   *limits
	tallies  tallies

	mu     sync.Mutex           // protects what follows
	logged map[string]time.Time // malformed messages, by source
	away   map[string]bool      // what does not answer now
	last   device.Micros        // time of the newest refusal
	tagged map[string]bool      // sources with a tag of their own in the quarantine
	idle   []*quick
}

// New allocates a hook.
func New(options Options, log *slog.Logger) *Hook {
	if options.Now == nil {
		options.Now = func() device.Micros { return device.MicrosOf(time.Now()) }
	}
	if options.Pause == nil {
		options.Pause = pause
	}
	if options.Limits == (Limits{}) {
		options.Limits = DefaultConfig().Limits
	}
	return &Hook{
		limits: newLimits(options.Limits, options.Now), tallies: tallies{of: make(map[string]*tally)},
		options: options, log: log, queue: hook.NewQueue(queueLength, queueBytes), instance: hook.Instance(),
		logged: make(map[string]time.Time), away: make(map[string]bool), tagged: make(map[string]bool),
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run listens on a connection of its own and stores until ctx ends. What was
// not stored then was not receipted, and is sent again.
func (h *Hook) Run(ctx context.Context, options bus.Options) error {
	link := hook.NewListener(Name, options, h.log, h.Take, bus.DataFilter)
	send := func(topic string, payload []byte) error {
		return link.Send(bus.Message{Topic: topic, Payload: payload})
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range writers {
		workers.Go(func() { h.work(ctx, send) })
	}
	workers.Go(func() { h.reports(ctx) })
	err := link.Run(ctx)
	cancel() // a link that can never be gives up before ctx ends
	workers.Wait()
	return err
}

// Take queues a message, or discards it when the queue is full or its source
// beyond its limits: without a receipt its source keeps it. It never blocks.
func (h *Hook) Take(m bus.Message) {
	h.options.Messages.Inc()
	if by := h.limits.enqueue(m); by != "" {
		h.shed(senderIn(m), h.notNow(by))
		return
	}
	if !h.queue.Put(m) {
		h.limits.dequeue(m)
		h.options.Discarded.Inc()
	}
}

func (h *Hook) work(ctx context.Context, send func(topic string, payload []byte) error) {
	for {
		messages := h.gather(ctx, send)
		if ctx.Err() != nil {
			return
		}
		if len(messages) > 0 {
			h.finish(ctx, messages, send)
		}
	}
}

// gather takes messages until a write is worth making or no more come.
func (h *Hook) gather(ctx context.Context, send func(string, []byte) error) (messages []*message) {
	var wait <-chan time.Time
	lines, size := 0, 0
	for lines < writeLines && size < writeBytes && len(messages) < queueLength {
		select {
		case m := <-h.queue.Next():
			h.queue.Took(m)
			h.limits.dequeue(m)
			if msg := h.guardedRead(ctx, m, send); msg != nil {
				messages = append(messages, msg)
				lines += msg.records
				size += len(msg.lines) + len(msg.payload)
			}
			if wait == nil {
				timer := time.NewTimer(company)
				defer timer.Stop()
				wait = timer.C
			}
		case <-wait:
			return messages
		case <-ctx.Done():
			return nil
		}
	}
	return messages
}

// guardedRead reads a message; one that is malformed, or makes the code panic,
// is counted, logged and answered, and harms no other.
func (h *Hook) guardedRead(ctx context.Context, m bus.Message, send func(string, []byte) error) (msg *message) {
	defer func() {
		if p := recover(); p != nil {
			h.log.ErrorContext(ctx, "message panicked", slog.String("topic", m.Topic), slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			h.options.Malformed.Inc()
			msg = nil
		}
	}()
	msg, err := h.read(m)
	why, over := errors.AsType[*limited](err)
	if err != nil && !over {
		if why = h.unread(msg, err); why == nil {
			h.malformed(ctx, m.Topic, msg, err, send)
			return nil
		}
	}
	if why != nil {
		h.shed(senderIn(m), why)
		return nil
	}
	if to := msg.envelope.ResponseTopic; to != "" && !hook.MayAnswer(to, msg.topic.Source) {
		h.options.Misdirected.Inc()
		msg.envelope.ResponseTopic = ""
	}
	if why := h.accept(msg); why != nil {
		h.shed(msg.topic.Source, why)
		return nil
	}
	return msg
}

// malformed counts, logs once per source and minute, and answers.
func (h *Hook) malformed(ctx context.Context, topic string, m *message, cause error, send func(string, []byte) error) {
	h.options.Malformed.Inc()
	source := ""
	if m != nil {
		source = m.topic.Source
	}
	if h.mayLog(source) {
		h.log.WarnContext(ctx, "malformed data", slog.String("source", source), slog.String("topic", clip(topic)), slog.Any("err", cause))
	}
	if m == nil || !hook.MayAnswer(m.envelope.ResponseTopic, source) {
		return
	}
	answer, err := bus.Envelope{ID: m.envelope.ID, Error: bus.Text(clip(cause.Error()))}.Encode()
	if err == nil {
		err = send(m.envelope.ResponseTopic, answer)
	}
	if err != nil {
		h.log.DebugContext(ctx, "answer not sent", slog.Any("err", err))
	}
}

func (h *Hook) mayLog(source string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Sub(h.logged[source]) < time.Minute {
		return false
	}
	if len(h.logged) >= logSources {
		clear(h.logged)
	}
	h.logged[source] = now
	return true
}

var errPanic = errors.New("the code panicked over it")

// finish stores messages, enters them, and sends the receipts. When the code
// panics over several, it takes them one by one: what harms one does not harm
// the others.
func (h *Hook) finish(ctx context.Context, messages []*message, send func(topic string, payload []byte) error) {
	if h.guardedFinish(ctx, messages, send) {
		return
	}
	for _, m := range messages {
		if len(messages) == 1 || !h.guardedFinish(ctx, []*message{m}, send) {
			h.unsaid(ctx, m, "storing panicked: its source keeps the batch", errPanic)
		}
	}
}

func (h *Hook) guardedFinish(ctx context.Context, messages []*message, send func(topic string, payload []byte) error) (survived bool) {
	defer func() {
		if p := recover(); p != nil {
			h.log.ErrorContext(ctx, "storing panicked", slog.Int("batches", len(messages)), slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			survived = false
		}
	}()
	if err := h.store(ctx, messages); err != nil {
		if ctx.Err() == nil {
			h.log.ErrorContext(ctx, "batches neither stored nor receipted", slog.Int("batches", len(messages)), slog.Any("err", err))
		}
		return true
	}
	answers := receipts(messages)
	for _, topic := range slices.Sorted(maps.Keys(answers)) { // in one order, so that a simulation replays
		if err := send(topic, answers[topic]); err != nil { // they are sent again, and answered again
			h.log.DebugContext(ctx, "receipts not sent", slog.String("topic", topic), slog.Any("err", err))
		}
	}
	return true
}

// Handle reads and stores messages in one call; the simulation drives it, with a
// store and a clock of its own.
func (h *Hook) Handle(ctx context.Context, messages []bus.Message, send func(topic string, payload []byte) error) {
	read := make([]*message, 0, len(messages))
	for _, m := range messages {
		if msg := h.guardedRead(ctx, m, send); msg != nil {
			read = append(read, msg)
		}
	}
	if len(read) > 0 {
		h.finish(ctx, read, send)
	}
}
