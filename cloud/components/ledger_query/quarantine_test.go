package ledgerquery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// Beyond a number of sources they share a tag, and are found by their field.
func TestASourceWithoutATagOfItsOwnIsFoundAndReplayed(t *testing.T) {
	s := newStand(t)
	source := ""
	for i := range 201 {
		source = fmt.Sprintf("stranger%d-%s", i, s.database)
		s.give(source, "a-1", reading("g01"))
	}
	list := s.list(`{"source":"` + source + `"}`)
	if len(list.Items) != 1 || list.Items[0].Source != source {
		t.Fatalf("listed %+v", list)
	}
	if item, err := s.replay(`{"id":"` + list.Items[0].Digest + `","source":"` + source + `"}`); err != nil || item.Source != source {
		t.Errorf("%+v, %v", item, err)
	}
	if first := s.list(`{"source":"stranger3-` + s.database + `"}`); len(first.Items) != 1 {
		t.Errorf("listed %+v", first)
	}
}

// From the refusal to the stored readings: what the field type of a database
// refused is listed, replayed before and after the cause is mended, and in the
// end stored once.
func TestARefusedBatchIsListedReplayedAndStored(t *testing.T) {
	s := newStand(t)
	if err := s.store.Write(t.Context(), s.database, []byte("power,id=x value=\"text\" 1705319000000000\n")); err != nil {
		t.Fatal(err)
	}
	source := "edge " + s.database // not the only test on this server, perhaps
	m := s.give(source, "a-1", reading("g1"))
	digest := contract.DigestOf(m.Payload).String()
	filter := `{"source":"` + source + `"}`

	list := s.list(filter)
	if len(list.Items) != 1 || list.Next != nil {
		t.Fatalf("listed %+v", list)
	}
	got := list.Items[0]
	if got.Source != source || got.Batch != "a-1" || got.Topic != m.Topic || got.Digest != digest || got.Bytes != len(m.Payload) || got.Replayed != nil ||
		!strings.Contains(got.Reason, "field type conflict") || time.Since(got.Time.Time()) > time.Minute {
		t.Errorf("listed %+v", got)
	}

	// As long as the cause is there it is refused anew, and listed anew.
	if _, err := s.replay(`{"id":"` + digest + `"}`); err != nil {
		t.Fatal(err)
	}
	list = s.list(filter)
	if len(list.Items) != 2 || list.Items[0].Time <= list.Items[1].Time || list.Items[1].Replayed == nil || list.Items[0].Replayed != nil {
		t.Fatalf("listed %+v", list)
	}
	if err := s.store.Exec(t.Context(), s.database, "DROP MEASUREMENT power"); err != nil {
		t.Fatal(err)
	}
	item, err := s.replay(`{"id":"` + digest + `","source":"` + source + `"}`)
	if err != nil || item.Replayed == nil || item.Batch != "a-1" {
		t.Fatalf("%v, %+v", err, item)
	}
	for _, item := range s.list(filter).Items {
		if item.Replayed == nil {
			t.Errorf("listed as not replayed: %+v", item)
		}
	}
	if got := s.published[1]; got.Topic != m.Topic || string(got.Payload) != string(m.Payload) {
		t.Errorf("published %s %s", got.Topic, got.Payload)
	}
	if last := s.receipts[len(s.receipts)-1]; !strings.Contains(last, `"stored":[{"id":"a-1","digest":"`+digest) {
		t.Errorf("receipt %s", last)
	}
	if n := s.count(s.database, `SELECT count(value) FROM power WHERE id = 'sp_g1'`); n != 1 {
		t.Errorf("%d points stored, want 1", n)
	}
}

