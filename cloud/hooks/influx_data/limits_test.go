package influxdata_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
)

// strict is a hook with limits of a test's own, a clock that it turns, and what
// was limited.
type strict struct {
	*stand
	clock   atomic.Int64
	metrics *metrics.Registry
}

func newStrict(t *testing.T, change func(*influxdata.Limits)) *strict {
	t.Helper()
	s := &strict{metrics: metrics.New()}
	s.clock.Store(int64(noon))
	s.stand = newHook(t, func(o *influxdata.Options) {
		o.Limits = influxdata.DefaultConfig().Limits
		change(&o.Limits)
		o.Now = func() device.Micros { return device.Micros(s.clock.Load()) }
		o.Limited = s.metrics.CounterVec("wattline_x_limited_total", "x", 10, "limit")
		o.Discarded = s.metrics.Counter("wattline_x_discarded_total", "x")
	})
	return s
}

func (s *strict) pass(d time.Duration) { s.clock.Add(d.Microseconds()) }

// limited wants so many messages not taken by one limit.
func (s *strict) limited(by string, want int) {
	s.t.Helper()
	var text strings.Builder
	if err := s.metrics.WriteText(&text); err != nil {
		s.t.Fatal(err)
	}
	if line := fmt.Sprintf("wattline_x_limited_total{limit=%q} %d\n", by, want); want > 0 && !strings.Contains(text.String(), line) {
		s.t.Errorf("%s is not in\n%s", line, text.String())
	}
	if want == 0 && strings.Contains(text.String(), by) {
		s.t.Errorf("limited by %s:\n%s", by, text.String())
	}
}

// said gives the receipts since the last call.
func (s *strict) said() map[string][]string {
	s.t.Helper()
	r := s.receipts()
	s.sent = nil
	return r
}

// wants compares the receipts since the last call; stored and quarantined are
// ids joined by spaces.
func (s *strict) wants(what, stored, quarantined string) {
	s.t.Helper()
	got, want := s.said(), map[string][]string{}
	if stored != "" {
		want["stored"] = strings.Fields(stored)
	}
	if quarantined != "" {
		want["quarantined"] = strings.Fields(quarantined)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s: %s", what, diff)
	}
}

// numbered is a batch as gateways send it.
func numbered(source string, sequence uint64, records string) bus.Message {
	id := contract.BatchID{Epoch: 0xaa, Sequence: sequence}.String()
	payload := `{"id":"` + id + `","response_topic":"responses/` + source + `/receipts","batch":{"previous":null,"readings":1,"from":1705319000,"to":1705319000},"data":[` + records + `]}`
	return bus.Message{Topic: "data/" + source + "/influx_data/sp/" + id, Payload: []byte(payload)}
}

const (
	id1 = "00000000000000aa-1"
	id2 = "00000000000000aa-2"
)

func TestBeyondTheRateNothingIsTakenOrSaid(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.RecordsPerSecond, l.BurstRecords = 2, 5 })
	three := reading("g1") + "," + reading("g2") + "," + reading("g3")
	s.handle(pack("1", three), pack("2", three)) // the second goes into debt: a message of any size passes
	s.wants("what is allowed at once", "1 2", "")
	s.handle(pack("3", reading("g4")), packOf("other", "4", reading("g5")), numbered("g", 1, reading("g6")), pack("5", "1"), bus.Message{Topic: "data/g/influx_data/sp", Payload: []byte("no JSON")})
	s.wants("in debt; another source and numbered batches are not", id1+" 4", "")
	if s.counted("g4") != 0 || s.counted("g6") != 1 {
		t.Errorf("stored %v", s.lines)
	}
	s.limited("rate", 3)
	s.pass(time.Second)
	s.handle(pack("3", reading("g4")))
	s.wants("sent again", "3", "")
	s.handle(pack("5", reading("g1")))
	s.wants("again in debt", "", "")
	s.pass(-time.Hour) // the clock goes back: nobody waits longer for it
	s.handle(pack("5", reading("g1")))
	s.pass(time.Second)
	s.handle(pack("5", reading("g1")))
	s.wants("a second after the clock went back", "5", "")
}

