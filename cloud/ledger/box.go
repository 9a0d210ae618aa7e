package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// box is one gateway as it stands now: its present run and those before it, as
// each names the one before, and what it said last.
type box struct {
	chain []*run // from the present run back
	place map[contract.Epoch]int
	whole bool // the chain is known down to the first run
	head  *Head
	at    int // of head's run in the chain
}

// box follows the runs back from a tip.
func (s *State) box(tip *run) box {
	b := box{place: make(map[contract.Epoch]int)}
	for r := tip; r != nil; {
		if _, again := b.place[r.id]; again {
			return b // no gateway says such a thing: never whole
		}
		b.place[r.id] = len(b.chain)
		b.chain = append(b.chain, r)
		if b.head == nil && r.head != nil {
			b.head, b.at = r.head, len(b.chain)-1
		}
		if r.previous == nil {
			b.whole = r.named
			break
		}
		r = s.runs[r.previous.Epoch]
	}
	return b
}

// tip is the run that the gateway is in: heard of, closed by nobody, and of such
// the one that was heard of last for the first time; what an earlier run left
// behind may be stored long after. Of two that name the same run before them the
// one with batches came later, whatever the hooks' clocks say: the other would
// have named it.
func (s *State) tip() *run {
	var open []*run
	followed := make(map[contract.BatchID]bool) // by a run with batches
	for _, r := range s.sorted() {
		if r.last == 0 || len(r.closed) > 0 {
			continue
		}
		if open = append(open, r); r.heard > 0 {
			followed[r.before()] = true
		}
	}
	for _, r := range slices.Backward(open) {
		if r.heard == 0 && followed[r.before()] {
			continue
		}
		if r.head == nil {
			return s.unexplained(open, r)
		}
		return r
	}
	return nil
}

// unexplained chooses among runs of which only batches were heard: these may
// arrive in any order, so that one whose ancestors are not all known may follow
// any other.
func (s *State) unexplained(open []*run, otherwise *run) *run {
	for _, r := range slices.Backward(open) {
		if r.head == nil && !s.box(r).whole {
			return r
		}
	}
	return otherwise
}

// before is the run before, the zero id when there is none.
func (r *run) before() (id contract.BatchID) {
	if r.previous != nil {
		id = *r.previous
	}
	return id
}

// boxes are the gateway, first, and whatever else speaks in its name just now.
func (s *State) boxes(now device.Micros) (list []box) {
	tip := s.tip()
	if tip != nil {
		list = append(list, s.box(tip))
	}
	for _, r := range s.sorted() {
		closed, ended := r.closedAt()
		if r != tip && now-r.last <= silence && (!ended || r.heard > closed) {
			list = append(list, s.box(r))
		}
	}
	return list
}

const every = ^uint64(0) - 1 // further than any number

// has reports whether a run is one of the box's.
func (b box) has(r *run) bool {
	_, mine := b.place[r.id]
	return mine
}

// waiting are the numbers of a run that the box may still have: those from its
// oldest waiting batch on, those it set aside, those whose tombstones wait, and
// everything that came after it spoke.
func (b box) waiting(r *run) (out spans) {
	all := spans{{from: 1, to: every}}
	place, mine := b.place[r.id]
	if !mine && b.whole {
		return nil
	}
	if !mine || b.head == nil || place < b.at {
		return all
	}
	if place == b.at {
		out.add(b.head.Sequence+1, every, 0)
	}
	if oldest := b.head.Oldest; oldest != nil {
		from, known := b.place[oldest.Epoch]
		switch {
		case !known || place < from:
			return all
		case place == from:
			out.add(oldest.Sequence, every, 0)
		}
	}
	for _, id := range b.head.SetAside {
		if id.Epoch == r.id {
			out.add(id.Sequence, id.Sequence, 0)
		}
	}
	for _, told := range b.head.Tombstoned {
		if told.Epoch == r.id {
			out.add(told.From, told.To, 0)
		}
	}
	return out
}

// completeUntil is the newest time of measurement up to which every batch is
// accounted for, run by run from the first.
func (b box) completeUntil() (until device.Micros, ok bool) {
	if !b.whole {
		return 0, false
	}
	for i, r := range slices.Backward(b.chain) {
		if r.highest() == 0 {
			continue
		}
		p, some := r.prefix()
		// What a run grew after an image of it was taken is another box's, and says
		// nothing of how far this one came.
		if ended, at := b.left(i); some && (!ended || r.highest() <= at) {
			until = max(until, p.until)
		}
		if !some || p.to < r.highest() {
			break
		}
	}
	return b.cap(until), until != 0
}

// left is the number at which the box left a run of its chain for the next one; of
// the present run there is none, unless a later one of another box names it.
func (b box) left(i int) (ended bool, at uint64) {
	if i == 0 {
		at, ended = b.chain[0].closedAt()
		return ended, at
	}
	return true, b.chain[i-1].before().Sequence
}

// cap lowers a time to what the box says of readings that wait out of order.
func (b box) cap(until device.Micros) device.Micros {
	if b.head != nil && b.head.Behind != 0 {
		return min(until, b.head.Behind-1)
	}
	return until
}

// clones says which epochs can't come from one box, and which ids have two
// contents.
//
// A run that a later one closed has ended: what is heard of it late, up to that
// number, proves nothing. Of the others, two that both grew after both were
// heard, as one hook heard it, are two boxes. The margin is for messages that
// were long under way.
func (s *State) clones() (out []string) {
	intervals := make(map[string][]interval)
	for _, r := range s.sorted() {
		if closed, ended := r.closedAt(); ended && r.heard <= closed {
			continue
		}
		for instance, g := range r.growth {
			intervals[instance] = append(intervals[instance], interval{r.id, g.first, g.grew})
		}
	}
	for _, list := range intervals {
		slices.SortFunc(list, func(a, b interval) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.id, b.id)) })
		var longest interval // the one that grew last of those before
		for _, x := range list {
			if longest.id != 0 && min(longest.to, x.to) > x.from+silence {
				a, b := min(longest.id, x.id), max(longest.id, x.id)
				out = append(out, fmt.Sprintf("epochs %v and %v both grow", a, b))
			}
			if x.to > longest.to {
				longest = x
			}
		}
	}
	for id, twin := range s.twins {
		if twin {
			out = append(out, fmt.Sprintf("batch %v has two contents", id))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// interval is the time in which one hook heard a run grow.
type interval struct {
	id       contract.Epoch
	from, to device.Micros
}
