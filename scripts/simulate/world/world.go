// Package world is a small world in which Wattline's store and forward runs
// against everything that can go wrong, from one seed.
//
// Real are the outbox, the forwarder, the storing hook and the ledger with its
// book and its reader. Simulated are what lies between and around them: a
// broker that loses, repeats, delays and reorders; connections that break,
// half-open too; an InfluxDB that fails, answers late, stores part, refuses
// content; processes that are killed; clocks that step or are not set; boxes
// that are reflashed, restored from an old image, or copied.
//
// One event happens at a time, in the order of a fake clock, and every choice
// comes from one generator of random numbers: the same seed gives the same run
// to the last byte of its trace. At the end everything is healed and drained,
// and what is stored is compared with what was accepted, number by number; and
// every proof that the ledger gave on the way with what was true when it gave
// it. What must hold is said in check.go.
package world

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/device"
)

// begin is when every world begins: some time after anything that the parts
// take for too early.
const begin = device.Micros(1_800_000_000_000_000)

// Options of a run.
type Options struct {
	// Dir is where the outboxes lie; memory is best.
	Dir string
	// Variant turns one protection off.
	Variant Variant
	// Trace, when not nil, gets a line for everything that happens.
	Trace io.Writer
}

// Result of a run.
type Result struct {
	Seed uint64
	// Violations say what must hold and did not; none is a pass.
	Violations []string
	Counts     Counts
}

// Counts tell how much happened, so that a test can see that every fault did.
type Counts struct {
	Events, Readings, Batches, Claims                             int
	Lost, Repeated, Corrupted, Broken, Receipts, Resent           int
	Refusals, LateAnswers, LateWrites, PartWrites, NotNow         int
	Crashes, Reboots, HookKills, BrokerRestarts                   int
	Reflashed, Restored, Cloned, Twins, ClockSteps                int
	Quarantined, Expired, Dropped, SetAside, Unclocked, Estimated int
	Thrown, RolledBack, Silent, Clones                            int
}

// Add sums up.
func (c *Counts) Add(o Counts) {
	sum, more := reflect.ValueOf(c).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + more.Field(i).Int())
	}
}

// Never names what did not happen at all.
func (c *Counts) Never() (names []string) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Field(i).Int() == 0 {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return names
}

// world is one run.
type world struct {
	options  Options
	rand     *rand.Rand
	now      device.Micros
	queue    events
	numbered uint64 // events ever queued
	plan     plan
	healing  bool
	ctx      context.Context //nolint:containedctx // of the run, which is one call
	cancel   context.CancelFunc

	brokerUp bool
	store    *store
	reader   *ledger.Reader
	replicas []*replica
	gateways []*gateway
	truth    *truth
	farthest int64 // of a variant

	counts     Counts
	violations []string
}

// maxEvents ends a run that does not come to rest.
const maxEvents = 400_000

// Run lives one world through.
func Run(ctx context.Context, seed uint64, o Options) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &world{options: o, rand: rand.New(rand.NewPCG(seed, 0x77617474)), now: begin, brokerUp: true, ctx: ctx, cancel: cancel}
	w.truth = newTruth(w)
	w.plan = w.draw()
	w.store = newStore(w)
	w.reader = w.newReader()
	w.trace("plan %+v", w.plan)
	w.populate()
	w.after(w.plan.length, w.heal)
	w.live()
	w.finish()
	w.end()
	return Result{Seed: seed, Violations: w.violations, Counts: w.counts}
}

func (w *world) newReader() *ledger.Reader {
	r := ledger.NewReader(w.store)
	r.Now = func() device.Micros { return w.now }
	return r
}

// live lets happen what is queued until there is nothing more to come.
func (w *world) live() {
	for len(w.queue) > 0 && len(w.violations) == 0 {
		e := heap.Pop(&w.queue).(event) //nolint:errcheck,forcetypeassert // only events are in it
		w.now = e.at
		e.do()
		if w.counts.Events++; w.counts.Events > maxEvents {
			w.violate("no rest after %d events", maxEvents)
		}
	}
}

// end closes what is open.
func (w *world) end() {
	for _, r := range w.replicas {
		r.kill()
	}
	for _, g := range w.gateways {
		for _, b := range g.boxes {
			b.stop(false)
			b.removeFiles()
		}
	}
}

func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace("VIOLATION: %s", text)
	w.violations = append(w.violations, text)
}

func (w *world) trace(format string, args ...any) {
	if w.options.Trace == nil {
		return
	}
	fmt.Fprintf(w.options.Trace, "%12.6f  %s\n", float64(w.now-begin)/1e6, fmt.Sprintf(format, args...)) // a trace
}

// after queues something for later.
func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

func (w *world) at(t device.Micros, do func()) {
	w.numbered++
	heap.Push(&w.queue, event{max(t, w.now), w.numbered, do})
}

// recur does something again and again, a mean time apart, until the world is
// healed; a mean of 0 is never.
func (w *world) recur(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(time.Duration(w.rand.ExpFloat64()*float64(mean)), func() {
		if !w.healing {
			do()
			w.recur(mean, do)
		}
	})
}

func (w *world) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// between draws a duration, evenly.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rand.Float64()*float64(b-a))
}

func (w *world) time() time.Time { return w.now.Time() }

// event is something that will happen.
type event struct {
	at device.Micros
	n  uint64 // of two at one time the one queued first happens first
	do func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is heap's.
func (q *events) Push(x any) { *q = append(*q, x.(event)) } //nolint:errcheck,forcetypeassert // only events are put in

// Pop is heap's.
func (q *events) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return last
}
