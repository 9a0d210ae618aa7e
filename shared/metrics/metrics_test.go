package metrics_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/wattline/wattline/shared/metrics"
)

// text gives the lines about our own metrics.
func text(t *testing.T, r *metrics.Registry) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	var ours []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "wattline_") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

func TestRegistryShowsWhatWasCounted(t *testing.T) {
	r := metrics.New()
	r.Counter("wattline_outbox_batches_total", "Batches kept.").Add(2)
	r.Counter("wattline_outbox_batches_total", "Batches kept.").Inc()
	r.Counter("wattline_outbox_batches_total", "Batches kept.").Add(-5)
	g := r.Gauge("wattline_outbox_size_bytes", "Size of the file.")
	g.Set(10)
	g.Add(-3)
	r.Histogram("wattline_api_request_seconds", "Time of a request.", 0.1, 1).Observe(0.5)
	r.GaugeFunc("wattline_outbox_waiting_readings", "Readings that wait.", func() float64 { return 1 })
	r.GaugeFunc("wattline_outbox_waiting_readings", "Readings that wait.", func() float64 { return 7 })
	r.CounterFunc("wattline_bus_messages_total", "Messages seen.", func() float64 { return 4 })
	want := `wattline_api_request_seconds_bucket{le="0.1"} 0
wattline_api_request_seconds_bucket{le="1"} 1
wattline_api_request_seconds_bucket{le="+Inf"} 1
wattline_api_request_seconds_sum 0.5
wattline_api_request_seconds_count 1
wattline_bus_messages_total 4
wattline_outbox_batches_total 3
wattline_outbox_size_bytes 7
wattline_outbox_waiting_readings 7
`
	if got := text(t, r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestVectorsTellLabelsApartUpToTheLimit(t *testing.T) {
	r := metrics.New()
	v := r.CounterVec("wattline_bus_errors_total", "Errors by source.", 2, "source")
	for _, source := range []string{"a", "b", "c", "d", "a", metrics.Other} {
		v.With(source).Inc()
	}
	r.CounterVec("wattline_bus_errors_total", "Errors by source.", 2, "source").With("b").Inc()
	pairs := r.GaugeVec2("wattline_edge_plugs_count", "Plugs.", 1, "gateway", "state")
	pairs.With("f1", "away").Set(3)
	pairs.With("f2", "away").Set(4)
	r.CounterVec2("wattline_api_requests_total", "Requests.", 9, "route", "status").With("/x", "200").Inc()
	r.GaugeVec("wattline_edge_age_seconds", "Age.", 9, "gateway").With("\xff" + strings.Repeat("x", 200)).Set(1)
	r.HistogramVec("wattline_bus_wait_seconds", "Wait.", 9, "topic", 1).With("data").Observe(2)
	want := `wattline_api_requests_total{route="/x",status="200"} 1
wattline_bus_errors_total{source="a"} 2
wattline_bus_errors_total{source="b"} 2
wattline_bus_errors_total{source="other"} 3
wattline_bus_wait_seconds_bucket{topic="data",le="1"} 0
wattline_bus_wait_seconds_bucket{topic="data",le="+Inf"} 1
wattline_bus_wait_seconds_sum{topic="data"} 2
wattline_bus_wait_seconds_count{topic="data"} 1
wattline_edge_age_seconds{gateway="` + "\uFFFD" + strings.Repeat("x", 127) + `"} 1
wattline_edge_plugs_count{gateway="f1",state="away"} 3
wattline_edge_plugs_count{gateway="other",state="other"} 4
`
	if got := text(t, r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestVectorsStayBoundedUnderHostileLabels(t *testing.T) {
	r := metrics.New()
	v := r.CounterVec("wattline_bus_errors_total", "Errors by source.", 10, "source")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				v.With(fmt.Sprint(g, "-", i)).Inc()
			}
		})
	}
	wg.Wait()
	if got, want := strings.Count(text(t, r), "\n"), 11; got != want {
		t.Errorf("%d label values are shown, want %d", got, want)
	}
}

func TestNilRegistryAndItsMetricsDoNothing(t *testing.T) {
	var r *metrics.Registry
	r.Counter("wattline_a_b_total", "").Inc()
	r.Gauge("wattline_a_b_count", "").Set(1)
	r.Gauge("wattline_a_b_count", "").Add(1)
	r.Histogram("wattline_a_b_seconds", "").Observe(1)
	r.CounterVec("wattline_a_c_total", "", 1, "x").With("y").Inc()
	r.CounterVec2("wattline_a_d_total", "", 1, "x", "z").With("y", "w").Inc()
	r.GaugeVec("wattline_a_e_count", "", 1, "x").With("y").Set(1)
	r.GaugeVec2("wattline_a_f_count", "", 1, "x", "z").With("y", "w").Set(1)
	r.HistogramVec("wattline_a_g_seconds", "", 1, "x").With("y").Observe(1)
	r.GaugeFunc("wattline_a_h_count", "", func() float64 { return 1 })
	r.CounterFunc("wattline_a_i_total", "", func() float64 { return 1 })
	if err := r.WriteText(io.Discard); err != nil {
		t.Error(err)
	}
	if got := get(t, r.Handler()).Code; got != http.StatusNotFound {
		t.Errorf("status %d, want 404", got)
	}
}

func get(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	return w
}

func TestHandlerServesRuntimeProcessAndOurs(t *testing.T) {
	r := metrics.New()
	r.Counter("wattline_outbox_batches_total", "Batches kept.").Inc()
	res := get(t, r.Handler())
	body := res.Body.String()
	for _, want := range []string{"go_goroutines ", "process_open_fds ", "# HELP wattline_outbox_batches_total Batches kept.\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if got := res.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("content type %q", got)
	}
}

func TestRegistryPanicsOnMisuse(t *testing.T) {
	r := metrics.New()
	r.Counter("wattline_outbox_batches_total", "Batches kept.")
	r.CounterVec("wattline_bus_errors_total", "Errors.", 2, "source")
	for name, misuse := range map[string]func(){
		"a name of another form": func() { r.Counter("outbox_batches", "") },
		"a name without unit":    func() { r.Counter("wattline_outbox", "") },
		"a name of another kind": func() { r.Gauge("wattline_outbox_batches_total", "") },
		"a name of other labels": func() { r.CounterVec("wattline_bus_errors_total", "Errors.", 2, "topic") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			misuse()
		})
	}
}

func TestWriteTextTellsThatTheWriterIsGone(t *testing.T) {
	pr, pw := io.Pipe()
	_ = pr.Close()
	if err := metrics.New().WriteText(pw); err == nil {
		t.Error("no error")
	}
}
