package bus_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func TestEnvelopeUnderstandsTheOlderSpellings(t *testing.T) {
	for name, text := range map[string]string{
		"ours": `{"response_topic":"responses/x/1","data":1}`, "id": `{"response-id":"responses/x/1","data":1}`, "dash": `{"response-topic":"responses/x/1","data":1}`,
	} {
		e, err := bus.Decode([]byte(text))
		if err != nil || e.ResponseTopic != "responses/x/1" || string(e.Data) != "1" {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestMalformedEnvelopes(t *testing.T) {
	bomb := bus.Compress(make([]byte, 64<<20))
	for name, payload := range map[string][]byte{
		"empty": nil, "no JSON": []byte("hello"), "an array": []byte(`[{"n":"a"}]`), "a number": []byte("1"), "cut off": []byte(`{"data":`),
		"wrong type": []byte(`{"id":7,"response_topic":"responses/x/1"}`), "bomb of zstd": bomb, "broken zstd": append(bytes.Clone(bomb[:20]), 1, 2, 3),
		"broken gzip": {0x1f, 0x8b, 1}, "bomb of gzip": zipped(t, make([]byte, 64<<20)), "huge": bytes.Repeat([]byte{' '}, bus.MaxInflated+1),
		"deeply nested": []byte(`{"data":` + strings.Repeat("[", 1_000_000)),
	} {
		if e, err := bus.Decode(payload); !errors.Is(err, bus.ErrEnvelope) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	e, err := bus.Decode([]byte(`{"id":7,"response_topic":"responses/x/1"}`))
	if err == nil || e.ResponseTopic != "responses/x/1" {
		t.Errorf("where to answer a half-readable envelope: %+v, %v", e, err)
	}
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestInflateTellsByTheMagicNumber(t *testing.T) {
	text := []byte(`{"data":[1,2,3]}`)
	for name, payload := range map[string][]byte{"plain": text, "zstd": bus.Compress(text), "gzip": zipped(t, text)} {
		if got, err := bus.Inflate(payload); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// An Inflater gives what Inflate gives, and does not write into what is not its own.
func TestAnInflaterUsesItsRoomAgain(t *testing.T) {
	var i bus.Inflater
	long, short := bytes.Repeat([]byte(`{"data":[1,2,3]}`), 10_000), []byte(`{"data":[]}`)
	plain := bytes.Clone(short)
	bomb := bus.Compress(make([]byte, bus.MaxInflated+1))
	for n, payload := range [][]byte{bus.Compress(long), plain, bus.Compress(short), bomb, zipped(t, long), bus.Compress(long), bomb[:20]} {
		want, wrong := bus.Inflate(payload)
		got, err := i.Inflate(payload)
		if !bytes.Equal(got, want) || (err == nil) != (wrong == nil) || errors.Is(err, bus.ErrTooLarge) != errors.Is(wrong, bus.ErrTooLarge) {
			t.Errorf("payload %d: %d bytes, %v; want %d, %v", n, len(got), err, len(want), wrong)
		}
	}
	if !bytes.Equal(plain, short) {
		t.Errorf("a payload was overwritten: %s", plain)
	}
	packed := bus.Compress(long)
	first, err := i.Inflate(packed)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := i.Inflate(packed); err != nil || &again[0] != &first[0] {
		t.Errorf("the second has other room than the first, %v", err)
	}
}

func TestTopicsOfStrangersAreChecked(t *testing.T) {
	for _, sub := range []string{"+", "a/#", "a//b", "/a", "a/", "$SYS", "a\x00b", "a\nb", "a\xffb", strings.Repeat("a", 2000)} {
		if topic, err := bus.Command("sp_command", sub); !errors.Is(err, bus.ErrTopic) {
			t.Errorf("Command(%q) = %q, %v", sub, topic, err)
		}
	}
	if topic, err := bus.Query("influx_query", "sp/power"); err != nil || topic != "query/influx_query/sp/power" {
		t.Errorf("Query = %q, %v", topic, err)
	}
	if _, err := bus.Query("a/b", "c"); !errors.Is(err, bus.ErrTopic) {
		t.Errorf("a module of two levels: %v", err)
	}
}

func TestDataTopicsReadBack(t *testing.T) {
	for _, topic := range []string{"data/edge-f2/influx_data/sp", "data/edge-f2/influx_data/sp/9f3c00000000abcd-1"} {
		d, err := bus.ParseData(topic)
		if err != nil || d.String() != topic {
			t.Errorf("%s: %+v, %v", topic, d, err)
		}
	}
	for _, topic := range []string{"", "data", "data/a", "data//influx_data/sp", "data/a/b/c/d/e", "state/a/b/c"} {
		if d, err := bus.ParseData(topic); err == nil {
			t.Errorf("%q was taken as %+v", topic, d)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"x","response_topic":"responses/a/b","data":[],"batch":{"previous":null,"readings":1,"from":1,"to":2}}`))
	f.Add(bus.Compress([]byte(`{"data":1}`)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := bus.Decode(payload)
		if err != nil {
			return
		}
		if _, err := e.Encode(); err != nil {
			t.Errorf("%q decodes but does not encode: %v", payload, err)
		}
	})
}

// run keeps a link or asker running for the life of the test.
func run(t *testing.T, r interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestLinkComesBackAndSubscribesAgain(t *testing.T) {
	broker := bustest.Start(t)
	heard := make(chan bus.Message, 10)
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "listener", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "a/#", func(m bus.Message) { heard <- m })
	}}, quiet)
	run(t, link)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for round := range 3 {
		if err := link.Publish(ctx, bus.Message{Topic: "a/b", Payload: []byte{byte(round)}}); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-heard:
			if m.Topic != "a/b" || len(m.Payload) != 1 || m.Payload[0] != byte(round) {
				t.Fatalf("round %d: %+v", round, m)
			}
		case <-ctx.Done():
			t.Fatal("nothing heard")
		}
		broker.Kill()
		for link.IsUp() {
			if ctx.Err() != nil {
				t.Fatal("the loss was not noticed")
			}
			time.Sleep(time.Millisecond) // polling under a deadline
		}
		if err := link.Send(bus.Message{Topic: "a/b"}); !errors.Is(err, bus.ErrDown) {
			t.Errorf("Send while down: %v", err)
		}
		broker.Start()
	}
}

// A publisher that meets the loss of its connection must be free for the next
// one, which may be there within half a second.
func TestSendEndsWithItsConnection(t *testing.T) {
	broker := bustest.Start(t)
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "sender"}, quiet)
	run(t, link)
	for range 5 { // it does not meet the loss each time
		if err := link.AwaitUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending, longest := make(chan struct{}), make(chan time.Duration)
		go func() {
			var most time.Duration
			var err error
			for n := 0; err == nil; n++ {
				if n == 100 {
					close(sending)
				}
				begin := time.Now()
				err = link.Send(bus.Message{Topic: "a/b", Payload: make([]byte, 1000)})
				most = max(most, time.Since(begin))
			}
			longest <- most
		}()
		<-sending
		broker.Kill()
		if most := <-longest; most > 2*time.Second {
			t.Fatalf("Send took %v", most)
		}
		broker.Start()
	}
}

func TestLinkSaysWhatIsWrongWithTheURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:1883", "http://x", "tcp://", "tcp://%zz"} {
		if err := bus.NewLink(bus.Options{URL: url}, quiet).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "broker url") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// Mosquitto, as it is installed, holds an answer back for 40 ms unless what it
// sent before is acknowledged at once.
func TestAnswersAreNotHeldBack(t *testing.T) {
	broker := bustest.Start(t)
	var link *bus.Link
	link = bus.NewLink(bus.Options{URL: broker.URL, ClientID: "answerer", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "query/echo/#", func(m bus.Message) {
			e, _ := bus.Decode(m.Payload)
			payload, _ := bus.Envelope{ID: e.ID, Data: e.Data}.Encode()
			if err := link.Send(bus.Message{Topic: e.ResponseTopic, Payload: payload}); err != nil {
				t.Error(err)
			}
		})
	}}, quiet)
	run(t, link)
	asker := bus.NewAsker("asker", bus.Options{URL: broker.URL, ClientID: "asker"}, nil, quiet)
	run(t, asker)
	if err := link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range 21 {
		begin := time.Now()
		if _, err := asker.Once(t.Context(), "query/echo/x", json.RawMessage("1"), nil); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 20*time.Millisecond {
		t.Errorf("an answer takes %v", median)
	}
}

func TestAskerHearsItsAnswerOnly(t *testing.T) {
	broker := bustest.Start(t)
	var link *bus.Link
	link = bus.NewLink(bus.Options{URL: broker.URL, ClientID: "answerer", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "query/echo/#", func(m bus.Message) {
			e, err := bus.Decode(m.Payload)
			if err != nil {
				t.Error(err)
			}
			for _, id := range []string{"somebody-else", e.ID} {
				payload, _ := bus.Envelope{ID: id, Data: e.Data}.Encode()
				topic := e.ResponseTopic
				if id != e.ID {
					topic = "responses/asker/" + id
				}
				if err := link.Send(bus.Message{Topic: topic, Payload: payload}); err != nil {
					t.Error(err)
				}
			}
		})
	}}, quiet)
	run(t, link)
	strays := make(chan struct{}, 10)
	asker := bus.NewAsker("asker", bus.Options{URL: broker.URL, ClientID: "asker"}, func() { strays <- struct{}{} }, quiet)
	run(t, asker)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := link.AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	answer, err := asker.Once(ctx, "query/echo/x", json.RawMessage(`"hello"`), nil)
	if err != nil || string(answer.Data) != `"hello"` {
		t.Fatalf("%+v, %v", answer, err)
	}
	select {
	case <-strays:
	case <-ctx.Done():
		t.Error("the answer to somebody else was not counted")
	}
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	if _, err := asker.Once(short, "query/nobody", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a question to nobody: %v", err)
	}
}
