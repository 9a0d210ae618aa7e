package ledger

import (
	"cmp"
	"maps"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// digestsKept bounds the contents that a state remembers to notice two under one
// id: the newest 2,500 to 5,000, well under a megabyte for a gateway. An older id
// that comes with another content counts as the same batch stored again.
const digestsKept = 5000

// State is what entries and heads say of one source. Not safe for concurrent
// use. They may come in any order, and any number of times: the proof is the
// same, but for the count of unnumbered entries.
type State struct {
	runs     map[contract.Epoch]*run
	contents map[contract.BatchID]content
	order    []contract.BatchID // of contents, oldest first
	twins    map[contract.BatchID]bool
	unnamed  int // entries of ids that are no gateway's: no completeness is claimed
}

// content is what an id was seen to stand for.
type content struct {
	digest            contract.Digest
	readings, refused int
}

// run is one epoch.
type run struct {
	id       contract.Epoch
	previous *contract.BatchID
	named    bool // previous is known, "none" included

	stored      spans // every number that has an entry
	plain       spans // those whose readings became points
	quarantined spans
	expired     spans
	replaced    spans // told by tombstones
	heard       uint64
	closed      map[uint64]bool // where later runs say that this one ended

	readings, refused int
	from, to          device.Micros
	first, last       device.Micros // signs of life, in the time of the ledger
	head              *Head         // the newest
	growth            map[string]growth
}

// growth is how one instance of a hook heard a run grow.
type growth struct {
	first device.Micros // first head heard
	most  uint64
	grew  device.Micros // when most was heard first
}

// NewState allocates an empty state.
func NewState() *State {
	return &State{
		runs: make(map[contract.Epoch]*run), contents: make(map[contract.BatchID]content), twins: make(map[contract.BatchID]bool),
	}
}

func (s *State) run(id contract.Epoch) *run {
	r := s.runs[id]
	if r == nil {
		r = &run{id: id, closed: make(map[uint64]bool), growth: make(map[string]growth)}
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
	n := e.Batch.Sequence
	r := s.run(e.Batch.Epoch)
	r.live(at)
	r.heard = max(r.heard, n)
	s.follow(r, e.Previous)
	s.count(r, e, r.stored.add(n, n, e.To) > 0)
	switch {
	case e.Quarantined:
		r.quarantined.add(n, n, e.To)
	case e.Expired:
		r.expired.add(n, n, e.To)
	default:
		r.plain.add(n, n, e.To)
	}
	r.span(e.From, e.To)
	for _, replaced := range e.Replaces {
		other := s.run(replaced.Epoch)
		// When each of them ended is not known: what a window held back may lie
		// between them, dated earlier than the last.
		other.replaced.add(replaced.From, replaced.To, 0)
		other.heard = max(other.heard, replaced.To)
		other.span(e.From, e.To)
	}
}

// count adds up readings, each batch once; of two contents under one id the
// larger one.
func (s *State) count(r *run, e contract.Entry, fresh bool) {
	c := content{digest: e.Digest, readings: e.Readings, refused: e.Refused}
	if len(e.Replaces) > 0 {
		c.readings = 0 // they are not stored
	}
	known, ok := s.contents[*e.Batch]
	switch {
	case ok:
		if known.digest != e.Digest && len(s.twins) < digestsKept {
			s.twins[*e.Batch] = true
		}
		r.readings += max(0, c.readings-known.readings)
		r.refused += max(0, c.refused-known.refused)
		c.readings, c.refused = max(c.readings, known.readings), max(c.refused, known.refused)
		s.contents[*e.Batch] = c
		return
	case fresh:
		r.readings += c.readings
		r.refused += c.refused
	}
	if len(s.order) >= digestsKept {
		for _, old := range s.order[:digestsKept/2] {
			delete(s.contents, old)
		}
		s.order = slices.Clone(s.order[digestsKept/2:])
	}
	s.contents[*e.Batch] = c
	s.order = append(s.order, *e.Batch)
}

// span widens the time of measurement that a run is known to cover.
func (r *run) span(from, to device.Micros) {
	if from != 0 && (r.from == 0 || from < r.from) {
		r.from = from
	}
	r.to = max(r.to, to)
}

func (r *run) live(at device.Micros) {
	if r.first == 0 || at < r.first {
		r.first = at
	}
	r.last = max(r.last, at)
}

// follow notes the run before r: it is closed at the number named.
func (s *State) follow(r *run, previous *contract.BatchID) {
	r.named = true
	if previous == nil || previous.Epoch == r.id {
		return
	}
	if r.previous == nil || later(*previous, *r.previous) {
		r.previous = previous
	}
	s.run(previous.Epoch).closed[previous.Sequence] = true
}

// later orders ids: of two that a broken box names as the one before, whatever
// the order they come in, one counts.
func later(a, b contract.BatchID) bool {
	return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Epoch, b.Epoch)) > 0
}

// AddHead takes what a gateway said of itself.
func (s *State) AddHead(h Head) {
	r := s.run(h.Epoch)
	r.live(h.At)
	r.heard = max(r.heard, h.Sequence)
	g, known := r.growth[h.Instance]
	switch {
	case !known:
		g = growth{first: h.At, most: h.Sequence, grew: h.At}
	case h.Sequence > g.most:
		g.most, g.grew = h.Sequence, h.At
	case h.Sequence == g.most:
		g.grew = min(g.grew, h.At)
	}
	g.first = min(g.first, h.At)
	r.growth[h.Instance] = g
	s.follow(r, h.Previous)
	s.lineage(h.Earlier)
	if r.head == nil || h.newer(r.head) {
		r.head = &h
	}
}

// newer compares two heads of one epoch by the clock of the gateway, which
// unlike those of the hooks is one.
func (h *Head) newer(o *Head) bool {
	return cmp.Or(cmp.Compare(h.Uptime, o.Uptime), cmp.Compare(h.Sequence, o.Sequence), cmp.Compare(h.At, o.At)) > 0
}

// lineage notes how a gateway's earlier runs ended, and which followed which:
// batches name only runs that committed something, and may never arrive.
func (s *State) lineage(earlier []contract.Run) {
	var after *run // the run that followed the one at hand
	for _, e := range earlier {
		r := s.run(e.Epoch)
		r.closed[e.Last] = true
		if e.Last == 0 {
			continue
		}
		if after != nil {
			s.follow(after, &contract.BatchID{Epoch: e.Epoch, Sequence: e.Last})
		}
		after = r
	}
	if after != nil && len(earlier) < contract.EarlierRuns {
		after.named = true // the list is whole: this one was the first
	}
}

// closedAt is the number at which a later run says that this one ended.
func (r *run) closedAt() (last uint64, ok bool) {
	for n := range r.closed {
		last, ok = max(last, n), true
	}
	return last, ok
}

// last is the highest number that a run is known to have given.
func (r *run) highest() uint64 {
	closed, _ := r.closedAt()
	return max(r.heard, closed)
}

// accounted are the numbers that are stored or dropped.
func (r *run) accounted() spans { return r.stored.and(r.replaced) }

// prefix is what is accounted for from the first number on without a gap.
func (r *run) prefix() (p span, ok bool) {
	accounted := r.accounted()
	if len(accounted) == 0 || accounted[0].from != 1 {
		return span{}, false
	}
	return accounted[0], true
}

// sorted gives the runs as they began.
func (s *State) sorted() []*run {
	return slices.SortedFunc(maps.Values(s.runs), func(a, b *run) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.id, b.id))
	})
}
