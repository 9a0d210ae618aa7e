package world

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/edge/forwarder"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var quiet = slog.New(slog.DiscardHandler)

// gateway is a name on the bus, and the boxes that speak in it: one, unless it
// was copied.
type gateway struct {
	w          *world
	name       string
	devices    []device.ID
	boxes      []*box
	image      []byte // an old copy of an outbox
	imageDated bool
	// What was done to it, which the ledger may or must notice.
	tampered, copied, twin bool
	readings               int
	newest                 device.Micros // time of a reading accepted
}

func newGateway(w *world, name string, floor int) *gateway {
	g := &gateway{w: w, name: name}
	for n := range 3 {
		id, err := device.Parse(fmt.Sprintf("sp_f%d.g%d", floor, n))
		if err != nil {
			panic(err) // a constant
		}
		g.devices = append(g.devices, id)
	}
	b := g.newBox()
	b.start(0)
	if w.plan.twin {
		g.tampered, g.copied, g.twin = true, true, true
		w.counts.Twins++
		twin := g.newBox()
		twin.write(b.read())
		twin.start(b.epoch) // a machine that was copied while it ran
	}
	return g
}

func (g *gateway) newBox() *box {
	w := g.w
	b := &box{w: w, g: g, name: fmt.Sprintf("%s.%c", g.name, 'a'+len(g.boxes)), set: true}
	b.path = filepath.Join(w.options.Dir, fmt.Sprintf("%x-%s.db", w.rand.Uint64(), b.name))
	b.boot()
	g.boxes = append(g.boxes, b)
	return b
}

// each gives what does something to one of the boxes that live.
func (g *gateway) each(do func(*box)) func() {
	return func() {
		if alive := g.alive(); len(alive) > 0 {
			do(alive[g.w.rand.IntN(len(alive))])
		}
	}
}

func (g *gateway) alive() (list []*box) {
	for _, b := range g.boxes {
		if !b.gone {
			list = append(list, b)
		}
	}
	return list
}

func (g *gateway) parallel() bool { return len(g.alive()) > 1 }

// box is one machine: an outbox file, and while the process runs the outbox and
// the forwarder.
type box struct {
	w    *world
	g    *gateway
	name string
	path string
	gone bool // for ever
	idle bool // polls no more

	run   int // of the process
	o     *outbox.Outbox
	f     *forwarder.Forwarder
	epoch contract.Epoch
	conn  *conn
	wake  device.Micros

	bootID string
	booted device.Micros
	offset device.Micros // of its clock from the true time
	set    bool          // its clock is
	aim    bool          // its next reading falls on the time of an earlier one

	captured  uint64 // last batch that truth knows of this epoch
	pending   []int  // accepted into memory
	loose     []int  // of those, without time
	unclocked []int  // committed without time
	heads     []headSeen
	commitNow bool
	dated     bool   // some batch was committed since its disk was empty
	lastSync  []byte // of a variant
}

// headSeen is when a head of this box was made, and could be read in the ledger.
type headSeen struct{ made, seen device.Micros }

func (b *box) boot() {
	b.bootID = fmt.Sprintf("boot-%x", b.w.rand.Uint64())
	b.booted = b.w.now - device.Micros(b.w.rand.IntN(1_000_000))
}

func (b *box) clock() (device.Micros, bool) {
	if !b.set {
		return b.w.now - b.booted, false
	}
	return b.w.now + b.offset, true
}

func (b *box) uptime() device.Micros { return b.w.now - b.booted }

