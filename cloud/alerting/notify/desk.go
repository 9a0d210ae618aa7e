package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Receiver is who is told, and how often.
type Receiver struct {
	Name   string
	Kind   string            // email, webhook: for people who look
	From   contract.Severity // the least that is told
	Wait   time.Duration     // for what comes together
	Most   int               // messages an hour; twice as many when something critical began; 0: no limit
	Digest *rule.Clock       // when information is told, once a day; nil: like everything else
	Over   bool              // tell what is over
	Sender Sender
}

// Options are what the desk needs beside its receivers.
type Options struct {
	// Site is asked for the name and the time zone, within no transaction.
	Site func() contract.Site
	// Link is where people can look at the alerts; may be empty.
	Link string
	// SendTimeout bounds one attempt.
	SendTimeout time.Duration
}

// Desk has the queues of all receivers. Its methods are safe for concurrent use.
type Desk struct {
	db      *bbolt.DB
	options Options
	log     *slog.Logger
	windows []*window
}

// window is where one receiver is served.
type window struct {
	Receiver
	poke  chan struct{}
	log   *slog.Logger
	taken string // key of the message that was taken last; of whoever serves

	mu      sync.Mutex // protects the fields below
	waiting int
	damaged int // records that were set aside since the start
	flying  bool
	tries   int       // of the message under way
	next    time.Time // not before
	failing time.Time // since when it takes nothing; zero when it does
	fault   string
	sent    time.Time
}

// Open makes the queues of the receivers in db, and forgets those of receivers
// that there are no more.
func Open(db *bbolt.DB, receivers []Receiver, options Options, log *slog.Logger) (*Desk, error) {
	d := &Desk{db: db, options: options, log: log}
	for _, r := range receivers {
		d.windows = append(d.windows, &window{Receiver: r, poke: make(chan struct{}, 1)})
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		gone, err := d.open(tx)
		for _, name := range gone {
			log.Warn("receiver is not configured any more; what waited for it is deleted", slog.String("receiver", name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the queues of receivers: %w", err)
	}
	return d, nil
}

// Enter queues what the receivers must be told of the changes. It belongs into
// the transaction that keeps the alerts; call Poke when that is committed.
func (d *Desk) Enter(tx *bbolt.Tx, changes []engine.Change, now device.Micros) error {
	for _, w := range d.windows {
		q, err := queueOf(tx, w.Name)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if !w.wants(c) && !q.owes(c) {
				continue
			}
			if err := w.enter(q, c, now); err != nil {
				return fmt.Errorf("queue for receiver %s: %w", w.Name, err)
			}
		}
	}
	return nil
}

// Poke lets the receivers be served.
func (d *Desk) Poke() {
	for _, w := range d.windows {
		select {
		case w.poke <- struct{}{}:
		default:
		}
	}
}

// Run serves all receivers until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	for _, w := range d.windows {
		serving.Go(func() {
			for ctx.Err() == nil {
				timer := time.NewTimer(d.serve(ctx, w, time.Now()))
				select {
				case <-timer.C:
				case <-w.poke:
				case <-ctx.Done():
				}
				timer.Stop()
			}
		})
	}
	serving.Wait()
	return nil
}

// Serve sends what is due at now, to one receiver after the other, and says when
// to ask again. It is for those who have a clock of their own; Run has the wall's.
func (d *Desk) Serve(ctx context.Context, now time.Time) time.Duration {
	soon := idle
	for _, w := range d.windows {
		soon = min(soon, d.serve(ctx, w, now))
	}
	return soon
}

// Trial is the alert by which somebody tries whether a receiver is told.
func Trial(receiver, who string, now device.Micros) contract.Alert {
	return contract.Alert{
		ID: fmt.Sprintf("trial/%s/%d", receiver, now), Rule: "trial", Severity: contract.Critical, Subject: engine.Site, State: contract.Firing, Since: now, Fired: now,
		Summary: "This is a trial by " + cmp.Or(who, "somebody") + ". Nothing is wrong.",
	}
}

// ErrUnknown means that no receiver has this name.
var ErrUnknown = errors.New("no such receiver")

// Try queues a message that only says that somebody tries.
func (d *Desk) Try(name, who string, now device.Micros) error {
	for _, w := range d.windows {
		if w.Name != name {
			continue
		}
		err := d.db.Update(func(tx *bbolt.Tx) error {
			q, err := queueOf(tx, name)
			if err != nil {
				return err
			}
			return w.put(q, waiting{Item: Item{Trials, Trial(name, who, now)}, Entered: 0})
		})
		if err != nil {
			return fmt.Errorf("queue a trial for receiver %s: %w", name, err)
		}
		w.mu.Lock()
		w.next = time.Time{} // who tries may have mended it
		w.mu.Unlock()
		d.Poke()
		return nil
	}
	return fmt.Errorf("%w: %.64q", ErrUnknown, name)
}

// Status is how a receiver is.
type Status struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	From    contract.Severity `json:"from"`
	Waiting int               `json:"waiting"`   // alerts
	Flying  bool              `json:"in_flight"` // a message is being sent, again and again if need be
	Failing device.Micros     `json:"failing_since,omitempty"`
	Fault   string            `json:"last_error,omitempty"`
	Sent    device.Micros     `json:"last_sent,omitempty"`
	Damaged int               `json:"damaged,omitempty"` // records that could not be read, since the start
	// Unreached are recipients that the receiver's server refuses while it takes the
	// message for others, and what it says of them.
	Unreached map[string]string `json:"unreached,omitempty"`
}

// Statuses are those of all receivers, in their order.
func (d *Desk) Statuses() []Status {
	all := make([]Status, 0, len(d.windows))
	for _, w := range d.windows {
		w.mu.Lock()
		s := Status{Name: w.Name, Kind: w.Kind, From: w.From, Waiting: w.waiting, Flying: w.flying, Fault: w.fault, Damaged: w.damaged}
		if !w.failing.IsZero() {
			s.Failing = device.MicrosOf(w.failing)
		}
		if !w.sent.IsZero() {
			s.Sent = device.MicrosOf(w.sent)
		}
		w.mu.Unlock()
		if some, ok := w.Sender.(interface{ Unreached() map[string]string }); ok {
			s.Unreached = some.Unreached()
		}
		all = append(all, s)
	}
	return all
}

// Failing counts the receivers that do not take their messages.
func (d *Desk) Failing() (n int) {
	for _, s := range d.Statuses() {
		if s.Failing != 0 {
			n++
		}
	}
	return n
}
