package world

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// claim is a proof of completeness that the ledger gave.
type claim struct {
	at      device.Micros // when
	gateway string
	until   device.Micros
	asked   string
}

// checkProofs asks for proofs, keeps what they claim for the end, and looks at
// once whether something is called missing that is not.
func (w *world) checkProofs() {
	from, to := device.Micros(0), device.Micros(0)
	if w.chance(0.5) {
		from = begin + device.Micros(w.rand.Int64N(int64(w.now-begin)+1))
		to = from + device.Micros(w.rand.Int64N(int64(w.now-begin)+1))
	}
	for _, p := range w.prove(w.reader, from, to) {
		w.keep(p, from, to)
		g := w.gateway(p.Gateway)
		// Which of two runs came first, of which neither has told of the other yet,
		// the ledger knows by the clocks of the hooks alone.
		if p.Missing > 0 && !g.tampered && !w.plan.skewedHooks {
			w.violate("lost, or a false alarm: of %s, whose disk nobody touched, %d batches are missing: %s", p.Gateway, p.Missing, describe(p))
		}
		if len(p.Clones) > 0 && !g.copied {
			w.violate("false alarm: %s is one box, but: %v", p.Gateway, p.Clones)
		}
	}
}

func (w *world) prove(r *ledger.Reader, from, to device.Micros) []ledger.Proof {
	proofs, err := r.Prove(w.ctx, "", from, to)
	if err != nil {
		w.violate("prove: %v", err)
	}
	return proofs
}

func (w *world) keep(p ledger.Proof, from, to device.Micros) {
	w.trace("ledger of %s for %d..%d: %s", p.Gateway, from, to, describe(p))
	if p.Complete && p.CompleteUntil != nil {
		w.counts.Claims++
		asked := fmt.Sprintf("%s (asked for %d..%d)", p.Claim, from, to)
		w.truth.claims = append(w.truth.claims, claim{w.now, p.Gateway, *p.CompleteUntil, asked})
	}
}

func (w *world) gateway(name string) *gateway {
	i := slices.IndexFunc(w.gateways, func(g *gateway) bool { return g.name == name })
	return w.gateways[i]
}

func describe(p ledger.Proof) string {
	var b strings.Builder
	for _, r := range p.Epochs {
		fmt.Fprintf(&b, "\n  %v previous %v last %d complete to %d current %v waiting %v missing %v dropped %v", r.Epoch, r.Previous, r.Last, r.CompleteTo, r.Current, r.Waiting, r.Missing, r.Dropped)
		if r.Closed != nil {
			fmt.Fprintf(&b, " closed %d", *r.Closed)
		}
		if r.SilentSince != nil {
			fmt.Fprintf(&b, " silent since %v", *r.SilentSince)
		}
		if r.RolledBack {
			b.WriteString(" rolled back")
		}
	}
	return p.Claim + b.String()
}

// finish checks everything, once all is healed and drained.
func (w *world) finish() {
	if len(w.violations) > 0 {
		return
	}
	w.checkReadings()
	w.checkClaims()
	w.checkLedger()
}

// checkReadings compares what was accepted with what is stored, number by
// number.
func (w *world) checkReadings() {
	for _, r := range w.truth.readings[1:] {
		places := w.store.places[r.n]
		if r.committed == 0 {
			if len(places) > 0 {
				w.violate("reading %d was never accepted, and is stored", r.n)
			}
			continue
		}
		switch {
		case len(places) > 1:
			w.violate("doubled: %s is stored as %v", r, places)
		case len(places) == 1:
			if want := r.point(); places[0].at != int64(r.at) || !strings.HasPrefix(places[0].series, want) {
				w.violate("%s is stored as %v, want %s", r, places[0], want)
			}
		case r.accounted != 0 && r.how != "stored":
		case r.collides: // nobody promises that estimates differ, see outbox.offsetOf
		case r.thrown != 0:
			w.counts.Thrown++
		case slices.Contains(r.box.unclocked, r.n): // its box never knew any time: it stays listed
		default:
			w.violate("lost: %s is neither stored, quarantined, expired nor told", r)
		}
		if r.how == "quarantined" && !w.mayRefuse() {
			w.violate("%s is quarantined, though nothing is wrong with it", r)
		}
	}
}

func (w *world) mayRefuse() bool {
	p := w.plan
	return p.poison > 0 || p.ancient > 0 || p.clockSteps > 0 || p.unclocked > 0 || p.reboots > 0 || p.skewedHooks
}

func (r *reading) point() string { return device.Power + "," }

func (r *reading) String() string {
	return fmt.Sprintf("reading %d of %s at %d (batch %v, accepted %.3f s, %s %.3f s)", r.n, r.box.name, r.at, r.batch,
		float64(r.committed-begin)/1e6, r.how, float64(max(r.accounted-begin, 0))/1e6)
}

