package world

import (
	"context"
	"fmt"
	"iter"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// replica is one process of the storing hook, with its book of the ledger. The
// hook's code runs as a coroutine: wherever it waits for the store the world
// goes on, and there it can be killed.
type replica struct {
	w         *world
	name      string
	alive     bool
	offset    device.Micros // of its clock
	hook      *influxdata.Hook
	book      *ledger.Book
	instances []string // of all its runs
	cancel    context.CancelFunc
	ctx       context.Context //nolint:containedctx // of one run of the process

	inbox   []bus.Message
	heads   []ledger.Head
	storing *task
	heading *task
}

// start begins a run.
func (r *replica) start() {
	w := r.w
	instance := fmt.Sprintf("%016x", w.rand.Uint64())
	r.instances = append(r.instances, instance)
	r.offset = 0
	if w.plan.skewedHooks && !w.healing {
		r.offset = device.Micros(w.rand.Int64N(6*3600e6) - 4*3600e6)
	}
	r.ctx, r.cancel = context.WithCancel(w.ctx)
	now := func() device.Micros { return w.now + r.offset }
	r.book = ledger.NewBook(w.bookStore(r), instance, now)
	r.hook = influxdata.New(influxdata.Options{
		Store: w.hookStore(), Ledger: w.ledger(r), Now: now,
		Pause: func(ctx context.Context, d time.Duration) error {
			if !taskOf(ctx).wait(d) {
				return errKilled
			}
			return nil
		},
	}, quiet)
	r.alive = true
	w.trace("%s starts as %s, clock off by %v", r.name, instance, time.Duration(r.offset)*time.Microsecond)
}

// crash kills the process, and starts it again later.
func (r *replica) crash() {
	if !r.alive {
		return
	}
	r.w.counts.HookKills++
	r.w.trace("%s is killed", r.name)
	r.kill()
	r.w.after(r.w.between(100*time.Millisecond, 40*time.Second), func() {
		if !r.alive {
			r.start()
		}
	})
}

func (r *replica) kill() {
	if !r.alive {
		return
	}
	r.alive = false
	r.cancel()
	for _, t := range []*task{r.storing, r.heading} {
		if t != nil {
			t.kill()
		}
	}
	r.inbox, r.heads, r.storing, r.heading = nil, nil, nil, nil
}

// take queues a message, or discards it.
func (r *replica) take(m bus.Message) {
	if len(r.inbox) >= r.w.plan.inbox {
		r.w.counts.Lost++
		return
	}
	r.inbox = append(r.inbox, m)
	r.work()
}

// work lets the hook handle some of what is queued, when it is idle.
func (r *replica) work() {
	if r.storing != nil || len(r.inbox) == 0 {
		return
	}
	n := 1 + r.w.rand.IntN(min(len(r.inbox), 16))
	messages := r.inbox[:n]
	r.inbox = append([]bus.Message(nil), r.inbox[n:]...)
	r.storing = r.begin(func(ctx context.Context, t *task) {
		r.w.handle(ctx, r, messages, func(topic string, payload []byte) error {
			if t.dead {
				return errKilled
			}
			r.w.toGateways(topic, payload)
			return nil
		})
	}, func() {
		r.storing = nil
		r.work()
	})
}

// takeHead queues a head; the newest of each epoch is enough.
func (r *replica) takeHead(h ledger.Head) {
	for i, queued := range r.heads {
		if queued.Epoch == h.Epoch {
			r.heads = append(r.heads[:i], r.heads[i+1:]...)
			break
		}
	}
	r.heads = append(r.heads, h)
	r.enterHead()
}

func (r *replica) enterHead() {
	if r.heading != nil || len(r.heads) == 0 {
		return
	}
	h := r.heads[0]
	r.heads = append([]ledger.Head(nil), r.heads[1:]...)
	r.heading = r.begin(func(ctx context.Context, _ *task) {
		if err := r.book.EnterHead(ctx, h); err == nil {
			r.w.trace("%s entered head %v-%d, oldest %v", r.name, h.Epoch, h.Sequence, h.Oldest)
		}
	}, func() {
		r.heading = nil
		r.enterHead()
	})
}

// task is something that a replica does, in steps with other things between.
type task struct {
	yield func(time.Duration) bool
	stop  func()
	dead  bool
}

type taskKey struct{}

func taskOf(ctx context.Context) *task { return ctx.Value(taskKey{}).(*task) } //nolint:errcheck,forcetypeassert // a bug of the simulation

// wait lets time pass; false means that the process was killed.
func (t *task) wait(d time.Duration) bool { return !t.dead && t.yield(d) && !t.dead }

func (t *task) kill() {
	t.dead = true
	t.stop()
}

// begin starts a task at once, and calls done when it has ended by itself.
func (r *replica) begin(do func(ctx context.Context, t *task), done func()) *task {
	t := &task{}
	ctx := context.WithValue(r.ctx, taskKey{}, t)
	next, stop := iter.Pull(func(yield func(time.Duration) bool) {
		t.yield = yield
		do(ctx, t)
	})
	t.stop = stop
	var step func()
	step = func() {
		if t.dead {
			return
		}
		if d, more := next(); more {
			r.w.after(d, step)
			return
		}
		done()
	}
	r.w.after(0, step)
	return t
}
