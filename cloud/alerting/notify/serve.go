package notify

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	idle = time.Minute // when nothing waits
	// A message that was not taken is sent again after firstRetry, then twice as
	// long each time, up to mostRetry; one that was refused after mostRefused.
	firstRetry  = 2 * time.Second
	mostRetry   = 5 * time.Minute
	mostRefused = 30 * time.Minute
	maxFault    = 300 // characters of an error that are shown
	// setBack is how far in the future the past is when the clock was set back: who
	// has waited since then has waited long enough.
	setBack = time.Minute
)

// serve sends what is due, and says how long nothing will be.
func (d *Desk) serve(ctx context.Context, w *window, now time.Time) time.Duration {
	w.mu.Lock()
	pause := w.next.Sub(now)
	w.mu.Unlock()
	if pause > 0 {
		return pause
	}
	m, wait, err := d.prepare(w, now)
	if err != nil {
		d.log.ErrorContext(ctx, "notifications not read", slog.String("receiver", w.Name), slog.Any("err", err))
		return idle
	}
	if m == nil {
		return wait
	}
	if m.Key != w.taken {
		limit, cancel := context.WithTimeout(ctx, d.options.SendTimeout)
		err = w.Sender.Send(limit, *m)
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return idle // it is sent again at the next start
		case err != nil:
			return d.answered(ctx, w, now, err)
		}
		w.taken = m.Key
	}
	if err := d.landed(w, now); err != nil { // no fault of the receiver's, who must not get it again for it
		d.log.ErrorContext(ctx, "notification sent, and that is not written; a restart now would send it again", slog.String("receiver", w.Name), slog.Any("err", err))
		return idle
	}
	return d.answered(ctx, w, now, nil)
}

// answered notes how an attempt went.
func (d *Desk) answered(ctx context.Context, w *window, now time.Time, err error) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		if !w.failing.IsZero() {
			d.log.InfoContext(ctx, "receiver takes notifications again", slog.String("receiver", w.Name), slog.Duration("duration", now.Sub(w.failing)))
		}
		w.tries, w.next, w.failing, w.fault, w.sent, w.flying = 0, time.Time{}, time.Time{}, "", now, false
		return 0
	}
	w.tries++
	pause := min(mostRetry, firstRetry<<min(w.tries-1, 10))
	if refused, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err); ok && refused.Refused() {
		pause = mostRefused
	}
	if told, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		pause = max(pause, min(told.RetryAfter(), mostRefused))
	}
	pause += mathrand.N(pause/4 + 1)
	if w.failing.IsZero() {
		w.failing = now
		d.log.WarnContext(ctx, "receiver takes no notifications; they are kept", slog.String("receiver", w.Name), slog.Any("err", err))
	}
	w.fault = strings.ToValidUTF8(fmt.Sprintf("%.*s", maxFault, err), "")
	w.next = now.Add(pause)
	return pause
}

