package influxdata_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

// What the envelope tells and the records do not keep: refused as a whole, kept
// as bytes, receipted as quarantined.
func TestRecordsThatAreRefusedGoToTheQuarantine(t *testing.T) {
	at := func(seconds string) string { return `{"n":"sp_g1/power","t":` + seconds + `,"v":1}` }
	for name, records := range map[string]string{
		"too far in the past": at("946684799.999999"), "too far in the future": at("1705323600.000001"), "no time": `{"n":"sp_g1/power","v":1}`,
		"a time that is none": at("1e300"), "relative time": at("-1"), "NaN": `{"n":"sp_g1/power","t":1705319000,"v":NaN}`, "a value too large": `{"n":"sp_g1/power","t":1705319000,"v":1e999}`,
		"no such id": reading("g01"), "no id": `{"n":"power","t":1705319000,"v":1}`, "a name with a space": `{"n":"sp_g1/po wer","t":1705319000,"v":1}`,
		"100 kB of text": `{"n":"sp_g1/x","t":1705319000,"vs":"` + strings.Repeat("x", 100_000) + `"}`, "a long measurement": `{"n":"sp_g1/` + strings.Repeat("x", 256) + `","t":1705319000,"v":1}`,
		"deeply nested":  `{"n":"sp_g1/power","t":1705319000,"v":1,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
		"one bad of two": reading("g1") + "," + at("1"), "not records": `1,2`, "broken UTF-8": "{\"n\":\"sp_g1/x\",\"t\":1705319000,\"vs\":\"\xff\xfe\"}",
		"too many records": strings.Repeat(reading("g1")+",", bus.MaxRecords) + reading("g1"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newHook(t, nil)
			bad := pack("a-1", records)
			if len(bad.Payload) > bus.MaxInflated {
				bad.Payload = bytes.ReplaceAll(bad.Payload, []byte(`"u":"W","t":1705319000,"v":1`), []byte(`"v":1`))
			}
			if strings.Contains(name, "NaN") || strings.Contains(name, "nested") { // that is no JSON, or none that the envelope's reader takes
				s.handle(bad, pack("a-2", reading("g2")))
				if got := s.receipts()["stored"]; len(got) != 1 || got[0] != "a-2" {
					t.Errorf("receipts %v", s.receipts())
				}
				return
			}
			s.handle(bad, pack("a-2", reading("g2")))
			if diff := cmp.Diff(map[string][]string{"stored": {"a-2"}, "quarantined": {"a-1"}}, s.receipts()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(s.lines["sp"], "sp_g1") {
				t.Errorf("a part of it was stored: %.300s", s.lines["sp"])
			}
		})
	}
}

func TestTheEdgesOfTheAcceptedTimes(t *testing.T) {
	s := newHook(t, nil)
	s.handle(pack("a-1", `{"n":"sp_g1/power","t":946684800,"v":1},{"n":"sp_g2/power","t":1705323600,"v":1}`))
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
}

// An envelope that does not read is never receipted: its source keeps it.
func TestMalformedMessagesAreAnsweredWithAnErrorAndNothingElse(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, m := range map[string]bus.Message{
		"no JSON":                       {Topic: "data/g/influx_data/sp", Payload: []byte("power=1")},
		"an array":                      {Topic: "data/g/influx_data/sp", Payload: []byte(`[{"n":"sp_g1/x"}]`)},
		"nothing":                       {Topic: "data/g/influx_data/sp"},
		"cut off":                       {Topic: "data/g/influx_data/sp", Payload: []byte(`{"id":"x","response_topic":"responses/g/r","data":[{"n"`)},
		"a bomb of zstd":                {Topic: "data/g/influx_data/sp", Payload: bus.Compress(bytes.Repeat([]byte{' '}, 64<<20))},
		"a bomb of gzip":                {Topic: "data/g/influx_data/sp", Payload: gzipped(strings.Repeat(" ", 64<<20))},
		"broken zstd":                   {Topic: "data/g/influx_data/sp", Payload: []byte{0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3}},
		"nested beyond all measure":     {Topic: "data/g/influx_data/sp", Payload: []byte(`{"data":` + strings.Repeat("[", 1<<20))},
		"another id in the topic":       {Topic: "data/g/influx_data/sp/a-2", Payload: pack("a-1", reading("g1")).Payload},
		"an id too long":                pack(long, reading("g1")),
		"no source":                     {Topic: "data//influx_data/sp", Payload: pack("a-1", reading("g1")).Payload},
		"a topic with too many levels":  {Topic: "data/g/influx_data/sp/a-1/x", Payload: pack("a-1", reading("g1")).Payload},
		"a topic too long":              {Topic: "data/" + strings.Repeat("g", 1100) + "/influx_data/sp", Payload: pack("a-1", reading("g1")).Payload},
		"a topic with a line break":     {Topic: "data/g\nx v=1/influx_data/sp", Payload: pack("a-1", reading("g1")).Payload},
		"a topic that is no UTF-8":      {Topic: "data/g\xff/influx_data/sp", Payload: pack("a-1", reading("g1")).Payload},
		"a batch that says odd things":  {Topic: "data/g/influx_data/sp", Payload: []byte(`{"id":"a-1","response_topic":"responses/g/r","batch":{"previous":"x"},"data":[]}`)},
		"a response topic for somebody": {Topic: "data/g/influx_data/sp", Payload: []byte(`{"id":"a-1","response_topic":"responses/h/r","batch":7}`)},
	} {
		t.Run(name, func(t *testing.T) {
			r := metrics.New()
			s := newHook(t, func(o *influxdata.Options) { o.Malformed = r.Counter("wattline_x_malformed_total", "x") })
			s.handle(m, pack("a-9", reading("g9")))
			if diff := cmp.Diff(map[string][]string{"stored": {"a-9"}}, s.receipts()); diff != "" {
				t.Error(diff)
			}
			if got := s.lines["sp"]; strings.Count(got, "\n") != 1 || s.lines[influxdata.SystemDatabase] != "" {
				t.Errorf("stored %v", s.lines)
			}
			for _, sent := range s.sent {
				if !strings.HasPrefix(sent.topic, "responses/g/") {
					t.Errorf("answered on %s", sent.topic)
				}
			}
			var text strings.Builder
			if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "wattline_x_malformed_total 1\n") {
				t.Errorf("not counted once: %v", err)
			}
		})
	}
	s := newHook(t, nil)
	s.handle(bus.Message{Topic: "data/g/influx_data/sp", Payload: []byte(`{"id":"a-1","response_topic":"responses/g/r","batch":7}`)})
	if len(s.sent) != 1 || s.sent[0].topic != "responses/g/r" || !strings.Contains(s.sent[0].payload, `"id":"a-1"`) || !strings.Contains(s.sent[0].payload, `"error":`) {
		t.Errorf("answered %v", s.sent)
	}
}

func TestTheSystemsDatabaseTakesNoData(t *testing.T) {
	for _, database := range []string{"wattline", "SP", "a b", `x"y`, strings.Repeat("a", 64)} {
		s := newHook(t, nil)
		m := pack("a-1", reading("g1"))
		m.Topic = "data/g/influx_data/" + database + "/a-1"
		s.handle(m)
		if diff := cmp.Diff(map[string][]string{"quarantined": {"a-1"}}, s.receipts()); diff != "" {
			t.Errorf("%s: %s", database, diff)
		}
		if strings.Contains(s.lines[influxdata.SystemDatabase], "power,") || len(s.lines) != 1 {
			t.Errorf("%s: stored %v", database, s.lines)
		}
	}
	for _, topic := range []string{"data/g/influx_data", "data/g/influx_data/", "data/g/influx_data/sp/"} {
		s := newHook(t, nil)
		s.handle(bus.Message{Topic: topic, Payload: pack("a-1", reading("g1")).Payload})
		if s.counted("g1") != 1 {
			t.Errorf("%s: stored %v", topic, s.lines)
		}
	}
}

func TestForeignSources(t *testing.T) {
	epoch := contract.BatchID{Epoch: 0xaa, Sequence: 7}
	for name, test := range map[string]struct {
		payload           string
		entries, answered int
		numbered          bool
		misdirected       string
	}{
		"neither id nor response topic": {`{"data":[` + reading("g1") + `]}`, 0, 0, false, "0"},
		"an id only":                    {`{"id":"x","data":[` + reading("g1") + `]}`, 0, 0, false, "0"},
		"a response topic only":         {`{"response_topic":"responses/g/r","data":[` + reading("g1") + `]}`, 0, 0, false, "0"},
		"an id of its own":              {`{"id":"my 17th","response_topic":"responses/g/r","data":[` + reading("g1") + `]}`, 1, 1, false, "0"},
		"IoToad's spelling":             {`{"id":"1","response-id":"responses/g/r","data":[` + reading("g1") + `]}`, 1, 1, false, "0"},
		"a gateway's id, no head":       {`{"id":"` + epoch.String() + `","response_topic":"responses/g/r","data":[` + reading("g1") + `]}`, 1, 1, false, "0"},
		"a gateway's batch": {
			`{"id":"` + epoch.String() + `","response_topic":"responses/g/r","batch":{"previous":null,"readings":1,"from":1,"to":2},"data":[` + reading("g1") + `]}`, 1, 1, true, "0",
		},
		"somebody else's response topic": {`{"id":"x","response_topic":"responses/h/r","data":[` + reading("g1") + `]}`, 0, 0, false, "1"},
		"no response topic at all":       {`{"id":"x","response_topic":"gateways/g/command","data":[` + reading("g1") + `]}`, 0, 0, false, "1"},
		"a wildcard":                     {`{"id":"x","response_topic":"responses/g/#","data":[` + reading("g1") + `]}`, 0, 0, false, "1"},
		"the prefix of another":          {`{"id":"x","response_topic":"responses/gg/r","data":[` + reading("g1") + `]}`, 0, 0, false, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := metrics.New()
			s := newHook(t, func(o *influxdata.Options) { o.Misdirected = r.Counter("wattline_x_misdirected_total", "x") })
			s.handle(bus.Message{Topic: "data/g/influx_data/sp", Payload: []byte(test.payload)})
			if s.counted("g1") != 1 || len(s.entries) != test.entries || len(s.sent) != test.answered {
				t.Errorf("stored %v, entries %v, sent %v", s.lines, s.entries, s.sent)
			}
			if len(s.entries) == 1 && (s.entries[0].Batch != nil) != test.numbered {
				t.Errorf("entry %+v", s.entries[0])
			}
			var text strings.Builder
			if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "wattline_x_misdirected_total "+test.misdirected+"\n") {
				t.Errorf("want %s misdirected: %v", test.misdirected, err)
			}
		})
	}
}

func TestATombstoneIsEnteredAndReceipted(t *testing.T) {
	s := newHook(t, nil)
	id := contract.BatchID{Epoch: 0xaa, Sequence: 9}
	payload := fmt.Sprintf(`{"id":"%v","response_topic":"responses/g/receipts","batch":{"previous":null,"replaces":["00000000000000aa-2..5"],"readings":40,"from":1705000000,"to":1705000100},"data":[]}`, id)
	s.handle(bus.Message{Topic: "data/g/influx_data/sp/" + id.String(), Payload: []byte(payload)})
	if diff := cmp.Diff([]string{"enter", "send responses/g/receipts"}, s.steps); diff != "" {
		t.Error(diff)
	}
	if e := s.entries[0]; e.Readings != 40 || len(e.Replaces) != 1 || e.Replaces[0].To != 5 {
		t.Errorf("entry %+v", e)
	}
}

func TestAFullQueueDiscardsAndNeverBlocks(t *testing.T) {
	r := metrics.New()
	s := newHook(t, func(o *influxdata.Options) { o.Discarded = r.Counter("wattline_x_discarded_total", "x") })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 3000 {
			s.Take(packOf(fmt.Sprint("g", i%10), "a-1", reading("g1")))
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it blocks")
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), fmt.Sprintf("wattline_x_discarded_total %d\n", 3000-2048)) {
		t.Errorf("%v %s", err, text.String())
	}
	big := newHook(t, func(o *influxdata.Options) { o.Discarded = r.Counter("wattline_y_discarded_total", "x") })
	for i := range 10 {
		big.Take(bus.Message{Topic: fmt.Sprintf("data/g%d/influx_data", i), Payload: make([]byte, 10<<20)})
	}
	text.Reset()
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "wattline_y_discarded_total 4\n") {
		t.Errorf("the queue takes more than 64 MiB: %v", err)
	}
}

