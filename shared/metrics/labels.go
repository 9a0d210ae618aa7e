package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Other is the label that stands for all values beyond the limit of a metric.
const Other = "other"

// CounterVec is a counter for each value of a label. Its With gives the counter
// of a value. A nil *CounterVec gives nil counters. Safe for concurrent use.
type CounterVec struct {
	b *bounded[Counter]
}

// With gives the counter of a value; from the limit on, new values share Other.
func (v *CounterVec) With(value string) *Counter {
	if v == nil {
		return nil
	}
	return v.b.with(value, "")
}

// CounterVec2 is a counter for each pair of values of two labels.
type CounterVec2 struct {
	b *bounded[Counter]
}

// With gives the counter of a pair of values; from the limit on, new pairs
// share Other and Other.
func (v *CounterVec2) With(first, second string) *Counter {
	if v == nil {
		return nil
	}
	return v.b.with(first, second)
}

// GaugeVec is a gauge for each value of a label.
type GaugeVec struct {
	b *bounded[Gauge]
}

// With gives the gauge of a value; from the limit on, new values share Other.
func (v *GaugeVec) With(value string) *Gauge {
	if v == nil {
		return nil
	}
	return v.b.with(value, "")
}

// GaugeVec2 is a gauge for each pair of values of two labels.
type GaugeVec2 struct {
	b *bounded[Gauge]
}

// With gives the gauge of a pair of values; from the limit on, new pairs share
// Other and Other.
func (v *GaugeVec2) With(first, second string) *Gauge {
	if v == nil {
		return nil
	}
	return v.b.with(first, second)
}

// HistogramVec is a histogram for each value of a label.
type HistogramVec struct {
	b *bounded[Histogram]
}

// With gives the histogram of a value; from the limit on, new values share
// Other.
func (v *HistogramVec) With(value string) *Histogram {
	if v == nil {
		return nil
	}
	return v.b.with(value, "")
}

// CounterVec gives the counters of that name, one for each value of label. At
// most limit values are told apart; the others are counted as Other.
func (r *Registry) CounterVec(name, help string, limit int, label string) *CounterVec {
	return once(r, name, form("counters", limit, label), func() *CounterVec {
		return &CounterVec{b: newBounded(limit, 1, counters(r, name, help, label))}
	})
}

// CounterVec2 is CounterVec with two labels; limit counts their pairs.
func (r *Registry) CounterVec2(name, help string, limit int, first, second string) *CounterVec2 {
	return once(r, name, form("counters", limit, first, second), func() *CounterVec2 {
		return &CounterVec2{b: newBounded(limit, 2, counters(r, name, help, first, second))}
	})
}

// GaugeVec gives the gauges of that name, one for each value of label, at most
// limit and Other.
func (r *Registry) GaugeVec(name, help string, limit int, label string) *GaugeVec {
	return once(r, name, form("gauges", limit, label), func() *GaugeVec {
		return &GaugeVec{b: newBounded(limit, 1, gauges(r, name, help, label))}
	})
}

// GaugeVec2 is GaugeVec with two labels; limit counts their pairs.
func (r *Registry) GaugeVec2(name, help string, limit int, first, second string) *GaugeVec2 {
	return once(r, name, form("gauges", limit, first, second), func() *GaugeVec2 {
		return &GaugeVec2{b: newBounded(limit, 2, gauges(r, name, help, first, second))}
	})
}

// HistogramVec gives the histograms of that name, one for each value of label,
// at most limit and Other; for buckets see Registry.Histogram.
func (r *Registry) HistogramVec(name, help string, limit int, label string, buckets ...float64) *HistogramVec {
	return once(r, name, form("histograms", limit, label, fmt.Sprint(buckets)), func() *HistogramVec {
		vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{label})
		r.reg.MustRegister(vec)
		return &HistogramVec{b: newBounded(limit, 1, func(values ...string) *Histogram {
			return &Histogram{vec.WithLabelValues(values...)}
		})}
	})
}

func counters(r *Registry, name, help string, labels ...string) func(...string) *Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.reg.MustRegister(vec)
	return func(values ...string) *Counter { return &Counter{vec.WithLabelValues(values...)} }
}

func gauges(r *Registry, name, help string, labels ...string) func(...string) *Gauge {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.reg.MustRegister(vec)
	return func(values ...string) *Gauge { return &Gauge{vec.WithLabelValues(values...)} }
}

func form(kind string, limit int, labels ...string) string {
	return fmt.Sprintf("%s of %s, at most %d", kind, strings.Join(labels, ", "), limit)
}