// start begins a process; epoch 0 draws one.
func (b *box) start(epoch contract.Epoch) {
	w := b.w
	if b.gone || b.o != nil {
		return
	}
	if epoch == 0 {
		epoch = contract.Epoch(w.rand.Uint64() | 1)
		if w.options.Variant == ReuseEpoch && b.epoch != 0 {
			epoch = b.epoch
		}
	}
	b.epoch, b.captured, b.pending, b.loose = epoch, 0, nil, nil
	b.run++
	limit := w.plan.limit
	if limit == 0 {
		limit = 1 << 40
	}
	b.ballast()
	w.beforeStart(b)
	o, err := outbox.Open(outbox.Options{
		Config: outbox.Config{Path: b.path, Limit: limit, Compression: w.compression()}, Gateway: b.g.name, Epoch: epoch,
		Clock: b.clock, Boot: func() (string, float64) { return b.bootID, float64(b.uptime()) / 1e6 },
		InWindow: func(id contract.BatchID) bool { return b.f != nil && b.f.InWindow(id) },
		FreeDisk: func(string) (int64, error) { return 1 << 40, nil }, NoSync: true,
	}, quiet)
	if err != nil {
		w.violate("%s: %v", b.name, err)
		return
	}
	b.o = o
	head, _ := o.Head()
	b.captured = head.Sequence
	b.restarted()
	b.f = forwarder.New(forwarder.Options{Source: w.source(b), Send: b.send, Random: w.rand.Float64}, quiet)
	w.trace("%s starts epoch %v", b.name, epoch)
	run := b.run
	w.after(w.between(0, w.plan.poll), func() { b.polling(run) })
	w.after(w.between(0, w.plan.status), func() { b.speaking(run) })
	b.connectLater()
}

// ballast puts a file of the right size there, without the work of writing it.
func (b *box) ballast() {
	path := b.path + ".ballast"
	if _, err := os.Stat(path); err == nil {
		return
	}
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 4<<20)); err != nil {
		b.w.violate("%v", err)
	}
}

func (b *box) removeFiles() {
	_ = os.Remove(b.path)
	_ = os.Remove(b.path + ".ballast")
}

// stop ends the process: gracefully, or as a kill would.
func (b *box) stop(gracefully bool) {
	if b.o == nil {
		return
	}
	if gracefully {
		b.commit()
		if err := b.o.Close(); err != nil {
			b.w.violate("%s: close: %v", b.name, err)
		}
	} else {
		b.o.Abandon()
	}
	if b.conn != nil {
		b.conn.cut = true
	}
	b.o, b.f, b.conn = nil, nil, nil
	b.run++
	if !gracefully {
		b.w.afterStop(b)
	}
}

// polling reads the plugs and commits, again and again.
func (b *box) polling(run int) {
	if b.run != run || b.o == nil || b.idle {
		return
	}
	w := b.w
	if b.aim && b.set {
		b.aim = false
		if t, ok := w.truth.waitingTime(b); ok {
			b.offset = t - w.now
		}
	}
	at, set := b.clock()
	for i, dev := range b.g.devices {
		if w.chance(0.3) {
			continue
		}
		n := w.truth.number(b, dev)
		when := at + device.Micros(i*7)
		if set {
			when = w.truth.free(b, dev, when)
		}
		power := device.Watts(n)
		if err := b.o.Accept(device.Reading{Device: dev, Time: when, Measurement: device.Measurement{Power: &power}}, set); err != nil {
			w.violate("%s: accept: %v", b.name, err)
		}
		if b.pending = append(b.pending, n); !set {
			b.loose = append(b.loose, n)
		}
	}
	if !w.chance(0.1) || b.commitNow {
		b.commit()
	}
	w.after(w.between(w.plan.poll*9/10, w.plan.poll*11/10), func() { b.polling(run) })
}

func (b *box) commit() {
	b.commitNow = false
	b.w.beforeCommit(b)
	if err := b.o.Commit(); err != nil {
		b.w.violate("%s: commit: %v", b.name, err)
		return
	}
	b.w.truth.committed(b)
	b.w.afterCommit(b)
	if b.o != nil {
		b.wakeAt(b.w.now)
	}
}

// wakeAt lets the forwarder take its next step at a time, or earlier.
func (b *box) wakeAt(t device.Micros) {
	if b.f == nil || b.wake > b.w.now && b.wake <= t {
		return
	}
	b.wake = t
	run := b.run
	b.w.at(t, func() {
		if b.run != run || b.wake != t || b.f == nil {
			return
		}
		b.wake = 0
		next := b.f.Step(b.w.ctx, b.w.time())
		b.wakeAt(max(device.MicrosOf(next), b.w.now+1000))
	})
}

