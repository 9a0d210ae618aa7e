package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// report writes figures.
type report struct{ out io.Writer }

// note writes a comment.
func (r report) note(format string, args ...any) {
	fmt.Fprintf(r.out, "# "+format+"\n", args...)
}

// fact writes a figure that has no limit.
func (r report) fact(name string, value float64, unit string) {
	fmt.Fprintf(r.out, "%s %s %s\n", name, digits(value), unit)
}

// least and most write a figure with its limit, and say by how much it falls
// short of it.
func (r report) least(name string, value, limit float64, unit string) {
	r.limited(name, value, limit, unit, value >= limit)
}

func (r report) most(name string, value, limit float64, unit string) {
	r.limited(name, value, limit, unit, value <= limit)
}

func (r report) limited(name string, value, limit float64, unit string, kept bool) {
	r.fact(name, value, unit)
	r.fact(name+"_limit", limit, unit)
	switch {
	case kept:
	case limit == 0:
		r.note("%s MISSES its limit", name)
	default:
		r.note("%s MISSES its limit: it is %.2f times the limit", name, value/limit)
	}
}

// digits gives three significant digits, and integers whole.
func digits(v float64) string {
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// quantile is the q-th of the values, which it sorts; 0 without any.
func quantile[T cmp.Ordered](values []T, q float64) (v T) {
	if len(values) == 0 {
		return v
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func rate(n int, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }
