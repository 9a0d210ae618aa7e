package influx_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/influx/line"
)

// readings gives n lines as the storing hook makes them: 100 plugs, four
// measurements, one poll a second from start on.
func readings(n int, start int64) []byte {
	var dst []byte
	measurements := [...]struct{ name, unit string }{{"power", "W"}, {"voltage", "V"}, {"current", "A"}, {"energy", "Wh"}}
	for i := range n {
		m := measurements[i%len(measurements)]
		plug := i / len(measurements) % 100
		second := int64(i / len(measurements) / 100)
		tags := []line.Tag{
			{Key: "column", Value: fmt.Sprint(plug % 5)},
			{Key: "floor", Value: "2"},
			{Key: "id", Value: fmt.Sprintf("sp_f2.w.r%d.c%d", plug/5, plug%5)},
			{Key: "row", Value: fmt.Sprint(plug / 5)},
			{Key: "type", Value: "w"},
			{Key: "unit", Value: m.unit},
		}
		dst = line.Append(dst, m.name, tags, []line.Field{line.Float("value", float64(i%997)/4)}, start+second*1e6+int64(plug))
	}
	return dst
}

// BenchmarkWrite is two writers of 5,000-line requests: as many points a second
// as InfluxDB takes. The lines are made before the clock runs.
func BenchmarkWrite(b *testing.B) {
	const writers, lines = 2, 5000
	c := connect(b, influxtest.Start(b))
	database := influxtest.Database(b)
	var bodies [][]byte
	for i := range max(b.N, writers) {
		bodies = append(bodies, readings(lines, 1_700_000_000_000_000+int64(i)*lines/400*1e6))
	}
	if err := c.EnsureDatabase(b.Context(), database); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := c.Write(b.Context(), database, bodies[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*lines)/time.Since(begin).Seconds(), "points/s")
}

// BenchmarkQuery reads 100,000 rows of one series, or 28 means of them, beside
// the same statement sent without this package and thrown away unread.
func BenchmarkQuery(b *testing.B) {
	s := influxtest.Start(b)
	c := connect(b, s)
	database := influxtest.Database(b)
	const points = 100_000
	var lines []byte
	for i := range int64(points) {
		lines = line.Append(lines, "power", []line.Tag{{Key: "id", Value: "a"}}, []line.Field{line.Float("value", float64(i%997)/4)}, 1_700_000_000_000_000+i*1e6)
	}
	if err := c.Write(b.Context(), database, lines); err != nil {
		b.Fatal(err)
	}
	for name, statement := range map[string]string{
		"raw":  "SELECT value FROM power",
		"mean": "SELECT mean(value) FROM power WHERE time >= 1700000000s AND time < 1700100000s GROUP BY time(1h)",
	} {
		b.Run(name+"/client", func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				rows := 0
				err := c.Query(b.Context(), database, statement, func(_ string, _ map[string]string, _ []string, chunk [][]any) error {
					rows += len(chunk)
					return nil
				})
				if err != nil || rows == 0 {
					b.Fatalf("%d rows, %v", rows, err)
				}
			}
		})
		b.Run(name+"/direct", func(b *testing.B) {
			target := s.URL + "/query?" + url.Values{"db": {database}, "epoch": {"u"}, "chunked": {"true"}, "q": {statement}}.Encode()
			for range b.N {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, target, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Authorization", "Token "+s.Token)
				req.Header.Set("Accept-Encoding", "identity") // the client asks for none either
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < 1000 {
					b.Fatalf("%d bytes, %v", n, err)
				}
				_ = resp.Body.Close()
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}
