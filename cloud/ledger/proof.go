package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// silence is how long a gateway may say nothing before its open epoch counts as
// silent.
const silence = device.Micros(60 * time.Second / time.Microsecond)

// Proof is what the ledger says of one gateway, for a range of time.
type Proof struct {
	Gateway string `json:"gateway"`
	// Claim is the sentence for people; Complete its truth: nothing is missing
	// in the range, up to CompleteUntil. That every accepted reading up to then
	// is stored, quarantined, expired or dropped and told holds for all that the
	// gateway has told of; what a clock that went back dates earlier counts from
	// the gateway's next status on.
	Claim         string         `json:"claim"`
	Complete      bool           `json:"complete"`
	CompleteUntil *device.Micros `json:"complete_until,omitempty"`
	// Batches that are missing, may still wait at the gateway, were dropped for
	// want of room, are stored.
	Missing uint64 `json:"missing"`
	Waiting uint64 `json:"waiting"`
	Dropped uint64 `json:"dropped"`
	Stored  uint64 `json:"stored"`
	// Readings in stored batches; Refused are those told of that no disk took.
	Readings int `json:"readings"`
	Refused  int `json:"refused,omitempty"`
	// Unnumbered entries come from sources that number nothing: no completeness
	// is claimed for them.
	Unnumbered int        `json:"unnumbered,omitempty"`
	Clones     []string   `json:"clones,omitempty"`
	Epochs     []RunProof `json:"epochs"`
}

// RunProof is what the ledger says of one run of a gateway.
type RunProof struct {
	Epoch    contract.Epoch    `json:"epoch"`
	Previous *contract.BatchID `json:"previous"`
	Last     uint64            `json:"last"`              // highest number heard of
	Closed   *uint64           `json:"closed,omitempty"`  // a later epoch says it ended here
	Current  bool              `json:"current,omitempty"` // the gateway runs it now
	// CompleteTo is the number up to which every batch is stored or dropped.
	CompleteTo  uint64           `json:"complete_to"`
	Stored      uint64           `json:"stored"`
	Dropped     []contract.Range `json:"dropped,omitempty"`
	Waiting     []contract.Range `json:"waiting,omitempty"`
	Missing     []contract.Range `json:"missing,omitempty"`
	Quarantined int              `json:"quarantined,omitempty"`
	Expired     int              `json:"expired,omitempty"`
	Readings    int              `json:"readings"`
	From        device.Micros    `json:"from"`
	To          device.Micros    `json:"to"`
	// SilentSince: nobody closed this epoch and nobody speaks for it; what came
	// after that time is not known.
	SilentSince *device.Micros `json:"silent_since,omitempty"`
	// RolledBack: it was closed below what was heard of it; an old image of the
	// gateway was restored.
	RolledBack bool `json:"rolled_back,omitempty"`
}

// Prove draws the conclusions for the time from..to of measurement (0 means
// without bound), as known at now.
func (s *State) Prove(gateway string, from, to, now device.Micros) Proof {
	p := Proof{Gateway: gateway, Unnumbered: s.unnamed, Complete: true, Clones: s.clones(), Epochs: []RunProof{}}
	boxes := s.boxes(now)
	for _, r := range s.sorted() {
		if r.outside(from, to) {
			continue
		}
		proof := s.proveRun(r, boxes, now)
		p.Epochs = append(p.Epochs, proof)
		p.Refused += r.refused
		covered := to != 0 && r.covers(to)
		p.add(proof, covered)
		if !covered && len(proof.Waiting) > 0 && !boxes[0].has(r) {
			p.Complete = false // the chain that completeUntil follows does not see it
		}
	}
	p.conclude(boxes, from, to)
	return p
}

// outside reports whether a run has surely nothing in the range.
func (r *run) outside(from, to device.Micros) bool {
	_, closed := r.closedAt()
	if r.highest() == 0 {
		return closed // it gave no number, or nobody knows
	}
	if r.from == 0 || !closed || len(r.accounted().gaps(r.highest())) > 0 {
		return false // unknown times may lie anywhere
	}
	return from != 0 && r.to < from || to != 0 && r.from > to
}

// covers reports whether all readings of a run up to a time are accounted for,
// whatever became of it afterwards.
func (r *run) covers(to device.Micros) bool {
	p, ok := r.prefix()
	return ok && p.until >= to && (r.head == nil || r.head.Behind == 0 || r.head.Behind > to)
}

