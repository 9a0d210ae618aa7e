package ledger

import (
	"cmp"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// digestsKept bounds the digests that are remembered to notice two contents
// under one id.
const digestsKept = 200_000

// State is what entries and heads say of one source. Not safe for concurrent
// use. Adding the same twice changes nothing.
type State struct {
	runs    map[contract.Epoch]*run
	head    *Head // the newest
	digests map[contract.BatchID]contract.Digest
	order   []contract.BatchID // of digests, oldest first
	twins   map[contract.BatchID]bool
	unnamed int // entries of ids that are no gateway's: no completeness is claimed
	refused int
}

// run is one epoch.
type run struct {
	id       contract.Epoch
	previous *contract.BatchID
	named    bool // previous is known, "none" included
	stored   spans
	replaced spans
	dropped  int    // readings told by tombstones that replace batches of this epoch
	heard    uint64 // highest number that an entry or head spoke of
	closed   map[uint64]bool
	closers  int
	readings int
	inQuar   int
	expired  int
	from, to device.Micros
	// signs of life, in the time of the ledger
	first, last         device.Micros
	headFirst, headGrew device.Micros
	headMax             uint64
}

// NewState allocates an empty state.
func NewState() *State {
	return &State{
		runs: make(map[contract.Epoch]*run), digests: make(map[contract.BatchID]contract.Digest), twins: make(map[contract.BatchID]bool),
	}
}

func (s *State) run(id contract.Epoch) *run {
	r := s.runs[id]
	if r == nil {
		r = &run{id: id, closed: make(map[uint64]bool)}
		s.runs[id] = r
	}
	return r
}

// Add takes an entry that was written at the given time.
func (s *State) Add(e contract.Entry, at device.Micros) {
	if e.Batch == nil {
		s.unnamed++
		return
	}
	s.checkTwin(*e.Batch, e.Digest)
	r := s.run(e.Batch.Epoch)
	r.live(at)
	r.heard = max(r.heard, e.Batch.Sequence)
	s.follow(r, e.Previous)
	if r.stored.add(e.Batch.Sequence, e.Batch.Sequence, e.To) > 0 {
		r.account(e)
		if len(e.Replaces) == 0 {
			r.readings += e.Readings
		}
		s.refused += e.Refused
	}
	for _, replaced := range e.Replaces {
		other := s.run(replaced.Epoch)
		other.replaced.add(replaced.From, replaced.To, e.To)
		other.heard = max(other.heard, replaced.To)
	}
}

func (r *run) account(e contract.Entry) {
	if e.Quarantined {
		r.inQuar++
	}
	if e.Expired {
		r.expired++
	}
	if e.From != 0 && (r.from == 0 || e.From < r.from) {
		r.from = e.From
	}
	r.to = max(r.to, e.To)
}

func (r *run) live(at device.Micros) {
	if r.first == 0 || at < r.first {
		r.first = at
	}
	r.last = max(r.last, at)
}

// follow notes the epoch before a run: it is closed at the number named.
func (s *State) follow(r *run, previous *contract.BatchID) {
	r.named = true
	if previous == nil || previous.Epoch == r.id {
		return
	}
	if r.previous == nil {
		r.previous = previous
	}
	before := s.run(previous.Epoch)
	before.closed[previous.Sequence] = true
}

func (s *State) checkTwin(id contract.BatchID, digest contract.Digest) {
	known, ok := s.digests[id]
	if ok {
		if known != digest {
			s.twins[id] = true
		}
		return
	}
	if len(s.order) >= digestsKept {
		for _, old := range s.order[:digestsKept/2] {
			delete(s.digests, old)
		}
		s.order = slices.Clone(s.order[digestsKept/2:])
	}
	s.digests[id] = digest
	s.order = append(s.order, id)
}

// AddHead takes what a gateway said of itself.
func (s *State) AddHead(h Head) {
	r := s.run(h.Epoch)
	r.live(h.At)
	r.heard = max(r.heard, h.Sequence)
	if r.headFirst == 0 || h.At < r.headFirst {
		r.headFirst = h.At
	}
	if h.Sequence > r.headMax {
		r.headMax, r.headGrew = h.Sequence, max(r.headGrew, h.At)
	}
	s.follow(r, h.Previous)
	if s.head == nil || h.At >= s.head.At {
		s.head = &h
	}
}

// closedAt is the number at which a later epoch says that this one ended.
func (r *run) closedAt() (last uint64, ok bool) {
	for n := range r.closed {
		last, ok = max(last, n), true
	}
	return last, ok
}

// chain lists the epochs from the newest head's back to the first, as each
// names the one before.
func (s *State) chain() (ids []contract.Epoch) {
	if s.head == nil {
		return nil
	}
	id := s.head.Epoch
	for range len(s.runs) {
		ids = append(ids, id)
		r := s.runs[id]
		if r == nil || r.previous == nil {
			break
		}
		id = r.previous.Epoch
	}
	return ids
}

// waiting are the numbers of a run that its gateway may still have: those from
// its oldest waiting batch on, and those set aside.
func (s *State) waiting(r *run, chain []contract.Epoch, now device.Micros) (out spans) {
	const all = ^uint64(0) - 1
	if s.head == nil { // a source that only just began to speak
		if now-r.last < silence {
			out.add(1, all, 0)
		}
		return out
	}
	mine := slices.Index(chain, r.id)
	if mine >= 0 && s.head.Oldest != nil {
		oldest := slices.Index(chain, s.head.Oldest.Epoch)
		switch {
		case oldest == mine:
			out.add(s.head.Oldest.Sequence, all, 0)
		case oldest > mine: // its oldest is of an earlier epoch
			out.add(1, all, 0)
		}
	}
	if mine == 0 { // what was committed since the head spoke
		out.add(s.head.Sequence+1, all, 0)
	}
	for _, id := range s.head.SetAside {
		if id.Epoch == r.id {
			out.add(id.Sequence, id.Sequence, 0)
		}
	}
	return out
}

// sorted gives the runs as they began.
func (s *State) sorted() []*run {
	runs := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b *run) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.id, b.id))
	})
	return runs
}
