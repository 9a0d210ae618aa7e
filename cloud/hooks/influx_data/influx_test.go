package influxdata_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func connect(t testing.TB) *influx.Client {
	t.Helper()
	server := influxtest.Start(t)
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = server.URL, config.Secret(server.Token), server.Org
	client, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// rows gives an answer of InfluxDB as text.
func rows(t testing.TB, c *influx.Client, database, influxql string) (out []string) {
	t.Helper()
	err := c.Query(t.Context(), database, influxql, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
		for _, row := range rows {
			text, err := json.Marshal(row)
			if err != nil {
				return err
			}
			out = append(out, string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", influxql, err)
	}
	return out
}

// in sends messages to a database of the test's own.
func in(database string, messages ...bus.Message) []bus.Message {
	for i := range messages {
		messages[i].Topic = strings.Replace(messages[i].Topic, "/influx_data/sp", "/influx_data/"+database, 1)
	}
	return messages
}

func TestRealInfluxDBKeepsWhatIsReceipted(t *testing.T) {
	client, database := connect(t), influxtest.Database(t)
	if err := client.Write(t.Context(), database, []byte("power,id=sp_g9 value=\"text\" 1705319000000000\n")); err != nil {
		t.Fatal(err) // the database did not exist; power is of type text there now
	}
	s := newHook(t, func(o *influxdata.Options) { o.Store = client })
	voltage := strings.ReplaceAll(reading("g1"), "power", "voltage")
	nasty := `{"n":"sp_g1/note","u":"a b,c=d\"","t":1705319000,"vs":"line one\nline \"two\" \\ , = ä 漢"}`
	s.handle(in(database, pack("a-1", voltage), pack("a-2", reading("g1")), pack("a-3", nasty), pack("a-4", voltage))...)
	want := map[string][]string{"stored": {"a-1", "a-3", "a-4"}, "quarantined": {"a-2"}}
	if diff := cmp.Diff(want, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if got := rows(t, client, database, `SELECT value FROM voltage`); !slices.Equal(got, []string{`[1705319000000000,1]`}) {
		t.Errorf("got %v", got)
	}
	if got := rows(t, client, database, `SELECT "text", "unit" FROM note`); len(got) != 1 || got[0] != `[1705319000000000,"line one\nline \"two\" \\ , = ä 漢","a b,c=d\""]` {
		t.Errorf("got %v", got)
	}
	batch := pack("a-2", reading("g1"))
	digest := contract.DigestOf(in(database, batch)[0].Payload).String()
	got := rows(t, client, influxdata.SystemDatabase, `SELECT "batch","bytes","pieces","reason","topic" FROM quarantine WHERE digest = '`+digest+`' AND topic =~ /`+database+`/`)
	if len(got) != 1 || !strings.Contains(got[0], `"a-2",`+fmt.Sprint(len(batch.Payload))+`,1,`) || !strings.Contains(got[0], "field type conflict") {
		t.Errorf("in quarantine: %v", got)
	}
}

func TestRealInfluxDBSaysBeyondRetention(t *testing.T) {
	client, database := connect(t), influxtest.Database(t)
	if err := client.Exec(t.Context(), database, `CREATE DATABASE "`+database+`" WITH DURATION 24h REPLICATION 1 SHARD DURATION 1h NAME "day"`); err != nil {
		t.Skipf("this server makes no databases with a retention by InfluxQL: %v", err)
	}
	now := device.MicrosOf(time.Now())
	s := newHook(t, func(o *influxdata.Options) { o.Store, o.Now = client, func() device.Micros { return now } })
	fresh := strings.ReplaceAll(reading("g1"), "1705319000", fmt.Sprint(time.Now().Unix()))
	s.handle(in(database, pack("a-1", reading("g2")), pack("a-2", fresh))...)
	if diff := cmp.Diff(map[string][]string{"stored": {"a-2"}, "expired": {"a-1"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
}

// A measurement of 255 characters, and a text of 64 KiB, are the most that the
// hook lets pass: InfluxDB must keep them.
func TestRealInfluxDBKeepsTheLargest(t *testing.T) {
	client, database := connect(t), influxtest.Database(t)
	s := newHook(t, func(o *influxdata.Options) { o.Store = client })
	long, text := strings.Repeat("m", 255), strings.Repeat("\\", 64<<10)
	s.handle(in(database, pack("a-1", `{"n":"sp_g1/`+long+`","u":"`+strings.Repeat("漢", 21)+`","t":1705319000,"v":1},{"n":"sp_g1/note","t":1705319000,"vs":"`+strings.ReplaceAll(text, `\`, `\\`)+`"}`))...)
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if got := rows(t, client, database, `SELECT value FROM `+long); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if got := rows(t, client, database, `SELECT "text" FROM note`); len(got) != 1 || strings.Count(got[0], `\\`) != 64<<10 {
		t.Errorf("%d rows", len(got))
	}
}

// BenchmarkStored is the hook with a real InfluxDB behind it, beside a bare
// writer that sends the same points in requests of 5,000 lines, two at a time.
// Neither has a broker; the ledger is written too.
func BenchmarkStored(b *testing.B) {
	const batches, readings = 400, 100 // 200,000 points a round
	client := connect(b)
	rate := func(round func(database string)) float64 {
		begin := time.Now()
		for range b.N {
			round(influxtest.Database(b))
		}
		return float64(b.N*batches*readings*5) / time.Since(begin).Seconds()
	}
	messages := make([]bus.Message, batches)
	for i := range messages {
		messages[i] = batchOf(b, uint64(i+1), readings, 1_700_000_000_000_000+device.Micros(i)*1e7)
	}
	var bodies [][]byte
	plain := newHook(b, nil)
	plain.onWrite = func(_, lines string) error { bodies = append(bodies, []byte(lines)); return nil }
	for chunk := range slices.Chunk(messages, 10) {
		plain.handle(slices.Clone(chunk)...)
	}
	if n := bytes.Count(bodies[0], []byte("\n")); n != 5000 {
		b.Fatalf("%d lines in a request", n)
	}
	bare := rate(func(database string) {
		work := make(chan []byte, len(bodies))
		for _, body := range bodies {
			work <- body
		}
		close(work)
		var writers sync.WaitGroup
		for range 2 {
			writers.Go(func() {
				for body := range work {
					if err := client.Write(b.Context(), database, body); err != nil {
						b.Error(err)
					}
				}
			})
		}
		writers.Wait()
	})
	hooked := rate(func(database string) {
		h := influxdata.New(influxdata.Options{Store: client, Ledger: ledger.NewBook(client, "bench", nil)}, slog.New(slog.DiscardHandler))
		influxdata.Stored(b.Context(), h, in(database, slices.Clone(messages)...))
	})
	b.ReportMetric(bare, "bare-points/s")
	b.ReportMetric(hooked, "points/s")
	b.ReportMetric(hooked/bare, "of-bare")
}
