package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Counter only goes up. A nil *Counter counts nothing. Safe for concurrent use.
type Counter struct{ c prometheus.Counter }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n; a negative n is ignored.
func (c *Counter) Add(n float64) {
	if c != nil && n >= 0 {
		c.c.Add(n)
	}
}

// Gauge goes up and down. A nil *Gauge keeps nothing. Safe for concurrent use.
type Gauge struct{ g prometheus.Gauge }

// Set makes v the value.
func (g *Gauge) Set(v float64) {
	if g != nil {
		g.g.Set(v)
	}
}

// Add adds v, which may be negative.
func (g *Gauge) Add(v float64) {
	if g != nil {
		g.g.Add(v)
	}
}

// Histogram counts values by size. A nil *Histogram counts nothing. Safe for
// concurrent use.
type Histogram struct{ h prometheus.Observer }

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	if h != nil {
		h.h.Observe(v)
	}
}

// function is a callback that can be replaced while it is registered.
type function struct {
	f atomic.Pointer[func() float64]
}

func (f *function) set(value func() float64) {
	if f != nil {
		f.f.Store(&value)
	}
}

func (f *function) call() float64 {
	if value := f.f.Load(); value != nil {
		return (*value)()
	}
	return 0
}