// What nobody can read costs more, so that it takes little of the time that
// others need; it is charged to who sends it, also where that is nobody's name.
func TestGarbageIsLimitedToo(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.RecordsPerSecond, l.BurstRecords = 100, 1000 })
	for range 50 {
		s.handle(bus.Message{Topic: "data/rude/influx_data/sp", Payload: []byte("no JSON")})
		s.handle(bus.Message{Topic: "data//influx_data/sp", Payload: []byte("no JSON")})
		s.handle(packOf("odd", "1", "7"))
	}
	s.limited("rate", 120)
	if n := len(s.said()["quarantined"]); n != 10 {
		t.Errorf("%d messages went into the quarantine, want 10", n)
	}
	s.handle(pack("1", reading("g1")))
	s.wants("another source", "1", "")
}

// A flood is cut off before it waits in the queue.
func TestAFloodLeavesTheQueueToOthers(t *testing.T) {
	s := newStrict(t, func(*influxdata.Limits) {})
	for range 10_000 {
		s.Take(pack("1", reading("g1")))
	}
	s.limited("queue", 10_000-512)
	for i := range 1000 { // numbered batches wait for their receipts, so they may
		s.Take(numbered("f", uint64(i+1), reading("g1")))
	}
	var text strings.Builder
	if err := s.metrics.WriteText(&text); err != nil || !strings.Contains(text.String(), "wattline_x_discarded_total 0\n") {
		t.Errorf("others were discarded: %s", text.String())
	}
	poor := newStrict(t, func(l *influxdata.Limits) { l.RecordsPerSecond, l.BurstRecords = 1, 1 })
	poor.handle(pack("1", reading("g1")+","+reading("g2")))
	for range 10 {
		poor.Take(pack("2", reading("g1")))
	}
	poor.limited("rate", 10)
}

// What has been read does not count as waiting any more.
func TestWhatWaitedMakesRoom(t *testing.T) {
	h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}}, quiet)
	messages := make([]bus.Message, 400)
	for i := range messages {
		messages[i] = pack(fmt.Sprint(i), reading("g1"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		influxdata.Stored(ctx, h, messages)
	}
	if ctx.Err() != nil {
		t.Error("not all were receipted")
	}
}

func TestBeyondTheSeriesABatchGoesWholeIntoTheQuarantine(t *testing.T) {
	for name, batch := range map[string]func(id, records string) bus.Message{
		"of an agent": pack,
		"of a source that numbers": func(id, records string) bus.Message {
			return numbered("g", uint64(id[0]-'0'), records)
		},
		"read the long way": func(id, records string) bus.Message {
			return pack(id, `{"n":"sp_g1/note","t":1705319000,"vs":"x"},`+records)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStrict(t, func(l *influxdata.Limits) { l.Series = 3 })
			ids := func(one string) string {
				if strings.Contains(name, "numbers") {
					return "00000000000000aa-" + one
				}
				return one
			}
			s.handle(batch("1", reading("g1")+","+reading("g2")), batch("2", reading("g1")+","+reading("g2")+","+reading("g1")))
			s.wants("known ones", ids("1")+" "+ids("2"), "")
			s.handle(batch("3", reading("g1")+","+reading("g3")+","+reading("g4")))
			s.wants("too many new ones", "", ids("3"))
			s.handle(batch("4", reading("g2")))
			s.wants("what is known goes on", ids("4"), "")
			if kept := s.lines[influxdata.SystemDatabase]; !strings.Contains(kept, "influx_data.limits.series") || s.counted("g3") != 0 || !strings.Contains(kept, "mend the source") {
				t.Errorf("kept %s", kept)
			}
			s.handle(packOf("other", "5", reading("g3")+","+reading("g4")))
			s.wants("another source has its own", "5", "")
			s.pass(61 * time.Minute)
			influxdata.Sweep(s.Hook)
			s.handle(batch("6", reading("g3")))
			s.wants("after an hour of silence it begins anew", ids("6"), "")
		})
	}
}

