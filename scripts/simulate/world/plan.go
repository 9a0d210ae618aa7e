package world

import (
	"fmt"
	"time"

	"github.com/wattline/wattline/edge/outbox"
)

// plan is what a seed has in store: how often each fault comes. Most worlds
// have a few faults, some all of them, so that each is seen alone and among
// others.
type plan struct {
	length, poll, status, check time.Duration
	gateways, replicas          int
	plain                       bool
	limit                       int64
	twin                        bool

	loss, repeat, late, corrupt, blackhole, poison, ancient float64
	inbox                                                   int

	breaks, crashes, reboots, clockSteps, unclocked time.Duration
	reflashes, images, restores, clones, losesBox   time.Duration
	hookKills, brokerRestarts, storeOutages         time.Duration

	storeFails, storeLate, storeLands, storePart float64
	skewedHooks                                  bool
	longOutages                                  bool
}

// draw makes the plan.
func (w *world) draw() plan {
	minutes := func(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }
	// often draws a mean time, or never.
	often := func(p, least, most float64) time.Duration {
		if !w.chance(p) {
			return 0
		}
		return w.between(minutes(least), minutes(most))
	}
	share := func(p, most float64) float64 {
		if !w.chance(p) {
			return 0
		}
		return w.rand.Float64() * most
	}
	p := plan{gateways: 1, replicas: 2, plain: w.chance(0.3), inbox: 2048}
	p.length = w.between(minutes(4), minutes(25))
	p.poll = p.length / time.Duration(30+w.rand.IntN(50))
	p.status = w.between(10*time.Second, 25*time.Second)
	p.check = p.length / time.Duration(10+w.rand.IntN(10))
	if w.chance(0.2) {
		p.gateways = 2
	}
	if w.chance(0.15) {
		p.limit = int64(1500 + w.rand.IntN(5000))
	}
	if w.chance(0.2) {
		p.inbox = 3 + w.rand.IntN(10)
	}
	p.twin = w.chance(0.03)
	p.loss, p.repeat, p.late = share(0.5, 0.4), share(0.5, 0.4), share(0.5, 0.2)
	p.corrupt, p.poison, p.ancient = share(0.15, 0.05), share(0.2, 0.03), share(0.1, 0.03)
	if w.chance(0.1) {
		p.blackhole, p.length = 0.1, p.length+minutes(30)
	}
	p.breaks = often(0.5, 0.5, 8)
	p.crashes, p.reboots = often(0.5, 1, 10), often(0.2, 2, 10)
	p.clockSteps, p.unclocked = often(0.25, 1, 8), often(0.15, 2, 8)
	p.reflashes, p.losesBox = often(0.08, 4, 15), often(0.03, 4, 15)
	if p.images = often(0.15, 1, 5); p.images != 0 {
		p.restores, p.clones = often(0.6, 2, 10), often(0.4, 4, 15)
	}
	p.hookKills, p.brokerRestarts = often(0.4, 0.5, 6), often(0.2, 1, 8)
	p.storeOutages = often(0.3, 1, 8)
	p.storeFails, p.storeLate, p.storeLands, p.storePart = share(0.4, 0.5), share(0.4, 0.4), share(0.2, 0.2), share(0.3, 0.3)
	p.skewedHooks, p.longOutages = w.chance(0.1), w.chance(0.25)
	return p
}

// populate makes everything and sets the faults going.
func (w *world) populate() {
	for i := range w.plan.replicas {
		w.replicas = append(w.replicas, &replica{w: w, name: fmt.Sprintf("hook%d", i+1)})
		w.replicas[i].start()
	}
	for i := range w.plan.gateways {
		w.gateways = append(w.gateways, newGateway(w, fmt.Sprintf("edge-f%d", i+1), i+1))
	}
	p := w.plan
	if p.twin { // whose disk held which content would be hard to tell
		p.reflashes, p.images, p.losesBox = 0, 0, 0
	}
	w.recur(p.hookKills, func() { w.replicas[w.rand.IntN(len(w.replicas))].crash() })
	w.recur(p.brokerRestarts, w.restartBroker)
	w.recur(p.storeOutages, w.store.outage)
	w.recur(p.check, w.checkProofs)
	for _, g := range w.gateways {
		w.recur(p.breaks, g.each((*box).breakConnection))
		w.recur(p.crashes, g.each((*box).crash))
		w.recur(p.reboots, g.each(func(b *box) { b.reboot(w.chance(0.3)) }))
		w.recur(p.unclocked, g.each(func(b *box) { b.reboot(true) }))
		w.recur(p.clockSteps, g.each((*box).stepClock))
		w.recur(p.reflashes, g.each((*box).reflash))
		w.recur(p.images, g.each((*box).takeImage))
		w.recur(p.restores, g.each((*box).restore))
		w.recur(p.clones, g.clone)
		w.recur(p.losesBox, g.loseBox)
	}
}

// heal ends all faults and lets everything come to rest: some more readings,
// then none, until nothing waits.
func (w *world) heal() {
	w.healing = true
	w.trace("healing")
	w.brokerUp = true
	w.store.until = 0
	for _, r := range w.replicas {
		if r.offset != 0 { // a clock that is set right, and a new run
			r.kill()
		}
		if !r.alive {
			r.start()
		}
	}
	more := time.Minute
	for _, g := range w.gateways {
		for _, b := range g.boxes {
			b.heal()
		}
		if g.parallel() {
			more = 6 * time.Minute // long enough for two boxes to be seen as two
		}
	}
	w.after(more, func() {
		w.trace("no more readings")
		for _, g := range w.gateways {
			for _, b := range g.boxes {
				b.idle = true
			}
		}
		w.drain(0)
	})
}

// drain waits until no box has anything to send. A batch set aside is tried
// again once an hour.
func (w *world) drain(passed time.Duration) {
	const look, most = 20 * time.Second, 4 * time.Hour
	waiting := ""
	for _, g := range w.gateways {
		for _, b := range g.boxes {
			if b.o == nil {
				continue
			}
			if s := b.o.Stats(); s.Batches > 0 {
				waiting = fmt.Sprintf("%s: %d batches, oldest %v, set aside %v", b.name, s.Batches, s.OldestID, s.SetAside)
			}
		}
	}
	switch {
	case waiting == "":
		w.trace("drained")
		// One more status of each, and what it takes to enter it.
		w.after(w.plan.status+15*time.Second, func() { w.queue = nil })
	case passed > most:
		w.violate("not drained %v after all was healed: %s", passed, waiting)
	default:
		w.after(look, func() { w.drain(passed + look) })
	}
}

func (w *world) compression() outbox.Compression {
	if w.plan.plain {
		return outbox.NoCompression
	}
	return outbox.Zstd
}
