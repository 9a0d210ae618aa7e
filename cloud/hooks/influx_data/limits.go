package influxdata

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// What a message costs of its source's rate at least, and one that is malformed
// or refused: it gives more work than a record that is stored.
const (
	costLeast   = 1
	costRefused = 100
)

const (
	// forgetAfter is how long a source is silent before its limits begin anew.
	forgetAfter = device.Micros(time.Hour / time.Microsecond)
	// sweepEvery bounds how often silent ones are looked for.
	sweepEvery = device.Micros(time.Second / time.Microsecond)
	// quarantineLeast is what a refused message takes of its source's share of
	// the quarantine at least: each is a write of its own.
	quarantineLeast = 4 << 10
	// One source that numbers nothing may take this share of the queue, so that
	// there is room for others when InfluxDB is slow.
	queueShare = 4
)

// Why a message is not taken now, as the metric says it.
const (
	byRate       = "rate"
	byQueue      = "queue"
	bySources    = "sources"
	byQuarantine = "quarantine"
)

// limits holds sources to their limits. Its state is bounded by the limits
// themselves; who is silent for an hour is forgotten. Times are those of the
// hook's clock; steps of it give a source more, or let it wait for as long as it
// takes to gain the same, never longer. Safe for concurrent use.
type limits struct {
	Limits

	now func() device.Micros

	mu       sync.Mutex // protects what follows, and all accounts and shelves
	accounts [2]map[string]*account
	swept    device.Micros
}

// account is what is known of a source: of its numbered batches or of what else
// it sends. They are apart so that nobody uses up what gateways need by sending
// under their names.
type account struct {
	heard      device.Micros
	rate       bucket // records
	quarantine bucket // bytes
	queued     int    // messages
	queuedSize int    // bytes
	series     int
	shelves    map[string]*shelf // by database
}

// shelf is what a source has stored in one database.
type shelf struct {
	series map[uint64]struct{} // hashes of those known
}

// bucket gives what has gathered in it, and lets the last one who takes go into
// debt: so a message of any size passes in the end.
type bucket struct {
	balance float64
	at      device.Micros
}

// fill adds what has gathered since the last time, up to most.
func (b *bucket) fill(now device.Micros, perSecond, most float64) {
	if b.at == 0 {
		b.balance = most
	} else if now > b.at {
		b.balance = min(most, b.balance+float64(now-b.at)/1e6*perSecond)
	}
	b.at = now
}

func newLimits(l Limits, now func() device.Micros) *limits {
	return &limits{Limits: l, now: now, accounts: [2]map[string]*account{make(map[string]*account), make(map[string]*account)}}
}

// senderOf is who sends on a topic, and whether the topic ends in the id of a
// numbered batch. Of a topic that makes no sense it is nobody: together they
// have the limits of one.
func senderOf(topic string) (source string, numbered bool) {
	rest, _ := strings.CutPrefix(topic, "data/")
	source, rest, _ = strings.Cut(rest, "/")
	if len(source) > maxTopic {
		return "", false
	}
	_, rest, _ = strings.Cut(rest, "/")
	_, id, _ := strings.Cut(rest, "/")
	_, err := contract.ParseBatchID(id)
	return source, err == nil
}

// account gives a source's, nil when there is no room for one more. The caller
// holds mu.
func (l *limits) account(source string, numbered bool) *account {
	class, now := 0, l.now()
	if numbered {
		class = 1
	}
	a := l.accounts[class][source]
	if a == nil {
		if len(l.accounts[class]) >= l.Sources {
			l.sweep(now)
		}
		if len(l.accounts[class]) >= l.Sources {
			return nil
		}
		a = &account{shelves: make(map[string]*shelf)}
		l.accounts[class][source] = a
	}
	a.heard = now
	return a
}

// sweep forgets those who are silent. What still points to a shelf of theirs
// finds it empty.
func (l *limits) sweep(now device.Micros) {
	if now >= l.swept && now-l.swept < sweepEvery {
		return
	}
	l.swept = now
	for _, accounts := range l.accounts {
		for name, a := range accounts {
			if a.heard > now { // the clock went back
				a.heard = now
			}
			if now-a.heard < forgetAfter || a.queued > 0 {
				continue
			}
			for _, s := range a.shelves {
				s.series = make(map[uint64]struct{})
			}
			delete(accounts, name)
		}
	}
}

