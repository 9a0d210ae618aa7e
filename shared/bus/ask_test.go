package bus_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

func TestAnAskerStandsAnswersToNobody(t *testing.T) {
	broker := bustest.Start(t)
	var link *bus.Link
	link = bus.NewLink(bus.Options{URL: broker.URL, ClientID: "answerer", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "query/echo/#", func(m bus.Message) {
			e, _ := bus.Decode(m.Payload)
			payload, _ := bus.Envelope{ID: e.ID, Data: e.Data}.Encode()
			for _, topic := range []string{"responses/asker", "responses/asker/", "responses/asker/a/b/nobody", e.ResponseTopic} {
				if err := link.Send(bus.Message{Topic: topic, Payload: payload}); err != nil {
					t.Error(err)
				}
			}
		})
	}}, quiet)
	run(t, link)
	strays := 0 // called by the one reader, and read after it has handed over the answer behind them
	asker := bus.NewAsker("asker", bus.Options{URL: broker.URL, ClientID: "asker"}, func() { strays++ }, quiet)
	run(t, asker)
	if err := link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := asker.Once(t.Context(), "query/echo/x", json.RawMessage("1"), nil)
	if err != nil || string(answer.Data) != "1" || strays != 3 {
		t.Errorf("answer %s, %v, %d strays", answer.Data, err, strays)
	}
}

// Answers that come faster than they are looked at wait in bounded memory.
func TestAnswersThatWaitAreBoundedInBytes(t *testing.T) {
	broker := bustest.Start(t)
	const all, size = 40, 1 << 20
	begun := make(chan struct{})
	var link *bus.Link
	link = bus.NewLink(bus.Options{URL: broker.URL, ClientID: "answerer", Up: func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, "query/flood", func(m bus.Message) {
			e, _ := bus.Decode(m.Payload)
			payload := []byte(`{"data":"` + strings.Repeat("x", size) + `"}`)
			for range all {
				if err := link.Send(bus.Message{Topic: e.ResponseTopic, Payload: payload}); err != nil {
					t.Error(err)
				}
			}
			_ = link.Send(bus.Message{Topic: "responses/asker/x/end", Payload: []byte(`{}`)})
		})
	}}, quiet)
	run(t, link)
	strays := make(chan struct{}, 2*all)
	asker := bus.NewAsker("asker", bus.Options{URL: broker.URL, ClientID: "asker"}, func() { strays <- struct{}{} }, quiet)
	run(t, asker)
	if err := link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = asker.Ask(ctx, "query/flood", "", bus.Envelope{}, func(bus.Envelope) (bool, error) {
		if first { // slow, until what it does not take is thrown away
			first = false
			close(begun)
			for range all - 17 {
				select {
				case <-strays:
				case <-ctx.Done():
					return false, ctx.Err()
				}
			}
		}
		return false, nil
	})
	<-begun
	if ctx.Err() != nil {
		t.Error("answers of more than 16 MiB wait")
	}
}
