package signals

import (
	"slices"

	"github.com/wattline/wattline/shared/contract"
)

// Bounds of what is remembered of the batches of one gateway. They come in order
// and nearly without gaps, so that one span for each run is the usual.
const (
	maxRuns  = 8
	maxSpans = 32
)

// batches are those of a gateway that were heard. A gateway sends a batch until
// somebody answers it, one that is set aside every hour for ever; what it said
// was said the first time. What falls out of the bounds counts as not heard.
type batches []run

// run is what was heard of one epoch: spans sorted, apart from each other.
type run struct {
	epoch contract.Epoch
	spans []span
}

type span struct{ from, to uint64 }

// twice enters a batch, or reports that it was heard already.
func (b *batches) twice(id contract.BatchID) bool {
	i := slices.IndexFunc(*b, func(r run) bool { return r.epoch == id.Epoch })
	if i < 0 {
		if len(*b) == maxRuns {
			*b = slices.Delete(*b, 0, 1)
		}
		i = len(*b)
		*b = append(*b, run{epoch: id.Epoch})
	}
	return (*b)[i].twice(id.Sequence)
}

func (r *run) twice(n uint64) bool {
	i := len(r.spans) // the first span that begins after n; nearly always none does
	for i > 0 && r.spans[i-1].from > n {
		i--
	}
	if i > 0 && n <= r.spans[i-1].to {
		return true
	}
	follows, precedes := i > 0 && r.spans[i-1].to+1 == n, i < len(r.spans) && r.spans[i].from == n+1
	switch {
	case follows && precedes:
		r.spans[i-1].to = r.spans[i].to
		r.spans = slices.Delete(r.spans, i, i+1)
	case follows:
		r.spans[i-1].to = n
	case precedes:
		r.spans[i].from = n
	default:
		r.spans = slices.Insert(r.spans, i, span{n, n})
		if len(r.spans) > maxSpans {
			r.spans = slices.Delete(r.spans, 0, 1)
		}
	}
	return false
}
