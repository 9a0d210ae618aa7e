package ledger

import (
	"cmp"
	"slices"

	"github.com/wattline/wattline/shared/device"
)

// span is the numbers from to to, both included; until is the newest time of
// what they stand for.
type span struct {
	from, to uint64
	until    device.Micros
}

// spans is a set of numbers as sorted, disjoint spans that do not touch.
type spans []span

// add puts numbers in and tells how many of them were new.
func (s *spans) add(from, to uint64, until device.Micros) (fresh uint64) {
	list := *s
	// Entries come nearly in order: the place is almost always the end.
	i, _ := slices.BinarySearchFunc(list, from, func(x span, n uint64) int { return cmp.Compare(x.to+1, n) })
	j := i
	merged := span{from, to, until}
	fresh = to - from + 1
	for ; j < len(list) && list[j].from <= to+1; j++ {
		low, high := max(from, list[j].from), min(to, list[j].to)
		if high >= low && high-low+1 <= fresh {
			fresh -= high - low + 1
		}
		merged = span{min(merged.from, list[j].from), max(merged.to, list[j].to), max(merged.until, list[j].until)}
	}
	*s = slices.Replace(list, i, j, merged)
	return fresh
}

func (s spans) count() (n uint64) {
	for _, x := range s {
		n += x.to - x.from + 1
	}
	return n
}

// gaps are the numbers from 1 to last that are not in s.
func (s spans) gaps(last uint64) (out spans) {
	next := uint64(1)
	for _, x := range s {
		if x.from > last {
			break
		}
		if x.from > next {
			out = append(out, span{from: next, to: x.from - 1})
		}
		next = x.to + 1
	}
	if next <= last {
		out = append(out, span{from: next, to: last})
	}
	return out
}

// without is s less the numbers in t.
func (s spans) without(t spans) (out spans) {
	for _, x := range s {
		next := x.from
		for _, y := range t {
			if y.to < next || y.from > x.to {
				continue
			}
			if y.from > next {
				out = append(out, span{from: next, to: y.from - 1})
			}
			next = y.to + 1
		}
		if next <= x.to {
			out = append(out, span{from: next, to: x.to})
		}
	}
	return out
}

// and is the union of s and t.
func (s spans) and(t spans) spans {
	out := slices.Clone(s)
	for _, x := range t {
		out.add(x.from, x.to, x.until)
	}
	return out
}
