package influxquery_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

// caller is the far side of the bus: an asker and what a registry publishes.
type caller struct {
	t     *testing.T
	asker *bus.Asker
}

func newCaller(t *testing.T, url string) *caller {
	t.Helper()
	c := &caller{t: t, asker: bus.NewAsker("api/test", bus.Options{URL: url, ClientID: "caller"}, nil, quiet)}
	run(t, c.asker.Run)
	return c
}

// run runs for the life of the test and waits for the end.
func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (c *caller) ask(topic, data string) (string, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	var b strings.Builder
	answer, err := c.asker.Once(ctx, topic, json.RawMessage(data), func(part json.RawMessage) error {
		b.Write(part)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if answer.Part == nil {
		b.Write(answer.Data)
	}
	return b.String(), answer.ErrorText()
}

func (c *caller) retain(topic, payload string) {
	c.t.Helper()
	if err := c.asker.Link().Publish(c.t.Context(), bus.Message{Topic: topic, Payload: []byte(payload), Retained: true}); err != nil {
		c.t.Fatal(err)
	}
}

// serving asks until the component is there: before it subscribes, a question
// is lost.
func (c *caller) serving(topic string) {
	c.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(c.t.Context(), 200*time.Millisecond)
		_, err := c.asker.Once(ctx, topic, nil, func(json.RawMessage) error { return nil })
		cancel()
		if err == nil {
			return
		}
		if c.t.Context().Err() != nil {
			c.t.Fatal("the component never answered")
		}
	}
}

func TestOverTheBus(t *testing.T) {
	broker := bustest.Start(t)
	s := newStand(t)
	s.writePlaces()
	far := newCaller(t, broker.URL)
	far.retain(bus.SiteTopic, `{"name":"office","default_floor":1,"time_zone":"Europe/Berlin"}`)
	component := influxquery.New(influxquery.Options{Store: s.store}, quiet)
	run(t, func(ctx context.Context) error { return component.Run(ctx, bus.Options{URL: broker.URL}) })
	topic := "query/influx_query/" + s.database + "/power"
	far.serving(topic)

	for name, test := range map[string]struct{ topic, data, want, failure string }{
		"the site's default floor is learned": {topic, `{"id":"w.r0.c0","operation":"sum"}`, `[{"bn":"sp_w.r0.c0/power","bu":"W"},{"t":0,"v":3}]`, ""},
		"mistakes":                            {topic, `{"row":"x","operation":"avg"}`, "", `row: "x" is not a whole number without leading zeros`},
		"the ledger":                          {"query/influx_query/wattline/batch", `{}`, "", `database: "wattline" is the system's own`},
		"no measurement":                      {"query/influx_query/sp", `{}`, "", `topic: "sp" is not DATABASE/MEASUREMENT`},
		"nothing at all":                      {"query/influx_query", ``, "", `topic: "" is not DATABASE/MEASUREMENT`},
	} {
		t.Run(name, func(t *testing.T) {
			got, failure := (&caller{t: t, asker: far.asker}).ask(test.topic, test.data)
			if got != test.want || !strings.Contains(failure, test.failure) || (failure == "") != (test.failure == "") {
				t.Errorf("got %s, error %q; want %s, %q", got, failure, test.want, test.failure)
			}
		})
	}
	// Bad news about the site changes nothing.
	far.retain(bus.SiteTopic, `{"default_floor":"first"}`)
	far.retain(bus.SiteTopic, ``)
	if got, _ := far.ask(topic, `{"floor":"1","operation":"sum"}`); got != `[{"bn":"power","bu":"W"},{"t":0,"v":71}]` {
		t.Errorf("got %s", got)
	}
}

func TestLongAnswersOverTheBusComeWhole(t *testing.T) {
	broker := bustest.Start(t)
	far := newCaller(t, broker.URL)
	component := newComponent(&endless{chunks: 10, rows: 10_000}, 1)
	run(t, func(ctx context.Context) error { return component.Run(ctx, bus.Options{URL: broker.URL}) })
	far.serving("query/influx_query/sp")
	got, failure := far.ask("query/influx_query/sp/power", `{"format":"senml"}`)
	if n := strings.Count(got, `"t":`); n != 100_000 || failure != "" {
		t.Errorf("%d points, error %q", n, failure)
	}
}

// gate is a store whose queries wait.
type gate struct{ begun, open chan struct{} }

func (g gate) Query(context.Context, string, string, func(string, map[string]string, []string, [][]any) error) error {
	g.begun <- struct{}{}
	<-g.open
	return nil
}

func TestSlowAskersLeaveRoomForOthers(t *testing.T) {
	broker := bustest.Start(t)
	far := newCaller(t, broker.URL)
	store := gate{make(chan struct{}, 10), make(chan struct{})}
	component := influxquery.New(influxquery.Options{Store: store, DefaultFloor: func() (int, bool) { return 1, true }, Concurrent: 2}, quiet)
	run(t, func(ctx context.Context) error { return component.Run(ctx, bus.Options{URL: broker.URL}) })
	far.serving("query/influx_query/sp")
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() { far.ask("query/influx_query/sp/power", `{}`) })
	}
	<-store.begun
	<-store.begun
	select {
	case <-store.begun:
		t.Error("three queries at once, want two")
	case <-time.After(300 * time.Millisecond):
	}
	close(store.open)
	asking.Wait()
}

// Without a registry the first questions wait a moment, then ids match as they
// are written.
func TestWithoutASite(t *testing.T) {
	broker := bustest.Start(t)
	s := newStand(t)
	s.writePlaces()
	far := newCaller(t, broker.URL)
	component := influxquery.New(influxquery.Options{Store: s.store}, quiet)
	run(t, func(ctx context.Context) error { return component.Run(ctx, bus.Options{URL: broker.URL}) })
	topic := "query/influx_query/" + s.database + "/power"
	far.serving(topic)
	if got, _ := far.ask(topic, `{"id":"w.r0.c0","operation":"sum"}`); got != `[{"bn":"sp_w.r0.c0/power","bu":"W"},{"t":0,"v":1}]` {
		t.Errorf("got %s", got)
	}
}

// The document about the site may come after the first question.
func TestTheFirstQuestionWaitsForTheSite(t *testing.T) {
	broker := bustest.Start(t)
	s := newStand(t)
	s.writePlaces()
	answers := make(chan bus.Message, 8)
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "early", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/early/#", func(m bus.Message) { answers <- m })
	}}, quiet)
	run(t, link.Run)
	component := influxquery.New(influxquery.Options{Store: s.store}, quiet)
	up := make(chan struct{})
	run(t, func(ctx context.Context) error {
		return component.Run(ctx, bus.Options{URL: broker.URL, Up: func(context.Context, *bus.Session) error {
			close(up)
			return nil
		}})
	})
	<-up
	for _, m := range []bus.Message{
		{Topic: "query/influx_query/" + s.database + "/power", Payload: []byte(`{"response_topic":"responses/early/1","data":{"id":"g9,w.r0.c0","operation":"sum"}}`)},
		{Topic: bus.SiteTopic, Payload: []byte(`{"default_floor":1}`), Retained: true},
	} {
		if err := link.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case m := <-answers:
		if got, want := string(m.Payload), `{"data":[{"bn":"power","bu":"W"},{"t":0,"v":3}]}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("no answer")
	}
}
