package influxquery_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// nowhere drops the parts of an answer.
type nowhere struct{}

func (nowhere) Part(context.Context, json.RawMessage) error { return nil }

// BenchmarkAnswer shows what the component adds to the statement that it asks:
// "direct" reads InfluxDB's own answer to the same statement and drops it.
func BenchmarkAnswer(b *testing.B) {
	s, server := newStandOn(b)
	var lines []string
	for i := range 100_000 {
		lines = append(lines, point("power", "id=sp_f2.w.r1.c"+string('0'+rune(i%10))+",floor=2,type=w,unit=W", float64(t0+i), float64(i)/8))
	}
	s.write(lines...)
	for name, data := range map[string]json.RawMessage{
		"100000 points": parameters("format=series"),
		"mean by hour":  parameters("operation=mean", "every=1h", "from=1705276800", "to=1705376800", "group_by=device", "format=series"),
		"one device":    parameters("id=sp_f2.w.r1.c3", "from=1705276800", "to=1705280400"),
	} {
		q, err := influxquery.Parse(s.database+"/power", data, device.MicrosOf(now))
		if err != nil {
			b.Fatal(err)
		}
		statement := q.Statements(1, true)[0].Text
		b.Run(name+"/direct", func(b *testing.B) {
			for b.Loop() {
				direct(b, server, s.database, statement)
			}
		})
		b.Run(name+"/answered", func(b *testing.B) {
			for b.Loop() {
				if err := s.component.Handle(b.Context(), hook.Request{Subpath: s.database + "/power", Data: data}, nowhere{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func direct(b *testing.B, server *influxtest.Server, database, statement string) {
	b.Helper()
	form := url.Values{"q": {statement}, "db": {database}, "epoch": {"u"}}
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "Token "+server.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK || n < 100 {
		b.Fatalf("%s: %d bytes, %v", response.Status, n, err)
	}
}