// send is the forwarder's way to the broker.
func (b *box) send(id contract.BatchID, payload []byte) error {
	w := b.w
	if b.conn == nil {
		return errors.New("not connected")
	}
	c := b.conn
	w.truth.sent(id)
	if w.truth.swallowed(id) {
		w.trace("%s sends %v, which never arrives", b.name, id)
	} else {
		w.trace("%s sends %v", b.name, id)
		topic := bus.Data{Source: b.g.name, Hook: "influx_data", Database: "sp", Batch: id.String()}.String()
		payload := bytes.Clone(payload)
		w.travel(c, "batch "+id.String(), func() { w.toHooks(bus.Message{Topic: topic, Payload: w.corrupted(payload)}) })
	}
	w.afterSend(b, id, payload)
	if !w.healing && w.chance(w.plan.loss/20) {
		w.disconnectSoon(c, 0)
		return errors.New("connection reset")
	}
	return nil
}

func (b *box) hear(payload []byte) {
	b.w.counts.Receipts++
	b.w.trace("%s hears %s", b.name, payload)
	b.f.Hear(b.w.heard(b, payload))
	b.wakeAt(b.w.now)
}

// speaking publishes the status, again and again.
func (b *box) speaking(run int) {
	if b.run != run || b.o == nil {
		return
	}
	w := b.w
	w.after(w.plan.status, func() { b.speaking(run) })
	if b.conn == nil {
		return
	}
	head, previous := b.o.Head()
	stats := b.o.Stats()
	h := w.tells(ledger.HeadOf(b.g.name, contract.Status{
		Epoch: head.Epoch, Sequence: head.Sequence, Previous: previous, Monotonic: float64(b.uptime()) / 1e6, Outbox: stats,
	}))
	w.truth.made(b, h)
	w.travel(b.conn, "status of "+b.name, func() {
		if r := w.anyReplica(); r != nil {
			r.takeHead(h)
		}
	})
}

func (b *box) connectLater() {
	w, run := b.w, b.run
	wait := w.between(200*time.Millisecond, 3*time.Second)
	if !w.healing && w.plan.breaks != 0 && w.chance(0.3) {
		wait = w.between(0, time.Minute)
		if w.plan.longOutages {
			wait *= 10
		}
	}
	w.after(wait, func() {
		if b.run != run || b.conn != nil || b.f == nil {
			return
		}
		if !w.brokerUp {
			b.connectLater()
			return
		}
		w.trace("%s connects", b.name)
		b.conn = &conn{box: b, run: run}
		b.f.Connected()
		b.wakeAt(w.now)
	})
}

// breakConnection ends a connection; half the time the box notices only later.
func (b *box) breakConnection() {
	if b.conn == nil {
		return
	}
	b.w.counts.Broken++
	notice := time.Duration(0)
	if b.w.chance(0.5) {
		notice = b.w.between(0, 30*time.Second)
	}
	b.w.trace("%s: connection broken, noticed in %v", b.name, notice)
	b.conn.cut = true
	b.w.disconnectSoon(b.conn, notice)
}

func (w *world) disconnectSoon(c *conn, notice time.Duration) {
	w.after(notice, func() {
		c.cut = true
		c.box.disconnected(c)
	})
}

func (b *box) disconnected(c *conn) {
	if b.conn != c || b.f == nil {
		return
	}
	b.conn = nil
	b.f.Disconnected()
	b.connectLater()
}

// waiting lists what the outbox holds: batches, and readings without time.
func (b *box) waiting() (ids []contract.BatchID) {
	if b.o == nil {
		return nil
	}
	blocks, err := b.o.Next(contract.BatchID{}, 1<<20)
	if err != nil {
		b.w.violate("%s: %v", b.name, err)
	}
	for _, block := range blocks {
		ids = append(ids, block.ID)
	}
	return append(ids, b.o.Aside()...)
}

func (b *box) holds(id contract.BatchID) bool { return slices.Contains(b.waiting(), id) }