func TestAUnitAndADatabaseMakeASeries(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.Series, l.Databases = 3, 2 })
	unit := func(u string) string { return `{"n":"sp_g1/power","u":"` + u + `","t":1705319000,"v":1}` }
	to := func(database, id, records string) bus.Message {
		m := pack(id, records)
		m.Topic = "data/g/influx_data/" + database
		return m
	}
	s.handle(pack("1", unit("W")), pack("2", unit("kW")), to("b", "3", unit("W")), to("b", "4", unit("mW")), pack("5", unit("W")))
	s.wants("units", "1 2 3 5", "4")
	s.handle(to("c", "6", `{"n":"sp_g1/power","t":1,"v":1}`), to("c", "7", unit("W")), to("b", "8", unit("W")))
	s.wants("a third database", "8", "6 7")
	if kept := s.lines[influxdata.SystemDatabase]; !strings.Contains(kept, "influx_data.limits.databases") {
		t.Errorf("kept %s", kept)
	}
	if s.lines["c"] != "" {
		t.Errorf("stored %s", s.lines["c"])
	}
}

func TestInventedSourcesLeaveRoomForThoseThatNumber(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.Sources = 3 })
	for i := range 100 {
		s.handle(packOf(fmt.Sprint("invented", i), "1", reading("g1")))
	}
	if n := len(s.said()["stored"]); n != 3 {
		t.Errorf("%d sources were served, want 3", n)
	}
	s.limited("sources", 97)
	s.handle(numbered("edge-f1", 1, reading("g1")))
	s.wants("a gateway", id1, "")
	s.pass(59 * time.Minute)
	s.handle(packOf("late", "1", reading("g1")), packOf("invented0", "2", reading("g1")))
	s.wants("before anybody is forgotten", "2", "")
	s.pass(2 * time.Minute)
	s.handle(packOf("late", "1", reading("g1")))
	s.wants("when the silent ones are forgotten", "1", "")
	if sources, series := influxdata.Known(s.Hook); sources > 6 || series > 6 {
		t.Errorf("%d sources with %d series are remembered", sources, series)
	}
}

func TestTheQuarantineTakesSoMuchOfASource(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.QuarantineBytesPerHour = 1 << 20 })
	bad := func(id string) string {
		return `{"n":"power","t":1705319000,"vs":"` + id + strings.Repeat("x", 30_000) + `"}`
	}
	for i := range 60 {
		s.handle(pack(fmt.Sprint("b", i), bad("x")))
	}
	if got := s.said(); len(got["quarantined"]) != 35 || len(got) != 1 { // 35 x 30 kB reach 1 MiB
		t.Errorf("%d receipts: %v", len(got["quarantined"]), got)
	}
	s.limited("quarantine", 25)
	kept := len(s.lines[influxdata.SystemDatabase])
	if kept > 3<<20/2 {
		t.Errorf("%d bytes kept", kept)
	}
	entered := len(s.entries)
	s.handle(pack("b99", bad("y")), pack("g", reading("g1")), packOf("other", "b", bad("z")))
	s.wants("others, and what is good", "g", "b")
	if len(s.entries) != entered+2 {
		t.Errorf("%d entries, want %d", len(s.entries), entered+2)
	}
	s.pass(5 * time.Minute)
	s.handle(pack("b99", bad("y")))
	s.wants("five minutes later", "", "b99")
}

// An honest gateway meets no limit, whatever its backlog.
func TestABacklogOfDaysMeetsNoLimit(t *testing.T) {
	s := newStrict(t, func(*influxdata.Limits) {})
	stored := 0
	for i := range 60 {
		s.handle(batchOf(t, uint64(i+1), 1000, 1_700_000_000_000_000+device.Micros(i)*1e7))
		stored += len(s.said()["stored"])
	}
	if stored != 60 { // 300,000 records in no time, by the hook's clock
		t.Errorf("%d batches of 60 were receipted", stored)
	}
	for _, by := range []string{"rate", "queue", "sources", "quarantine"} {
		s.limited(by, 0)
	}
}
