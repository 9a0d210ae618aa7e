package spec_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// TestExamplesAreTrue tries each example on both brokers, in the order of their
// names. While that goes on, all that is said on the bus is recorded, and must be
// as asyncapi.yaml and the schemas say.
func TestExamplesAreTrue(t *testing.T) {
	d, compiled := asyncAPI(t), schemas(t)
	for _, kind := range brokers {
		t.Run(kind, func(t *testing.T) {
			s := start(t, kind)
			guest, role := s.client("guest", "", nil), s.client("role", "", nil)
			for _, e := range examples(t) {
				t.Run(e.name, func(t *testing.T) {
					s := *s
					s.t = t
					link := guest
					if e.By == "role" {
						link = role
					}
					switch {
					case e.Send != nil:
						s.converse(link, e)
					case e.Hear != nil:
						s.overhear(*e.Hear)
					}
				})
			}
			t.Run("long answers come in parts", func(t *testing.T) {
				s := *s
				s.t = t
				s.fetchParts(guest)
			})
			wrong := deliberate(t)
			seen, breaches := s.heard.breaches(d, compiled, func(m bus.Message) bool { return wrong[m.Topic+string(m.Payload)] || toItself(m) })
			for _, b := range breaches {
				t.Error(b)
			}
			for name := range d.Components.Messages {
				if seen[name] == 0 {
					t.Errorf("no message %s was heard", name)
				}
			}
		})
	}
}

// toItself tells what registry and api say to themselves, to know that they have heard all
// that was kept at the broker.
func toItself(m bus.Message) bool {
	return strings.HasSuffix(m.Topic, "/all-heard") && string(m.Payload) == "{}" &&
		(strings.HasPrefix(m.Topic, "responses/registry/") || strings.HasPrefix(m.Topic, "responses/api/"))
}

// deliberate are the payloads that are meant to be wrong, behind their topics.
func deliberate(t *testing.T) map[string]bool {
	t.Helper()
	wrong := map[string]bool{}
	for _, e := range examples(t) {
		if e.Wrong {
			wrong[e.Send.Topic+string(e.Send.wire(t))] = true
		}
	}
	return wrong
}

// converse sends what an example sends and waits for what it says comes of it.
func (s *system) converse(link *bus.Link, e example) {
	s.t.Helper()
	payload := e.Send.wire(s.t)
	if e.Compress == "gzip" {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(payload)
		_ = w.Close()
		payload = b.Bytes()
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // polling under a deadline
		before := len(s.heard.all())
		s.publish(link, e.Send.Topic, payload)
		var wrong []string
		for _, want := range e.Answers {
			if diff := s.answered(before, want); diff != "" {
				wrong = append(wrong, diff)
			}
		}
		if len(wrong) == 0 {
			break
		}
		if !e.Eventually || time.Now().After(deadline) {
			s.t.Fatal(strings.Join(wrong, "\n"))
		}
	}
	for _, p := range e.Points {
		s.until(fmt.Sprintf("%s is in InfluxDB", p.Measurement), func() bool { return s.has(p) })
	}
}

// answered waits for an answer; "" when it is the one that is wanted.
func (s *system) answered(before int, want said) string {
	s.t.Helper()
	var got []byte
	s.until("an answer on "+want.Topic, func() bool {
		for _, m := range s.heard.all()[before:] {
			if m.Topic == want.Topic {
				got = m.Payload
				return true
			}
		}
		return false
	})
	wanted, heard := without(plain(s.t, want.Payload), want.Varies), without(plain(s.t, got), want.Varies)
	if !reflect.DeepEqual(wanted, heard) {
		return fmt.Sprintf("on %s came\n%s\nthe example has\n%s", want.Topic, got, want.Payload)
	}
	return ""
}

// overhear compares what comes by itself with the shape of an example.
func (s *system) overhear(want said) {
	s.t.Helper()
	var unlike []string
	s.until("something like the example on "+want.Topic, func() bool {
		unlike = []string{"nothing was heard"}
		for _, m := range s.heard.on(want.Topic) {
			if unlike = sameShape(plain(s.t, want.Payload), plain(s.t, m.Payload), ""); len(unlike) == 0 {
				return true
			}
		}
		if len(s.heard.on(want.Topic)) > 3 {
			s.t.Fatalf("%s: %v", want.Topic, unlike)
		}
		return false
	})
}

