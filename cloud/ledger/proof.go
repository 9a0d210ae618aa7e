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
	// in the range, up to CompleteUntil.
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
	p := Proof{Gateway: gateway, Unnumbered: s.unnamed, Refused: s.refused, Complete: true, Clones: s.clones(), Epochs: []RunProof{}}
	chain := s.chain()
	for _, r := range s.sorted() {
		if r.outside(from, to) {
			continue
		}
		proof := s.proveRun(r, chain, now)
		p.Epochs = append(p.Epochs, proof)
		p.add(proof)
	}
	p.conclude(s, chain)
	return p
}

// outside reports whether a run has surely nothing in the range.
func (r *run) outside(from, to device.Micros) bool {
	_, closed := r.closedAt()
	if r.from == 0 || !closed || len(r.stored.and(r.replaced).gaps(r.heard)) > 0 {
		return false // unknown times may lie anywhere
	}
	return from != 0 && r.to < from || to != 0 && r.from > to
}

func (s *State) proveRun(r *run, chain []contract.Epoch, now device.Micros) RunProof {
	last := r.heard
	p := RunProof{
		Epoch: r.id, Previous: r.previous, Stored: r.stored.count(), Quarantined: r.inQuar, Expired: r.expired,
		Readings: r.readings, From: r.from, To: r.to, Current: len(chain) > 0 && chain[0] == r.id,
	}
	if closed, ok := r.closedAt(); ok {
		p.Closed = &closed
		p.RolledBack = closed < r.heard
		last = max(last, closed)
	}
	p.Last = last
	accounted := r.stored.and(r.replaced)
	open := accounted.gaps(last)
	waiting := s.waiting(r, chain, now)
	missing := open.without(waiting)
	p.Missing = ranges(r.id, missing)
	p.Waiting = ranges(r.id, open.without(missing))
	p.Dropped = ranges(r.id, r.replaced.without(r.stored))
	if len(accounted) > 0 && accounted[0].from == 1 {
		p.CompleteTo = accounted[0].to
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

func (p *Proof) add(r RunProof) {
	p.Missing += count(r.Missing)
	p.Waiting += count(r.Waiting)
	p.Dropped += count(r.Dropped)
	p.Stored += r.Stored
	p.Readings += r.Readings
	if count(r.Missing) > 0 || r.SilentSince != nil || r.RolledBack {
		p.Complete = false
	}
}

// conclude words the claim. "Missing: none" is said only where every epoch is
// accounted for, and up to when.
func (p *Proof) conclude(s *State, chain []contract.Epoch) {
	if until, ok := s.completeUntil(chain); ok && p.Complete {
		p.CompleteUntil = &until
	}
	switch {
	case len(p.Epochs) == 0:
		p.Complete = false
		p.Claim = "nothing is known of this source"
	case p.Missing > 0:
		p.Claim = fmt.Sprintf("%d batches are missing", p.Missing)
	case !p.Complete && slices.ContainsFunc(p.Epochs, func(r RunProof) bool { return r.RolledBack }):
		p.Claim = "not known: the gateway was set back to an earlier state"
	case !p.Complete:
		p.Claim = "not known: an epoch is silent, nobody closed it"
	case p.CompleteUntil != nil:
		p.Claim = "none missing up to " + p.CompleteUntil.Time().Format(time.RFC3339Nano)
	default:
		p.Claim = "none missing"
	}
	if p.Dropped > 0 {
		p.Claim += fmt.Sprintf("; %d batches were dropped for want of room", p.Dropped)
	}
}

// completeUntil is the newest time of measurement up to which, along the chain
// of epochs, every batch is accounted for.
func (s *State) completeUntil(chain []contract.Epoch) (until device.Micros, ok bool) {
	for _, id := range slices.Backward(chain) {
		r := s.runs[id]
		if r == nil || r.heard == 0 {
			continue
		}
		accounted := r.stored.and(r.replaced)
		if len(accounted) == 0 || accounted[0].from != 1 {
			return until, ok
		}
		until, ok = max(until, accounted[0].until), true
		if accounted[0].to < r.heard {
			return until, ok
		}
	}
	return until, ok
}

// clones says which epochs can't come from one box: two that both grew after
// the other had begun, or one id with two contents.
func (s *State) clones() (out []string) {
	runs := s.sorted()
	for i, a := range runs {
		for _, b := range runs[i+1:] {
			if a.headGrew == 0 || b.headFirst == 0 {
				continue
			}
			first, second := a, b
			if b.headFirst < a.headFirst {
				first, second = b, a
			}
			if first.headGrew > second.headFirst {
				out = append(out, fmt.Sprintf("epochs %v and %v both grow", first.id, second.id))
			}
		}
	}
	for id := range s.twins {
		out = append(out, fmt.Sprintf("batch %v has two contents", id))
	}
	slices.Sort(out)
	return out
}