func (s *stand) count(database, influxql string) (n int64) {
	s.t.Helper()
	err := s.store.Query(s.t.Context(), database, influxql, func(_ string, _ map[string]string, _ []string, rows [][]any) (err error) {
		n, err = rows[0][1].(json.Number).Int64()
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestALargePayloadComesBackInOnePiece(t *testing.T) {
	s := newStand(t)
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < 200_000 {
		fmt.Fprint(&text, random.Uint64())
	}
	source := "big" + s.database
	m := s.give(source, "a-1", `{"n":"sp_g1/x","t":1705319000,"vs":"`+text.String()+`"}`)
	digest := contract.DigestOf(m.Payload).String()
	if list := s.list(`{"source":"` + source + `"}`); len(list.Items) != 1 || list.Items[0].Bytes != len(m.Payload) {
		t.Fatalf("listed %+v", list)
	}
	if _, err := s.replay(`{"id":"` + digest + `"}`); err != nil || string(s.published[0].Payload) != string(m.Payload) {
		t.Errorf("%v, %d bytes came back", err, len(s.published[0].Payload))
	}
	// With a piece gone, or another in its place, nothing is handed in.
	if err := s.store.Exec(t.Context(), "wattline", `DELETE FROM "quarantine" WHERE "piece" = '2' AND "source" = '`+source+`'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.replay(`{"id":"` + digest + `"}`); err == nil || !strings.Contains(err.Error(), "damaged: piece 3 of") {
		t.Errorf("got %v", err)
	}
	if got := len(s.published); got != 1 {
		t.Errorf("%d published, want 1", got)
	}
}

// keep writes a refusal as the storing hook would not.
func (s *stand) keep(source, topic, digest, payload string, pieces int64, at int64) {
	s.t.Helper()
	lines := line.Append(nil, "quarantine", []line.Tag{{Key: "instance", Value: "test"}, {Key: "piece", Value: "0"}, {Key: "source", Value: source}}, []line.Field{
		line.String("digest", digest), line.String("topic", topic), line.String("batch", ""), line.String("reason", "why"),
		line.Int("pieces", pieces), line.Int("bytes", int64(len(payload))), line.String("payload", payload),
	}, at)
	if err := s.store.Write(s.t.Context(), "wattline", lines); err != nil {
		s.t.Fatal(err)
	}
}

func TestWhatIsDamagedIsNotReplayed(t *testing.T) {
	s := newStand(t)
	source := "hurt" + s.database
	topic := "data/" + source + "/influx_data/sp"
	good := contract.DigestOf([]byte("abc")).String()
	for i, test := range []struct {
		topic, payload, want string
		pieces               int64
	}{
		{topic, "YWJk", "damaged: its digest is", 1},
		{topic, "not base64!", "damaged: piece 1 of 1", 1},
		{topic, "YWJj", "damaged: piece 2 of 2", 2},
		{topic, "YWJj", "damaged: 0 pieces", 0},
		{topic, "YWJj", "damaged: 1000000 pieces", 1_000_000},
		{"gateways/" + source + "/command", "YWJj", "nothing can be published", 1},
		{"data/" + source + "/influx_data/#", "YWJj", "nothing can be published", 1},
		{"data/" + source + "/webhook/x", "YWJj", "nothing can be published", 1},
		{topic, "YWJj", "", 1},
	} {
		s.keep(source, test.topic, good, test.payload, test.pieces, 1_705_320_000_000_000+int64(i))
		_, err := s.replay(`{"id":"` + good + `"}`)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ledgerquery.ErrMistakes)) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
	if got := len(s.published); got != 1 {
		t.Errorf("%d published, want 1", got)
	}
}

func TestOneDigestOfTwoSourcesAsksWhose(t *testing.T) {
	s := newStand(t)
	digest := contract.DigestOf([]byte(s.database)).String()
	for i, source := range []string{"a" + s.database, "b" + s.database} {
		s.keep(source, "data/"+source+"/influx_data/sp", digest, "", 1, 1_705_320_000_000_000+int64(i))
	}
	_, err := s.replay(`{"id":"` + digest + `"}`)
	if !errors.Is(err, ledgerquery.ErrMistakes) || !strings.HasPrefix(err.Error(), "source: required") || !strings.Contains(err.Error(), "a"+s.database) {
		t.Errorf("got %v", err)
	}
	if _, err = s.replay(`{"id":"` + digest + `","source":"a` + s.database + `"}`); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

// Pages neither repeat nor leave out, refusals of the same microsecond included,
// and hostile names neither break the list nor each other's filters.
func TestTheListIsPaged(t *testing.T) {
	s := newStand(t)
	source := `so"u'r\ce, x=y ` + s.database
	const all = 57
	for i := range all {
		at := 1_705_320_000_000_000 + int64(i/10) // ten at a time
		lines := line.Append(nil, "quarantine", []line.Tag{{Key: "instance", Value: fmt.Sprint("i", i%10)}, {Key: "piece", Value: "0"}, {Key: "source", Value: source}}, []line.Field{
			line.String("digest", fmt.Sprintf("%016x", i)), line.String("topic", "data/"+source+"/influx_data/sp"), line.String("reason", strings.Repeat("x", i)), line.Int("pieces", 1), line.Int("bytes", 3),
		}, at)
		if err := s.store.Write(t.Context(), "wattline", lines); err != nil {
			t.Fatal(err)
		}
	}
	s.keep("other"+s.database, "data/other/influx_data/sp", "00000000000000ff", "", 1, 1_705_320_000_000_003)
	text, err := json.Marshal(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 4, 10, 25, 56, 57, 58} {
		seen, cursor, pages := map[string]bool{}, "", 0
		for {
			list := s.list(fmt.Sprintf(`{"source":%s,"limit":%d,"cursor":%q}`, text, limit, cursor))
			for _, item := range list.Items {
				if seen[item.Digest] || item.Source != source {
					t.Errorf("limit %d: %+v", limit, item)
				}
				seen[item.Digest] = true
			}
			if pages++; list.Next == nil || pages > 100 {
				break
			}
			cursor = *list.Next
		}
		if want := (all + limit - 1) / limit; len(seen) != all || pages != want {
			t.Errorf("limit %d: %d items in %d pages, want %d in %d", limit, len(seen), pages, all, want)
		}
	}
	if list := s.list(fmt.Sprintf(`{"gateway":%s,"from":1705320000.000002,"to":1705320000.000003}`, text)); len(list.Items) != 20 {
		t.Errorf("%d items between two times, want 20", len(list.Items))
	}
	if list := s.list(`{"source":"' OR '1'='1"}`); len(list.Items) != 0 {
		t.Errorf("listed %+v", list)
	}
}

func TestALongListIsCutWhereAMessageEnds(t *testing.T) {
	s := newStand(t)
	source := "long" + s.database
	const all = 600
	var lines []byte
	for i := range all {
		lines = line.Append(lines, "quarantine", []line.Tag{{Key: "instance", Value: "i"}, {Key: "piece", Value: "0"}, {Key: "source", Value: source}}, []line.Field{
			line.String("digest", fmt.Sprintf("%016x", i)), line.String("topic", "data/"+source+"/influx_data/sp"), line.String("reason", strings.Repeat("\"", 2000)), line.Int("pieces", 1),
		}, 1_705_320_000_000_000+int64(i))
	}
	if err := s.store.Write(t.Context(), "wattline", lines); err != nil {
		t.Fatal(err)
	}
	n, cursor := 0, ""
	for range 10 {
		list := s.list(`{"source":"` + source + `","limit":1000,"cursor":"` + cursor + `"}`)
		n += len(list.Items)
		if list.Next == nil {
			break
		}
		cursor = *list.Next
	}
	if n != all || cursor == "" {
		t.Errorf("%d items, want %d in several pages", n, all)
	}
}

func TestAReplayThatCannotBePublishedIsNotNoted(t *testing.T) {
	s := newStand(t)
	source := "down" + s.database
	m := s.give(source, "a-1", reading("g01"))
	c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{}, Store: s.store, Publish: broken}, quiet)
	err := c.Command(t.Context(), hook.Request{Subpath: "replay", Data: json.RawMessage(`{"id":"` + contract.DigestOf(m.Payload).String() + `"}`)}, &answer{})
	if !errors.Is(err, ledgerquery.ErrAway) {
		t.Errorf("got %v", err)
	}
	if list := s.list(`{"source":"` + source + `"}`); len(list.Items) != 1 || list.Items[0].Replayed != nil {
		t.Errorf("listed %+v", list)
	}
}