// forget looks for silent ones though no room is wanted.
func (l *limits) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(l.now())
}

// enqueue says why a message may not even wait, "" when it may. Numbered batches
// always may: their senders wait for receipts.
func (l *limits) enqueue(m bus.Message) string {
	source, numbered := senderOf(m.Topic)
	if numbered {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(source, false)
	if a == nil {
		return bySources
	}
	a.rate.fill(a.heard, float64(l.RecordsPerSecond), float64(l.BurstRecords))
	switch {
	case a.rate.balance <= 0:
		return byRate
	case a.queued >= queueLength/queueShare, a.queued > 0 && a.queuedSize+len(m.Payload) > queueBytes/queueShare:
		return byQueue
	}
	a.queued++
	a.queuedSize += len(m.Payload)
	return ""
}

// dequeue gives back the room of a message that enqueue let in.
func (l *limits) dequeue(m bus.Message) {
	source, numbered := senderOf(m.Topic)
	if numbered {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.account(source, false); a != nil {
		a.queued, a.queuedSize = max(0, a.queued-1), max(0, a.queuedSize-len(m.Payload))
	}
}

// charge takes what a message costs; false means that its source is in debt.
func (l *limits) charge(source string, cost int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(source, false)
	if a == nil {
		return false
	}
	a.rate.fill(a.heard, float64(l.RecordsPerSecond), float64(l.BurstRecords))
	if a.rate.balance <= 0 {
		return false
	}
	a.rate.balance -= float64(max(cost, costLeast))
	return true
}

// mayQuarantine takes the room of a refused message.
func (l *limits) mayQuarantine(m *message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(m.topic.Source, m.counted)
	if a == nil {
		return false
	}
	most := float64(l.QuarantineBytesPerHour)
	a.quarantine.fill(a.heard, most/3600, most)
	if a.quarantine.balance <= 0 {
		return false
	}
	a.quarantine.balance -= float64(max(len(m.payload), quarantineLeast))
	return true
}

// shelf is where a message's series are known, a new one for a database that
// the source has not stored into; nil when there is no room for the source.
func (l *limits) shelf(m *message) *shelf {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(m.topic.Source, m.counted)
	if a == nil {
		return nil
	}
	if s := a.shelves[m.database]; s != nil {
		return s
	}
	return &shelf{series: make(map[uint64]struct{})}
}

// has tells whether a series is known.
func (l *limits) has(s *shelf, series uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := s.series[series]
	return known
}

// keep remembers the series of a message, or says what to do when that would be
// too many.
func (l *limits) keep(m *message) error {
	if m.records == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(m.topic.Source, m.counted)
	if a == nil {
		return nil // forgotten this moment
	}
	s := a.shelves[m.database]
	if s == nil {
		if len(a.shelves) >= l.Databases {
			return fmt.Errorf("database %s would be one more than the %d that source %.80q may write into: mend the source, or raise influx_data.limits.databases; then hand this in again", m.database, l.Databases, m.topic.Source)
		}
		s = m.shelf
	}
	fresh := m.fresh[:0]
	for _, one := range m.fresh {
		if _, known := s.series[one]; !known {
			fresh = append(fresh, one)
		}
	}
	if a.series+len(fresh) > l.Series {
		return fmt.Errorf("%d new series (measurement, device id and unit) would be more than the %d that source %.80q may have, which has %d: mend the source, or raise influx_data.limits.series; then hand this in again", len(fresh), l.Series, m.topic.Source, a.series)
	}
	a.shelves[m.database] = s
	before := len(s.series)
	for _, one := range fresh {
		s.series[one] = struct{}{}
	}
	a.series += len(s.series) - before
	return nil
}

// seriesOf counts the series that are known of a source.
func (l *limits) seriesOf(source string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, accounts := range l.accounts {
		if a := accounts[source]; a != nil {
			n += a.series
		}
	}
	return n
}

// seed is of this process: hashes are compared within it only.
var seed = maphash.MakeSeed()

// seriesHash is what a series is known by. Of two series with one hash, one is
// not counted.
func seriesHash(id device.ID, measurement, unit string) uint64 {
	return maphash.Comparable(seed, [3]string{id.String(), measurement, unit})
}