func (s *State) proveRun(r *run, boxes []box, now device.Micros) RunProof {
	p := RunProof{
		Epoch: r.id, Previous: r.previous, Stored: r.stored.count(), Readings: r.readings, From: r.from, To: r.to, Last: r.highest(),
		Current:     len(boxes) > 0 && boxes[0].chain[0] == r,
		Quarantined: int(r.quarantined.without(r.plain).count()),                //nolint:gosec // far below 2^63
		Expired:     int(r.expired.without(r.plain.and(r.quarantined)).count()), //nolint:gosec // far below 2^63
	}
	if closed, ok := r.closedAt(); ok {
		p.Closed = &closed
		p.RolledBack = closed < r.heard
	}
	open := r.accounted().gaps(p.Last)
	missing := open
	for _, b := range boxes {
		missing = missing.without(b.waiting(r))
	}
	p.Missing = ranges(r.id, missing)
	p.Waiting = ranges(r.id, open.without(missing))
	p.Dropped = ranges(r.id, r.replaced.without(r.stored))
	if prefix, ok := r.prefix(); ok {
		p.CompleteTo = prefix.to
	}
	if p.Closed == nil && (!p.Current || now-r.last > silence) && r.last != 0 {
		silent := r.last
		p.SilentSince = &silent
	}
	return p
}

func ranges(id contract.Epoch, list spans) (out []contract.Range) {
	for _, x := range list {
		out = append(out, contract.Range{Epoch: id, From: x.from, To: x.to})
	}
	return out
}

func count(list []contract.Range) (n uint64) {
	for _, r := range list {
		n += r.To - r.From + 1
	}
	return n
}

// add sums up; covered says that the range ends before anything unknown of a
// silent run can begin.
func (p *Proof) add(r RunProof, covered bool) {
	p.Missing += count(r.Missing)
	p.Waiting += count(r.Waiting)
	p.Dropped += count(r.Dropped)
	p.Stored += r.Stored
	p.Readings += r.Readings
	if count(r.Missing) > 0 || r.RolledBack || r.SilentSince != nil && !covered {
		p.Complete = false
	}
}

// conclude words the claim. "Missing: none" is said only where every epoch is
// accounted for, and up to when.
func (p *Proof) conclude(boxes []box, from, to device.Micros) {
	whole := len(boxes) > 0 && boxes[0].whole
	p.Complete = p.Complete && whole && len(p.Epochs) > 0
	if p.Complete {
		if until, ok := boxes[0].completeUntil(); ok {
			if to != 0 {
				until = min(until, to)
			}
			p.CompleteUntil = &until
		}
	}
	p.Claim = p.claim(whole, from)
	if p.Dropped > 0 {
		p.Claim += fmt.Sprintf("; %d batches were dropped for want of room", p.Dropped)
	}
	if len(p.Clones) > 0 {
		p.Claim += "; two boxes speak as this gateway"
	}
}

func (p *Proof) claim(whole bool, from device.Micros) string {
	silent := slices.IndexFunc(p.Epochs, func(r RunProof) bool { return r.SilentSince != nil })
	switch {
	case len(p.Epochs) == 0 && p.Unnumbered > 0:
		return "not known: this source numbers nothing"
	case len(p.Epochs) == 0:
		return "nothing is known of this source"
	case p.Missing > 0:
		return fmt.Sprintf("%d batches are missing", p.Missing)
	case slices.ContainsFunc(p.Epochs, func(r RunProof) bool { return r.RolledBack }):
		return "not known: the gateway was set back to an earlier state"
	case !p.Complete && silent >= 0:
		return "not known: an epoch is silent since " + p.Epochs[silent].SilentSince.Time().Format(time.RFC3339) + ", nobody closed it"
	case !whole:
		return "not known: nothing was heard of an earlier epoch yet"
	case p.CompleteUntil == nil:
		return "none missing, but nothing is complete yet"
	case *p.CompleteUntil < from:
		return "not known yet: none missing up to " + p.CompleteUntil.Time().Format(time.RFC3339Nano) + ", which is before the range"
	default:
		return "none missing up to " + p.CompleteUntil.Time().Format(time.RFC3339Nano)
	}
}
