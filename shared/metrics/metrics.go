// Package metrics counts what the parts do and shows it to Prometheus. A part
// takes a *Registry, asks it for its counters once and forgets where they go:
// the registry, and everything that it gives, may be nil and then does nothing,
// so that a part runs in a test without metrics.
//
// Names are wattline_<part>_<what>_<unit>, counters end in _total. Asking twice
// for one name gives the same metric, asking for it with another kind or other
// labels is a bug and panics. Labels take a bounded number of values: what
// comes from outside cannot grow the memory. The package owns the Prometheus
// client; no type of it leaves here.
package metrics

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// ContentType is the media type of what WriteText writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// nameForm is the form of every name of ours.
var nameForm = regexp.MustCompile(`^wattline(_[a-z][a-z0-9]*){2,}$`)

// Registry holds the metrics of one program, those of the Go runtime and of the
// process included. A nil *Registry gives nil metrics. Safe for concurrent use.
type Registry struct {
	reg *prometheus.Registry

	mu      sync.Mutex // protects entries
	entries map[string]entry
}

// entry is what one name stands for.
type entry struct {
	form   string // kind and labels, which must be the same each time
	metric any
}

// New returns a registry that tells of the Go runtime and the process.
func New() *Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{reg: reg, entries: map[string]entry{}}
}

// Handler serves the metrics over HTTP, for GET /metrics.
func (r *Registry) Handler() http.Handler {
	if r == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// WriteText writes the metrics to w in Prometheus' text format, for servers
// that are not net/http's; its media type is ContentType.
func (r *Registry) WriteText(w io.Writer) error {
	if r == nil {
		return nil
	}
	families, err := r.reg.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return nil
}

// Counter gives the counter of that name; help is a sentence for people.
func (r *Registry) Counter(name, help string) *Counter {
	return once(r, name, "counter", func() *Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.reg.MustRegister(c)
		return &Counter{c}
	})
}

// Gauge gives the gauge of that name.
func (r *Registry) Gauge(name, help string) *Gauge {
	return once(r, name, "gauge", func() *Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		r.reg.MustRegister(g)
		return &Gauge{g}
	})
}

// Histogram gives the histogram of that name. Buckets are upper bounds in
// increasing order, in the unit of the name; none means Prometheus' own, which
// suit seconds from 5 ms to 10 s.
func (r *Registry) Histogram(name, help string, buckets ...float64) *Histogram {
	return once(r, name, fmt.Sprint("histogram", buckets), func() *Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		r.reg.MustRegister(h)
		return &Histogram{h}
	})
}

// GaugeFunc shows what value returns each time the metrics are read, from any
// goroutine. A second call with one name replaces the function: a part that was
// closed and opened again speaks for itself.
func (r *Registry) GaugeFunc(name, help string, value func() float64) {
	f := once(r, name, "gauge function", func() *function {
		f := new(function)
		r.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f.call))
		return f
	})
	f.set(value)
}

// CounterFunc is GaugeFunc for a count that somebody else keeps and that never
// goes down.
func (r *Registry) CounterFunc(name, help string, value func() float64) {
	f := once(r, name, "counter function", func() *function {
		f := new(function)
		r.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f.call))
		return f
	})
	f.set(value)
}

// once gives the metric of a name, made at the first call.
func once[M any](r *Registry, name, form string, create func() *M) *M {
	if r == nil {
		return nil
	}
	if !nameForm.MatchString(name) {
		panic("metrics: " + name + " is not of the form wattline_<part>_<what>_<unit>")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[name]; ok {
		m, same := e.metric.(*M)
		if !same || e.form != form {
			panic(fmt.Sprintf("metrics: %s is a %s, asked for as %s (%s)", name, e.form, form, reflect.TypeFor[M]()))
		}
		return m
	}
	m := create()
	r.entries[name] = entry{form: form, metric: m}
	return m
}
