package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// ErrQuarantined is what a handler returns that has put a message aside itself,
// where people find it: its source need not send it again.
var ErrQuarantined = errors.New("put into quarantine")

// Sizes of a hook's queue, unless it says otherwise.
const (
	waiting      = 2048     // messages
	waitingBytes = 64 << 20 // bytes
)

// Readings is a hook that is given decoded readings.
//
// Delivery is at least once: a message may come twice, also when it was handled
// well, because its source did not hear of it. So Handle must be such that the
// second time changes nothing: a reading is the same reading when device,
// measurement and time are, and may be written over itself.
//
// What comes faster than Handle takes it waits in a bounded queue. What does not
// fit is shed: counted, and logged once a minute. A hook with Receipts loses
// nothing by it, for a source keeps what it has no receipt of and sends it again
// later, more slowly the longer it waits: that is the back pressure. A hook
// without them lives with gaps.
type Readings struct {
	// Name of the hook. Replicas with the same name share the messages, unless
	// they are Alone, when each is given all.
	Name  string
	Alone bool
	// Filters of the topics, data/... and state/...; without any the hook hears
	// what is addressed to it, data/+/<name>/#. [bus.DataFilter] is what agents
	// send to be stored, [bus.StateFilter] the newest reading of each device;
	// retained ones are given to those only who are Alone.
	Filters []string
	// Receipts tells sources that ask for it that their message was handled. It
	// is for a hook that hears what is addressed to it: of data that is stored by
	// another, only the other may say so.
	Receipts bool
	// Skip, if not nil, tells of a topic that its messages are of no interest. The
	// connection's reader calls it; it must not block.
	Skip func(topic string) bool
	// Before, if not nil, is called on each new connection before the hook
	// subscribes, for what it must know first.
	Before func(ctx context.Context, s *bus.Session) error
	// Handle does what the hook is for. An error is logged once per source and
	// minute; with Receipts the source gets none, unless the error is
	// [ErrQuarantined].
	Handle func(ctx context.Context, d Delivery) error
	// Concurrent is how many messages are handled at once, 0 means 1: in the order
	// in which they came. Queue and QueueBytes bound what waits; 0 means 2,048
	// messages and 64 MiB.
	Concurrent, Queue, QueueBytes int
	// Shed, Malformed and Failed, if not nil, count messages.
	Shed, Malformed, Failed func()
}

// Run connects and hands readings to Handle until ctx ends. It returns an error
// only for what can never work.
func (h Readings) Run(ctx context.Context, options bus.Options, log *slog.Logger) error {
	if h.Receipts && len(h.Filters) > 0 {
		return fmt.Errorf("hook %s: receipts are for what is addressed to it, data/+/%s/#, not for other filters", h.Name, h.Name)
	}
	if len(h.Filters) == 0 {
		h.Filters = []string{"data/+/" + h.Name + "/#"}
	}
	r := &reader{Readings: h, log: log, queue: NewQueue(cmp.Or(h.Queue, waiting), cmp.Or(h.QueueBytes, waitingBytes))}
	r.link = listener(h.Name, h.Alone, h.Before, options, log, r.take, h.Filters...)
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range cmp.Or(h.Concurrent, 1) {
		workers.Go(func() { r.work(ctx) })
	}
	err := r.link.Run(ctx)
	stop() // it may have ended before ctx, with an error
	workers.Wait()
	return err
}

type reader struct {
	Readings

	log     *slog.Logger
	link    *bus.Link
	queue   *Queue
	sparing Sparing
	shed    atomic.Int64 // since it was last said
}

// take is called by the connection's reader: it hands over and returns.
func (r *reader) take(m bus.Message) {
	if r.Skip != nil && r.Skip(m.Topic) || r.queue.Put(m) {
		return
	}
	count(r.Shed)
	r.shed.Add(1)
	if r.sparing.May("shed") {
		r.log.Warn("more comes than this hook can take", slog.String("component", r.Name), slog.Int64("messages", r.shed.Swap(0)))
	}
}

func (r *reader) work(ctx context.Context) {
	var decoder Decoder
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-r.queue.Next():
			r.queue.Took(m)
			r.handle(ctx, &decoder, m)
		}
	}
}

func (r *reader) handle(ctx context.Context, decoder *Decoder, m bus.Message) {
	d, err := decoder.Decode(m, time.Now())
	if err != nil {
		count(r.Malformed)
		if r.sparing.May("malformed " + d.Source) {
			r.log.WarnContext(ctx, "malformed readings", slog.String("component", r.Name), slog.String("source", d.Source),
				slog.String("topic", m.Topic[:min(len(m.Topic), 200)]), slog.Any("err", err))
		}
		return
	}
	d.Readings = slices.Clone(d.Readings) // Handle may keep them
	err = r.guard(ctx, d)
	if err != nil && !errors.Is(err, ErrQuarantined) {
		count(r.Failed)
		if ctx.Err() == nil && r.sparing.May("failed "+d.Source) {
			r.log.WarnContext(ctx, "readings not handled", slog.String("component", r.Name), slog.String("source", d.Source), slog.Any("err", err))
		}
		return
	}
	if r.Receipts && d.answer != "" && d.ID != "" {
		r.receipt(d, m.Payload, err)
	}
}

// guard keeps a panic over one message from the others.
func (r *reader) guard(ctx context.Context, d Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the hook panicked: %v: %s", p, debug.Stack())
		}
	}()
	return r.Handle(ctx, d)
}

func (r *reader) receipt(d Delivery, payload []byte, aside error) {
	one := []Receipt{{d.ID, contract.DigestOf(payload)}}
	all := Receipts{Stored: one}
	if aside != nil {
		all = Receipts{Quarantined: one}
	}
	text, err := all.Encode()
	if err == nil {
		err = r.link.Send(bus.Message{Topic: d.answer, Payload: text})
	}
	if err != nil { // it is sent again, and answered again
		r.log.Debug("receipt not sent", slog.String("source", d.Source), slog.Any("err", err))
	}
}

func count(inc func()) {
	if inc != nil {
		inc()
	}
}
