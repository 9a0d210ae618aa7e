package influxdata_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

func TestReceiptsComeAfterTheLedgerAfterTheReadings(t *testing.T) {
	s := newHook(t, nil)
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")))
	want := []string{"write sp", "enter", "send responses/g/receipts"}
	if diff := cmp.Diff(want, s.steps); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1", "a-2"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if len(s.entries) != 2 || s.counted("g1") != 1 || s.counted("g2") != 1 {
		t.Errorf("entries %v, lines %s", s.entries, s.lines["sp"])
	}
}

func TestWithoutALedgerThereIsNoReceipt(t *testing.T) {
	s := newHook(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	s.onEnter = func([]contract.Entry) error { return errNotNow }
	s.onPause = func(n int) error {
		if n == 20 {
			cancel()
		}
		return nil
	}
	s.Handle(ctx, []bus.Message{pack("a-1", reading("g1"))}, s.send)
	if diff := cmp.Diff([]string{"write sp"}, s.steps); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotTakenNowIsTriedUntilItIs(t *testing.T) {
	for name, failure := range map[string]error{"503": errNotNow, "a time-out": context.DeadlineExceeded, "429 that names a time": laterError{7 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			s := newHook(t, nil)
			tries := 0
			s.onWrite = func(string, string) error {
				if tries++; tries <= 12 {
					return failure
				}
				return nil
			}
			s.handle(pack("a-1", reading("g1")))
			if tries != 13 || !slices.Equal(s.receipts()["stored"], []string{"a-1"}) {
				t.Errorf("%d tries, receipts %v", tries, s.receipts())
			}
			last := s.paused[len(s.paused)-1]
			if first := s.paused[0]; first > 7*time.Second || last < first || last > 30*time.Second {
				t.Errorf("waited %v", s.paused)
			}
			if strings.Contains(name, "429") && s.paused[0] != 7*time.Second {
				t.Errorf("waited %v, InfluxDB asked for 7s", s.paused[0])
			}
		})
	}
}

type laterError struct{ after time.Duration }

func (laterError) Error() string               { return "status 429" }
func (e laterError) RetryAfter() time.Duration { return e.after }

func TestNothingIsSaidWhenTheEndComesFirst(t *testing.T) {
	s := newHook(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	s.onWrite = func(string, string) error { return errNotNow }
	s.onPause = func(int) error { cancel(); return context.Canceled }
	s.Handle(ctx, []bus.Message{pack("a-1", reading("g1"))}, s.send)
	if len(s.steps) != 0 {
		t.Errorf("got %v", s.steps)
	}
}

// refuseWith refuses writes that hold a text, as InfluxDB refuses the whole
// request for one line.
func refuseWith(text string, err error) func(string, string) error {
	return func(database, lines string) error {
		if database != influxdata.SystemDatabase && strings.Contains(lines, text) {
			return err
		}
		return nil
	}
}

func TestARefusedBatchIsFoundAndTheOthersStored(t *testing.T) {
	s := newHook(t, nil)
	s.onWrite = refuseWith("sp_g2", refusal{})
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")), pack("a-3", reading("g3")))
	want := map[string][]string{"stored": {"a-1", "a-3"}, "quarantined": {"a-2"}}
	if diff := cmp.Diff(want, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if s.counted("g1") != 1 || s.counted("g3") != 1 {
		t.Errorf("stored %s", s.lines["sp"])
	}
	kept := s.lines[influxdata.SystemDatabase]
	if !strings.HasPrefix(kept, "quarantine,instance=") || !strings.Contains(kept, `batch="a-2"`) || strings.Count(kept, "\n") != 1 {
		t.Errorf("kept %s", kept)
	}
	for _, e := range s.entries {
		if e.Quarantined != (e.ID == "a-2") {
			t.Errorf("entry %+v", e)
		}
	}
}

// Two refusals of one source at one time must not overwrite each other: both are
// receipted.
func TestEachRefusalHasATimeOfItsOwn(t *testing.T) {
	s := newHook(t, nil)
	s.handle(pack("a-1", reading("g01")), pack("a-2", reading("g01")), pack("a-3", reading("g01")))
	times := make(map[string]bool)
	for text := range strings.Lines(s.lines[influxdata.SystemDatabase]) {
		times[text[strings.LastIndexByte(text, ' '):]] = true
	}
	if got := s.receipts()["quarantined"]; len(times) != 3 || len(got) != 3 {
		t.Errorf("%d times for receipts %v", len(times), got)
	}
}

// Sources are anybody's invention, and tags stay: only so many get their own.
func TestStrangersMakeFewSeriesInTheQuarantine(t *testing.T) {
	s := newHook(t, nil)
	for i := range 500 {
		s.handle(packOf(fmt.Sprintf("stranger%d", i), "a-1", reading("g01")))
	}
	s.handle(packOf("stranger7", "a-2", reading("g01")))
	tags, sent := make(map[string]int), 0
	for text := range strings.Lines(s.lines[influxdata.SystemDatabase]) {
		series, fields, _ := strings.Cut(text, " ")
		tags[series[strings.Index(series, "source="):]]++
		if strings.Contains(fields, `sender="stranger`) {
			sent++
		}
	}
	if len(tags) != 201 || tags["source=+"] != 300 || tags["source=stranger7"] != 2 || sent != 300 {
		t.Errorf("%d series, %d of the others, %d of one, %d with a name", len(tags), tags["source=+"], tags["source=stranger7"], sent)
	}
}

func TestBeyondRetentionIsExpired(t *testing.T) {
	s := newHook(t, nil)
	s.onWrite = refuseWith("sp_g2", refusal{expired: true})
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")))
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1"}, "expired": {"a-2"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if kept := s.lines[influxdata.SystemDatabase]; kept != "" {
		t.Errorf("kept %s", kept)
	}
	if i := slices.IndexFunc(s.entries, func(e contract.Entry) bool { return e.ID == "a-2" && e.Expired }); i < 0 {
		t.Errorf("entries %v", s.entries)
	}
}

// The quarantine and the ledger of one batch failing for good does no harm to
// the batches beside it, and nothing is said of the one.
func TestWhatNobodyTakesStaysWithItsSource(t *testing.T) {
	t.Run("quarantine", func(t *testing.T) {
		s := newHook(t, nil)
		s.onWrite = func(_, lines string) error {
			if strings.Contains(lines, "sp_g2") || strings.Contains(lines, `batch="a-2"`) {
				return refusal{}
			}
			return nil
		}
		s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")), pack("a-3", reading("g3")))
		if diff := cmp.Diff(map[string][]string{"stored": {"a-1", "a-3"}}, s.receipts()); diff != "" || len(s.entries) != 2 {
			t.Errorf("%s, entries %v", diff, s.entries)
		}
	})
	t.Run("ledger", func(t *testing.T) {
		s := newHook(t, nil)
		s.onEnter = func(entries []contract.Entry) error {
			if slices.ContainsFunc(entries, func(e contract.Entry) bool { return e.ID == "a-2" }) {
				return refusal{}
			}
			return nil
		}
		s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")), pack("a-3", reading("g3")))
		if diff := cmp.Diff(map[string][]string{"stored": {"a-1", "a-3"}}, s.receipts()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAPanicHarmsOneBatchOnly(t *testing.T) {
	s := newHook(t, nil)
	s.onWrite = func(_, lines string) error {
		if strings.Contains(lines, "sp_g2") {
			panic("a bug")
		}
		return nil
	}
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")), pack("a-3", reading("g3")))
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1", "a-3"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
	s = newHook(t, func(o *influxdata.Options) { o.Now = panicOnce(o.Now) })
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")))
	if diff := cmp.Diff(map[string][]string{"stored": {"a-2"}}, s.receipts()); diff != "" {
		t.Errorf("a panic while reading: %s", diff)
	}
}

func panicOnce[T any](f func() T) func() T {
	done := false
	return func() T {
		if !done {
			done = true
			panic("a bug")
		}
		return f()
	}
}

func TestCopiesGoToFurtherDatabasesBeforeTheReceipt(t *testing.T) {
	s := newHook(t, func(o *influxdata.Options) { o.Copies = map[string][]string{"sp": {"archive", "lab"}} })
	s.handle(pack("a-1", reading("g1")))
	if diff := cmp.Diff([]string{"write sp", "write archive", "write lab", "enter", "send responses/g/receipts"}, s.steps); diff != "" {
		t.Error(diff)
	}
	s = newHook(t, func(o *influxdata.Options) { o.Copies = map[string][]string{"sp": {"archive"}} })
	ctx, cancel := context.WithCancel(t.Context())
	s.onWrite = func(database, _ string) error {
		if database == "archive" {
			return errNotNow
		}
		return nil
	}
	s.onPause = func(int) error { cancel(); return context.Canceled }
	s.Handle(ctx, []bus.Message{pack("a-1", reading("g1"))}, s.send)
	if diff := cmp.Diff([]string{"write sp"}, s.steps); diff != "" {
		t.Errorf("a copy is missing and yet: %s", diff)
	}
}

// A copy may keep for ever what the database of the topic is too young for.
func TestWhatIsBeyondRetentionGoesToTheCopiesNevertheless(t *testing.T) {
	s := newHook(t, func(o *influxdata.Options) { o.Copies = map[string][]string{"sp": {"archive"}} })
	s.onWrite = func(database, lines string) error {
		if database == "sp" && strings.Contains(lines, "sp_g2") {
			return refusal{expired: true}
		}
		return nil
	}
	s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")))
	if diff := cmp.Diff(map[string][]string{"stored": {"a-1"}, "expired": {"a-2"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
	if got := s.lines["archive"]; !strings.Contains(got, "sp_g1") || !strings.Contains(got, "sp_g2") {
		t.Errorf("the copy has %q", got)
	}
}

func TestOneReceiptForEachSourceAndWriteWithDigests(t *testing.T) {
	s := newHook(t, nil)
	messages := []bus.Message{packOf("f1", "a-1", reading("g1")), packOf("f2", "b-1", reading("g2")), packOf("f1", "a-2", reading("g3"))}
	messages[1].Payload = bus.Compress(messages[1].Payload)
	s.handle(messages...)
	if got := len(s.sent); got != 2 {
		t.Fatalf("%d receipts, want 2: %v", got, s.sent)
	}
	for i, m := range messages {
		topic := []string{"responses/f1/receipts", "responses/f2/receipts", "responses/f1/receipts"}[i]
		want := fmt.Sprintf(`{"id":%q,"digest":"%v"}`, m.Topic[strings.LastIndexByte(m.Topic, '/')+1:], contract.DigestOf(m.Payload))
		if !slices.ContainsFunc(s.sent, func(x sent) bool { return x.topic == topic && strings.Contains(x.payload, want) }) {
			t.Errorf("no %s on %s in %v", want, topic, s.sent)
		}
	}
	if strings.Contains(s.sent[0].payload, `"id":""`) || !strings.HasPrefix(s.sent[0].payload, `{"data":{"stored":[`) {
		t.Errorf("a receipt has no id of its own: %s", s.sent[0].payload)
	}
}

func TestErrorsOfTheStoreAreFoundWhenWrapped(t *testing.T) {
	s := newHook(t, nil)
	s.onWrite = refuseWith("sp_g1", fmt.Errorf("write sp: %w", errors.Join(errors.New("x"), refusal{})))
	s.handle(pack("a-1", reading("g1")))
	if diff := cmp.Diff(map[string][]string{"quarantined": {"a-1"}}, s.receipts()); diff != "" {
		t.Error(diff)
	}
}