// prepare gives the message that is under way, or makes one if it is time;
// otherwise it says when it will be.
func (d *Desk) prepare(w *window, now time.Time) (m *Message, wait time.Duration, err error) {
	// Asked before any transaction: who answers may hold a lock and wait for the file.
	site := d.options.Site()
	var due []waiting
	err = d.db.View(func(tx *bbolt.Tx) error {
		q, err := queueOf(tx, w.Name)
		if err != nil {
			return err
		}
		if m, err = q.flight(); err == nil && m == nil {
			due, wait, err = w.due(q, site, now)
		}
		return err
	})
	if errors.Is(err, errDamaged) {
		if err := d.mend(w); err != nil {
			return nil, idle, err
		}
		return d.prepare(w, now)
	}
	if err != nil || len(due) == 0 { // most turns, which cost no fsync
		return m, wait, err
	}
	err = d.db.Update(func(tx *bbolt.Tx) error {
		q, err := queueOf(tx, w.Name)
		if err != nil {
			return err
		}
		if due, _, err = w.due(q, site, now); err != nil { // what came meanwhile goes along
			return err
		}
		m, err = d.freeze(w, q, due, site, now)
		return err
	})
	if err != nil {
		return nil, idle, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying, w.waiting = true, w.waiting-len(due)
	return m, 0, nil
}

// flight is the message under way; nil without one.
func (q queue) flight() (*Message, error) {
	text := q.state.Get(flightKey)
	if text == nil {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	var m Message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: message under way: %w", errDamaged, err)
	}
	return &m, nil
}

// due are the items that go into a message now; none when it is not time.
func (w *window) due(q queue, site contract.Site, now time.Time) (due []waiting, wait time.Duration, err error) {
	wait = idle
	var all []waiting
	err = q.items.ForEach(func(k, text []byte) error {
		var item waiting
		if err := json.Unmarshal(text, &item); err != nil {
			return fmt.Errorf("%w: item %.200q: %w", errDamaged, k, err)
		}
		all = append(all, item)
		return nil
	})
	if err != nil {
		return nil, idle, err
	}
	w.mu.Lock()
	w.waiting = len(all)
	w.mu.Unlock()
	if digest := w.digestIn(all, site, now); digest > 0 {
		wait = min(idle, digest)
		all = slices.DeleteFunc(all, func(i waiting) bool { return i.Alert.Severity == contract.Info })
	}
	if len(all) == 0 {
		return nil, wait, nil
	}
	oldest, critical := all[0].Entered, false
	for _, item := range all {
		oldest = min(oldest, item.Entered)
		critical = critical || item.Event == Began && item.Alert.Severity == contract.Critical
	}
	pause := w.capped(q, critical, now)
	if waited := now.Sub(time.UnixMicro(int64(oldest))); waited > -setBack {
		pause = max(pause, w.Wait-waited)
	}
	if oldest == 0 { // somebody tries, and looks at the clock
		pause = 0
	}
	if pause > 0 {
		return nil, min(wait, pause), nil
	}
	return all, 0, nil
}

// capped is how long a receiver has enough messages.
func (w *window) capped(q queue, critical bool, now time.Time) time.Duration {
	if w.Most == 0 {
		return 0
	}
	most := w.Most
	if critical {
		most *= 2
	}
	sent := q.sent(now)
	if len(sent) < most {
		return 0
	}
	return time.UnixMicro(int64(sent[len(sent)-most])).Add(time.Hour).Sub(now)
}

// sent are the times of the messages of the last hour, oldest first; those of a
// clock that was set back since are forgotten.
func (q queue) sent(now time.Time) (times []device.Micros) {
	if json.Unmarshal(q.state.Get(sentKey), &times) != nil {
		return nil
	}
	hour := device.MicrosOf(now.Add(-time.Hour))
	return slices.DeleteFunc(times, func(t device.Micros) bool { return t <= hour || t > device.MicrosOf(now) })
}

// digestIn is how long it takes until information is told: until the time of the
// day comes for the first time after the oldest was entered. 0 is now.
func (w *window) digestIn(all []waiting, site contract.Site, now time.Time) time.Duration {
	var oldest time.Time
	for _, item := range all {
		if at := time.UnixMicro(int64(item.Entered)); item.Alert.Severity == contract.Info && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	if w.Digest == nil || oldest.IsZero() {
		return 0
	}
	zone, err := time.LoadLocation(site.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	oldest = oldest.In(zone)
	at := func(day int) time.Time {
		return time.Date(oldest.Year(), oldest.Month(), oldest.Day()+day, int(*w.Digest)/60, int(*w.Digest)%60, 0, 0, zone)
	}
	due := at(0)
	if due.Before(oldest) {
		due = at(1)
	}
	return max(0, due.Sub(now))
}

// freeze makes a message of items, which it is from then on.
func (d *Desk) freeze(w *window, q queue, due []waiting, site contract.Site, now time.Time) (*Message, error) {
	slices.SortFunc(due, func(a, b waiting) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Alert.Since, b.Alert.Since), cmp.Compare(a.Alert.ID, b.Alert.ID))
	})
	m := &Message{
		Key: newKey(), Receiver: w.Name, Site: site.Name, At: device.MicrosOf(now), Link: d.options.Link,
		Omitted: q.omitted() + max(0, len(due)-MaxItems),
	}
	if err := q.state.Delete(omittedKey); err != nil {
		return nil, err
	}
	for n, item := range due {
		key := []byte(item.Alert.ID)
		if n < MaxItems {
			m.Items = append(m.Items, item.Item)
		}
		if item.Event != Over && item.Event != Was && item.Event != Trials {
			if err := q.told.Put(key, []byte{1}); err != nil {
				return nil, err
			}
		}
		if err := q.items.Delete(key); err != nil {
			return nil, err
		}
	}
	return m, q.store(flightKey, m)
}

// rank orders a message: what began, the gravest first, then what is over.
func (i waiting) rank() int {
	over := 0
	if i.Event == Over || i.Event == Was {
		over = 10
	}
	return over - slices.Index(severities, i.Alert.Severity)
}

// landed forgets the message that was taken.
func (d *Desk) landed(w *window, now time.Time) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		q, err := queueOf(tx, w.Name)
		if err != nil {
			return err
		}
		if w.Most > 0 {
			if err := q.store(sentKey, append(q.sent(now), device.MicrosOf(now))); err != nil {
				return err
			}
		}
		return q.state.Delete(flightKey)
	})
}

func (q queue) store(key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return q.state.Put(key, text)
}

func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}