// lines counts records of a log by message.
type lines struct {
	slog.Handler
	mu    sync.Mutex // protects what follows
	got   map[string]int
	worst slog.Level
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got[r.Message]++
	l.worst = max(l.worst, r.Level)
	return nil
}

func TestMalformedIsLoggedOnceForASourceAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{Handler: slog.DiscardHandler, got: make(map[string]int)}
		limits := influxdata.DefaultConfig().Limits
		limits.Sources = 10_000
		h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}, Limits: limits}, slog.New(log))
		bad := func(source string) {
			h.Handle(t.Context(), []bus.Message{{Topic: "data/" + source + "/influx_data/sp", Payload: []byte("x")}}, discard{}.send)
		}
		for range 100 {
			bad("g")
			bad("h")
		}
		if got := log.got["malformed data"]; got != 2 {
			t.Errorf("%d lines for two sources, want 2", got)
		}
		time.Sleep(time.Minute)
		bad("g")
		if got := log.got["malformed data"]; got != 3 {
			t.Errorf("%d lines after a minute, want 3", got)
		}
		for i := range 5000 {
			bad(fmt.Sprint("s", i))
		}
		if got := log.got["malformed data"]; got != 5003 {
			t.Errorf("%d lines", got)
		}
	})
}

func TestRunSaysWhatCanNeverWork(t *testing.T) {
	h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}}, quiet)
	if err := h.Run(t.Context(), bus.Options{URL: "nonsense"}); err == nil {
		t.Error("no error for a broker that cannot be")
	}
}

func TestAStoreThatIsAwayIsLoggedOnce(t *testing.T) {
	for level, failure := range map[slog.Level]error{slog.LevelWarn: errNotNow, slog.LevelError: rightsError{}} {
		log := &lines{Handler: slog.DiscardHandler, got: make(map[string]int)}
		s := newHook(t, nil)
		tries := 0
		s.onWrite = func(string, string) error {
			if tries++; tries%10 != 0 {
				return failure
			}
			return nil
		}
		h := influxdata.New(influxdata.Options{Store: s, Ledger: s, Pause: s.pause}, slog.New(log))
		h.Handle(t.Context(), []bus.Message{pack("a-1", reading("g1"))}, s.send)
		if diff := cmp.Diff(map[string]int{"store away: sources keep their readings": 1, "store back": 1}, log.got); diff != "" || log.worst != level {
			t.Errorf("%s, at %v", diff, log.worst)
		}
	}
}

// rightsError is 401 and 403: not now, and a person must act.
type rightsError struct{}

func (rightsError) Error() string       { return "status 403: forbidden" }
func (rightsError) Refused() bool       { return false }
func (rightsError) NeedsOperator() bool { return true }
