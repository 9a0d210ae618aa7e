package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/hook"
)

// BenchmarkRelayOut is one question over the bus and back, with Mosquitto
// between: what the api and the bus add to the work of a component.
func BenchmarkRelayOut(b *testing.B) {
	s := start(b)
	s.component(hook.Queries, "ask", echo)
	for b.Loop() {
		s.get("/api/out/ask/x?n=1").is(http.StatusOK, "")
	}
}

// BenchmarkReadings is a long answer in parts of a megabyte, in each form.
func BenchmarkReadings(b *testing.B) {
	const parts, points = 16, 20_000
	var text strings.Builder
	for i := range points {
		fmt.Fprintf(&text, `,{"t":%d.123456,"v":%d.25}`, 1790000000+i, i%300)
	}
	part := json.RawMessage(`[{"measurement":"power","unit":"W","group":{"id":"sp_g3"},"points":[` + text.String()[1:] + `]}]`)
	s := start(b)
	s.component(hook.Queries, "influx_query", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		for range parts {
			if err := w.Part(ctx, part); err != nil {
				return err
			}
		}
		return nil
	})
	for name, path := range map[string]string{"relayed": "/api/out/influx_query/sp/power", "json": "/api/v1/readings?measurement=power", "csv": "/api/v1/readings?measurement=power#csv"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(parts * len(part)))
			for b.Loop() {
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+path, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				if name == "csv" {
					request.Header.Set("Accept", "text/csv")
				}
				answer, err := s.client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, answer.Body); err != nil || n < 1<<20 {
					b.Fatal(n, err)
				}
				_ = answer.Body.Close()
			}
			b.ReportMetric(float64(parts*points*b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