// checkClaims looks at every proof of completeness that was given, with what
// is known in the end.
//
// A proof can't know of what nobody has told it. So two kinds of readings are
// let off while no status that was made after they were accepted has arrived:
// those that a clock that went back dates earlier than what was proven, and
// those whose disk was thrown away. Whatever a status has told, counts.
func (w *world) checkClaims() {
	for _, c := range w.truth.claims {
		g := w.gateway(c.gateway)
		if g.twin { // two boxes, one epoch: reported by their digests, see checkLedger
			continue
		}
		for _, r := range w.truth.readings[1:] {
			if r.box.g != g || r.committed == 0 || r.committed > c.at || r.at == 0 || r.at > c.until || r.accounted != 0 && r.accounted <= c.at {
				continue
			}
			known := r.committed
			if r.at <= r.bound { // got its time later, from a clock that had gone back
				known = max(known, r.dated)
			}
			told := r.box.headAfter(known, r.thrown)
			if (told == 0 || told > c.at) && (r.behind || r.thrown != 0 || r.estimated || g.copied) || r.collides {
				continue
			}
			w.violate("false proof at %.6f s: %s; but %s", float64(c.at-begin)/1e6, c.asked, r)
			return
		}
	}
}

// checkLedger compares the ledger's last word with the truth.
func (w *world) checkLedger() {
	proofs := w.prove(w.reader, 0, 0)
	// A write that lands after its time-out may be passed over by a reader that
	// was there already; what it said was said again.
	if again := w.prove(w.newReader(), 0, 0); w.plan.storeLands == 0 && !reflect.DeepEqual(proofs, again) {
		w.violate("a reader that begins anew draws other conclusions: %s", cmp.Diff(proofs, again))
	}
	for _, p := range proofs {
		w.keep(p, 0, 0)
		w.checkProof(w.gateway(p.Gateway), p)
	}
	w.checkClaims()
}

func (w *world) checkProof(g *gateway, p ledger.Proof) {
	var newest device.Micros
	for _, r := range w.truth.readings[1:] {
		if r.box.g != g || r.committed == 0 || r.collides {
			continue
		}
		newest = max(newest, r.at)
	}
	for _, e := range p.Epochs {
		if e.RolledBack {
			w.counts.RolledBack++
		}
		if e.SilentSince != nil {
			w.counts.Silent++
		}
	}
	w.counts.Clones += len(p.Clones)
	switch {
	case w.falselyMissing(p):
		w.violate("false alarm in the end, nothing of it was thrown away: %s", describe(p))
	case p.Waiting > 0 && !g.tampered:
		w.violate("nothing waits in the end: %s", describe(p))
	case len(p.Clones) > 0 && !g.copied:
		w.violate("false alarm in the end, %s is one box: %v", g.name, p.Clones)
	case len(p.Clones) == 0 && g.parallel() && g.seenTwice():
		w.violate("two boxes speak as %s, and nobody noticed: %s", g.name, describe(p))
	case !g.tampered && !p.Complete && !w.plan.skewedHooks:
		w.violate("all is well in the end, but: %s", describe(p))
	case !g.tampered && p.Complete && len(g.boxes[0].unclocked) == 0 && newest > 0 && (p.CompleteUntil == nil || *p.CompleteUntil < newest):
		w.violate("everything up to %d is accounted for, but: %s", newest, describe(p))
	}
	w.checkSums(g, p)
}

// falselyMissing reports whether a batch is called missing that went with no
// disk.
func (w *world) falselyMissing(p ledger.Proof) bool {
	for _, e := range p.Epochs {
		for _, r := range e.Missing {
			for n := r.From; n <= r.To; n++ {
				if known := w.truth.batches[contract.BatchID{Epoch: r.Epoch, Sequence: n}]; known == nil || !known.thrown {
					return true
				}
			}
		}
	}
	return false
}

// seenTwice reports whether two boxes can be told from one: each run has an
// epoch of its own; copies that share one are known by an id of which two
// contents were stored.
func (g *gateway) seenTwice() bool {
	if !g.twin {
		return true
	}
	digests := make(map[any]any)
	for _, r := range g.w.replicas {
		for _, instance := range r.instances {
			for _, e := range g.w.store.rows["batch"][instance] {
				if e.columns["gateway"] != g.name {
					continue
				}
				if known, ok := digests[e.columns["id"]]; ok && known != e.columns["digest"] {
					return true
				}
				digests[e.columns["id"]] = e.columns["digest"]
			}
		}
	}
	return false
}

// checkSums compares the ledger's sums with the batches that have entries.
func (w *world) checkSums(g *gateway, p ledger.Proof) {
	var ids []contract.BatchID
	for _, r := range w.replicas {
		for _, instance := range r.instances {
			for _, e := range w.store.rows["batch"][instance] {
				text, _ := e.columns["id"].(string) // "" is no id
				if id, err := contract.ParseBatchID(text); err == nil && e.columns["gateway"] == g.name {
					ids = append(ids, id)
				}
			}
		}
	}
	slices.SortFunc(ids, func(a, b contract.BatchID) int { return strings.Compare(a.String(), b.String()) })
	ids = slices.Compact(ids)
	readings := 0
	for _, id := range ids {
		if known := w.truth.batches[id]; known != nil && len(known.replaces) == 0 {
			readings += len(known.numbers)
		}
	}
	if p.Stored != uint64(len(ids)) {
		w.violate("%d batches of %s have entries, the proof says %d", len(ids), g.name, p.Stored)
	}
	if p.Readings != readings && !g.twin {
		w.violate("%d readings of %s have entries, the proof says %d", readings, g.name, p.Readings)
	}
}
