package world

import (
	"strings"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// truth is what really happened: which reading, known by its number, was
// accepted when, in which batch, and what became of it.
type truth struct {
	w        *world
	readings []*reading // by number; 0 is none
	batches  map[contract.BatchID]*batch
	used     map[point]int // times given to readings of a device
	heads    map[headKey]headMade
	swallow  map[contract.BatchID]bool
	sends    map[contract.BatchID]int
	claims   []claim
}

// reading is one numbered reading; its number is the power that it reports.
type reading struct {
	n         int
	box       *box
	dev       device.ID
	at        device.Micros // of the point; 0 while that is not known
	batch     contract.BatchID
	committed device.Micros // 0: not accepted
	dated     device.Micros // when its time was set, later than committed without a clock
	bound     device.Micros // newest time that was known when it was accepted
	accounted device.Micros // when it was stored, quarantined, expired or told
	how       string
	thrown    device.Micros // with the disk that held it
	behind    bool          // dated before readings that were accepted earlier
	boot      string
	undated   bool // its box did not know any time before
	estimated bool
	collides  bool // an estimate gave its very time to another reading
	poison    bool // InfluxDB refuses it
	ancient   bool // InfluxDB keeps nothing so old
}

// batch is what an id stands for.
type batch struct {
	id       contract.BatchID
	gateway  *gateway
	digests  []contract.Digest
	numbers  []int
	replaces []contract.Range
	thrown   bool // with a disk
}

type point struct {
	dev device.ID
	at  device.Micros
}

type headKey struct {
	epoch  contract.Epoch
	uptime device.Micros
}

type headMade struct {
	box *box
	at  device.Micros
}

func newTruth(w *world) *truth {
	return &truth{
		w: w, readings: []*reading{nil}, batches: make(map[contract.BatchID]*batch), used: make(map[point]int),
		heads: make(map[headKey]headMade), swallow: make(map[contract.BatchID]bool), sends: make(map[contract.BatchID]int),
	}
}

// number gives the next number.
func (t *truth) number(b *box, dev device.ID) int {
	n := len(t.readings)
	p := t.w.plan
	t.readings = append(t.readings, &reading{n: n, box: b, dev: dev, poison: t.w.chance(p.poison), ancient: t.w.chance(p.ancient)})
	return n
}

// free is the first time from when on that a reading may have without taking
// the place of another's point: one that no reading of the device has, or one
// that waits in this very outbox, which must then move the new one.
func (t *truth) free(b *box, dev device.ID, when device.Micros) device.Micros {
	for ; ; when++ {
		n, taken := t.used[point{dev, when}]
		_, next := t.used[point{dev, when + 1}]
		if !taken || !next && t.readings[n].accounted == 0 && b.holds(t.readings[n].batch) && !b.g.copied {
			if t.used[point{dev, when}] = len(t.readings) - 1; taken {
				b.commitNow = true // while the outbox still has the other one
			}
			return when
		}
	}
}

// waitingTime is the time of a reading that waits in the box, of its first
// device.
func (t *truth) waitingTime(b *box) (device.Micros, bool) {
	for _, id := range b.waiting() {
		if known := t.batches[id]; known != nil {
			for _, n := range known.numbers {
				if r := t.readings[n]; r.dev == b.g.devices[0] {
					return r.at, true
				}
			}
		}
	}
	return 0, false
}

// committed takes note of a commit.
func (t *truth) committed(b *box) {
	loose := make(map[int]bool, len(b.loose))
	for _, n := range b.loose {
		loose[n] = true
	}
	pending := b.pending
	b.unclocked = append(b.unclocked, b.loose...)
	b.pending, b.loose = nil, nil
	for _, n := range pending {
		t.readings[n].committed, t.readings[n].bound = t.w.now, b.g.newest
		t.readings[n].boot, t.readings[n].undated = b.bootID, !b.dated
		b.g.readings++
		t.w.counts.Readings++
		if loose[n] {
			t.w.counts.Unclocked++
		}
	}
	head, _ := b.o.Head()
	var dropped []*batch // made and dropped by one commit
	for ; b.captured < head.Sequence; b.captured++ {
		id := contract.BatchID{Epoch: head.Epoch, Sequence: b.captured + 1}
		block, ok, err := b.o.Block(id)
		if err != nil {
			t.w.violate("%s: %v", b.name, err)
			return
		}
		if !ok {
			dropped = append(dropped, t.batch(b.g, id))
			continue
		}
		t.register(b, block)
	}
	if len(dropped) == 0 {
		return
	}
	for _, n := range append(pending, b.unclocked...) {
		stays := b.o.Stats().Unclocked > 0 && (loose[n] || t.readings[n].boot != b.bootID && t.readings[n].undated)
		if r := t.readings[n]; r.batch == (contract.BatchID{}) && !stays {
			r.batch = dropped[0].id
			dropped[0].numbers = append(dropped[0].numbers, n)
			b.clocked(n)
		}
	}
}

// clocked takes a number from the list of those without time.
func (b *box) clocked(n int) {
	for i, u := range b.unclocked {
		if u == n {
			b.unclocked = append(b.unclocked[:i], b.unclocked[i+1:]...)
			return
		}
	}
}

func (t *truth) batch(g *gateway, id contract.BatchID) *batch {
	known := t.batches[id]
	if known == nil {
		known = &batch{id: id, gateway: g}
		t.batches[id] = known
		t.w.counts.Batches++
	}
	return known
}

// register reads what a batch says.
func (t *truth) register(b *box, block contract.Block) {
	w := t.w
	known := t.batch(b.g, block.ID)
	if len(known.digests) > 0 && !b.g.twin {
		w.violate("%s: batch %v has two contents", b.name, block.ID)
	}
	known.digests = append(known.digests, contract.DigestOf(block.Payload))
	envelope, records, err := read(block.Payload)
	if err != nil || envelope.Batch == nil {
		w.violate("%s: batch %v: %v", b.name, block.ID, err)
		return
	}
	known.replaces = append(known.replaces, envelope.Batch.Replaces...)
	if len(known.replaces) > 0 {
		w.counts.Dropped++
	}
	numbers := 0
	for _, r := range records {
		if !strings.HasSuffix(r.Name, "/"+device.Power) {
			continue
		}
		n := int(r.Value)
		reading := t.readings[n]
		reading.batch, reading.at, reading.estimated = block.ID, r.Time, envelope.Batch.Estimated != nil
		reading.behind, reading.dated = r.Time <= b.g.newest, t.w.now
		if reading.estimated {
			w.counts.Estimated++
		}
		if other, taken := t.used[point{reading.dev, r.Time}]; taken && other != n && (reading.estimated || t.readings[other].estimated) {
			reading.collides, t.readings[other].collides = true, true
		}
		t.used[point{reading.dev, r.Time}] = n
		known.numbers = append(known.numbers, n)
		b.clocked(n)
		b.dated = true
		numbers++
	}
	for _, n := range known.numbers {
		b.g.newest = max(b.g.newest, t.readings[n].at)
	}
	if len(envelope.Batch.Replaces) > 0 {
		b.g.newest = max(b.g.newest, envelope.Batch.To) // of readings that were dropped before anybody saw their times
	}
	w.trace("%s commits %v: readings %v of %v..%v, replaces %v", b.name, block.ID, known.numbers, envelope.Batch.From.Time().Format("15:04:05.000000"), envelope.Batch.To.Time().Format("15:04:05.000000"), envelope.Batch.Replaces)
	if len(envelope.Batch.Replaces) == 0 && envelope.Batch.Readings != numbers {
		w.violate("%s: batch %v says %d readings, has %d", b.name, block.ID, envelope.Batch.Readings, numbers)
	}
}

// read takes a payload apart.
func read(payload []byte) (bus.Envelope, []senml.Record, error) {
	e, err := bus.Decode(payload)
	if err != nil {
		return e, nil, err
	}
	records, err := senml.Decode(e.Data, bus.MaxRecords)
	return e, records, err
}

// sent counts sends; swallowed tells batches that never arrive, before the
// healing.
func (t *truth) sent(id contract.BatchID) {
	if t.sends[id]++; t.sends[id] > 1 {
		t.w.counts.Resent++
	}
}

func (t *truth) swallowed(id contract.BatchID) bool {
	if t.w.healing {
		return false
	}
	lost, known := t.swallow[id]
	if !known {
		lost = t.w.chance(t.w.plan.blackhole)
		t.swallow[id] = lost
	}
	return lost
}

// thrown notes what is lost with a box's disk.
func (t *truth) thrown(b *box) {
	t.mark(b, t.w.now)
	for _, n := range b.unclocked {
		t.readings[n].thrown = t.w.now
	}
}

// mark sets when what waits in a box was thrown away, tombstones and what they
// tell of included; 0 when it is back.
func (t *truth) mark(b *box, at device.Micros) {
	seen := make(map[contract.BatchID]bool)
	var each func(id contract.BatchID)
	each = func(id contract.BatchID) {
		known := t.batches[id]
		if known == nil || seen[id] {
			return
		}
		seen[id], known.thrown = true, at != 0
		for _, n := range known.numbers {
			t.readings[n].thrown = at
		}
		for _, r := range known.replaces {
			for seq := r.From; seq <= r.To; seq++ {
				each(contract.BatchID{Epoch: r.Epoch, Sequence: seq})
			}
		}
	}
	for _, id := range b.waiting() {
		each(id)
	}
}

// made notes a head.
func (t *truth) made(b *box, h ledger.Head) {
	t.heads[headKey{h.Epoch, h.Uptime}] = headMade{b, t.w.now}
}

// headStored notes that a head can be read in the ledger.
func (t *truth) headStored(epoch contract.Epoch, uptime device.Micros) {
	if m, ok := t.heads[headKey{epoch, uptime}]; ok {
		m.box.heads = append(m.box.heads, headSeen{m.at, t.w.now})
	}
}

// account notes what became of a reading.
func (t *truth) account(n int, how string) {
	if n <= 0 || n >= len(t.readings) {
		t.w.violate("a reading %d that never was is %s", n, how)
		return
	}
	if r := t.readings[n]; r.accounted == 0 {
		r.accounted, r.how = t.w.now, how
	}
}

// told notes that a tombstone's entry is in the ledger.
func (t *truth) told(replaces []contract.Range) {
	for _, r := range replaces {
		for seq := r.From; seq <= r.To; seq++ {
			if known := t.batches[contract.BatchID{Epoch: r.Epoch, Sequence: seq}]; known != nil {
				for _, n := range known.numbers {
					t.account(n, "told")
				}
			}
		}
	}
}

// headAfter is when a head that was made after a commit, and before its disk was
// thrown away, could first be read; 0 when none could.
func (b *box) headAfter(committed, thrown device.Micros) (seen device.Micros) {
	for _, h := range b.heads {
		if h.made >= committed && (thrown == 0 || h.made < thrown) && (seen == 0 || h.seen < seen) {
			seen = h.seen
		}
	}
	return seen
}