// fetchParts asks for more than fits into one answer, as the page says.
func (s *system) fetchParts(link *bus.Link) {
	s.t.Helper()
	const records = 45_000
	var b strings.Builder
	b.WriteString(`{"id":"many","response_topic":"responses/spec-parts/receipts","data":[{"bn":"many_x0/power","bu":"W","bt":1700000000,"v":0}`)
	for i := 1; i < records; i++ {
		fmt.Fprintf(&b, `,{"t":%d,"v":%d}`, i, i)
	}
	b.WriteString("]}")
	heard := make(chan bus.Message, 10)
	s.client("guest", "responses/spec-parts/#", func(m bus.Message) { heard <- m })
	next := func() (e bus.Envelope) {
		s.t.Helper()
		select {
		case m := <-heard:
			e, err := bus.Decode(m.Payload)
			if err != nil || len(e.Error) > 0 {
				s.t.Fatalf("%.300s: %v", m.Payload, err)
			}
			return e
		case <-time.After(30 * time.Second):
			s.t.Fatal("no answer")
			return e
		}
	}
	s.publish(link, "data/spec-parts/influx_data/sp", []byte(b.String()))
	next()
	ask := example{}
	for _, e := range examples(s.t) {
		if e.Next != nil {
			ask = e
		}
	}
	var request struct {
		ID   string
		Part int
	}
	if err := json.Unmarshal(ask.Next.Payload, &request); err != nil || request.Part != 1 {
		s.t.Fatal(err, request)
	}
	s.publish(link, "query/influx_query/sp/power", fmt.Appendf(nil, `{"id":%q,"response_topic":"responses/spec-parts/x","data":{"id":"many_x0"}}`, request.ID))
	var total []json.RawMessage
	for n, last := 0, false; !last; n++ {
		e := next()
		var part []json.RawMessage
		if err := json.Unmarshal(e.Data, &part); err != nil || e.Part == nil || *e.Part != n || e.ID != request.ID || len(e.Data) > 1<<20 {
			s.t.Fatalf("part %d of %d bytes: %v", n, len(e.Data), err)
		}
		total = append(total, part...)
		if last = e.Last; last {
			break
		}
		if got, want := slices.Sorted(slices.Values(channelsOf(asyncAPI(s.t), e.ResponseTopic))), channelsOf(asyncAPI(s.t), ask.Next.Topic); !slices.Equal(got, want) {
			s.t.Fatalf("%s is no channel of parts: %v, %v", e.ResponseTopic, got, want)
		}
		s.publish(link, e.ResponseTopic, bytes.Replace(ask.Next.wire(s.t), []byte(`"part":1`), fmt.Appendf(nil, `"part":%d`, n+1), 1))
	}
	if len(total) != records+1 {
		s.t.Errorf("%d records, want %d", len(total), records+1)
	}
}

// Guests are refused what asyncapi.yaml does not grant, at a real broker.
func TestGuestsAreHeldToTheAccessRules(t *testing.T) {
	s := start(t, "embedded")
	guest := s.client("guest", "", nil)
	d := asyncAPI(t)
	for name, c := range d.Channels {
		if slices.Contains(c.Access.Publish, "guest") {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		if err := guest.Publish(ctx, bus.Message{Topic: sample(c.Address, "trespasser"), Payload: []byte(`{"error":"by a guest, ` + name + `"}`)}); err == nil {
			t.Errorf("%s: the broker says nothing to a guest who publishes there", name)
		}
		cancel()
	}
	refused := make(chan error, 1)
	curious := bus.NewLink(bus.Options{URL: s.mqtt, ClientID: "curious", Up: func(ctx context.Context, session *bus.Session) error {
		select {
		case refused <- session.Subscribe(ctx, bus.RegistryFilter, func(bus.Message) {}):
		default:
		}
		return nil
	}}, quiet)
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = curious.Run(ctx) }()
	if err := <-refused; err == nil {
		t.Error("a guest may subscribe to the registry")
	}
	cancel()
	<-ended
	s.publish(s.client("guest", "", nil), "responses/spec-end/x", []byte(`{"error":"end"}`))
	s.until("the last message has come", func() bool { return len(s.heard.on("responses/spec-end/x")) > 0 })
	for _, m := range s.heard.all() {
		if strings.Contains(string(m.Payload), "by a guest") {
			t.Errorf("a guest published %s on %s", m.Payload, m.Topic)
		}
	}
}
