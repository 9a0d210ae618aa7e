package ledger

// In the package itself: spans are the arithmetic under every conclusion, and
// nothing of them shows outside.

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSpansAreASet compares spans with a plain set, over random numbers.
func TestSpansAreASet(t *testing.T) {
	const largest = 40
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		fill := func() (s spans, plain map[uint64]bool) {
			plain = map[uint64]bool{}
			for range random.IntN(12) {
				from := 1 + random.Uint64N(largest)
				to := min(from+random.Uint64N(6), largest)
				fresh := uint64(0)
				for n := from; n <= to; n++ {
					if !plain[n] {
						fresh++
					}
					plain[n] = true
				}
				if got := s.add(from, to, 0); got != fresh {
					t.Fatalf("seed %d: %d..%d added %d new, want %d", seed, from, to, got, fresh)
				}
			}
			return s, plain
		}
		a, plainA := fill()
		b, plainB := fill()
		for name, x := range map[string]struct {
			got  spans
			want func(n uint64) bool
		}{
			"a":         {a, func(n uint64) bool { return plainA[n] }},
			"a without": {a.without(b), func(n uint64) bool { return plainA[n] && !plainB[n] }},
			"a and b":   {a.and(b), func(n uint64) bool { return plainA[n] || plainB[n] }},
			"gaps":      {a.gaps(largest), func(n uint64) bool { return !plainA[n] }},
		} {
			var got, want []uint64
			for i, s := range x.got {
				if i > 0 && x.got[i-1].to >= s.from {
					t.Fatalf("seed %d: %s overlaps: %v", seed, name, x.got)
				}
				for n := s.from; n <= s.to; n++ {
					got = append(got, n)
				}
			}
			for n := uint64(1); n <= largest; n++ {
				if x.want(n) {
					want = append(want, n)
				}
			}
			if !slices.Equal(got, want) || x.got.count() != uint64(len(want)) {
				t.Fatalf("seed %d: %s\ngot  %v (%d)\nwant %v", seed, name, got, x.got.count(), want)
			}
		}
	}
}

func TestSpansKeepTheNewestTime(t *testing.T) {
	var s spans
	s.add(2, 2, 20)
	s.add(1, 1, 10)
	s.add(4, 4, 40)
	if len(s) != 2 || s[0] != (span{1, 2, 20}) || s[1] != (span{4, 4, 40}) {
		t.Errorf("got %v", s)
	}
	s.add(3, 3, 5)
	if len(s) != 1 || s[0] != (span{1, 4, 40}) {
		t.Errorf("joined: %v", s)
	}
}

func TestSpansReachToTheEndOfNumbers(t *testing.T) {
	var s spans
	s.add(7, every, 0)
	if open := (spans{{from: 1, to: 9}}).without(s); len(open) != 1 || open[0] != (span{from: 1, to: 6}) {
		t.Errorf("got %v", open)
	}
}
