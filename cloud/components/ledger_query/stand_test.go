package ledgerquery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// prover gives the proofs of the real ledger, as the composition root does.
type prover struct{ reader *ledger.Reader }

func (p prover) Prove(ctx context.Context, gateway string, from, to device.Micros) (json.RawMessage, error) {
	proofs, err := p.reader.Prove(ctx, gateway, from, to)
	if err != nil {
		return nil, err
	}
	return json.Marshal(proofs)
}

// fixed gives the same proofs to everybody and notes the question.
type fixed struct {
	proofs   string
	err      error
	gateway  string
	from, to device.Micros
}

func (f *fixed) Prove(_ context.Context, gateway string, from, to device.Micros) (json.RawMessage, error) {
	f.gateway, f.from, f.to = gateway, from, to
	return json.RawMessage(f.proofs), f.err
}

// empty is a store that nobody has written to.
type empty struct{ err error }

func (e empty) Write(context.Context, string, []byte) error { return e.err }

func (e empty) Query(context.Context, string, string, func(string, map[string]string, []string, [][]any) error) error {
	return e.err
}

// stand is a component and a storing hook in front of one real InfluxDB; what is
// replayed goes straight to the hook.
type stand struct {
	*ledgerquery.Component
	t        testing.TB
	store    *influx.Client
	hook     *influxdata.Hook
	database string
	metrics  *metrics.Registry

	mu        sync.Mutex // protects what follows
	published []bus.Message
	receipts  []string
}

func newStand(t testing.TB) *stand {
	t.Helper()
	server := influxtest.Start(t)
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = server.URL, config.Secret(server.Token), server.Org
	client, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := &stand{t: t, store: client, database: influxtest.Database(t), metrics: metrics.New()}
	s.hook = influxdata.New(influxdata.Options{Store: client, Ledger: ledger.NewBook(client, hook.Instance(), nil)}, quiet)
	s.Component = ledgerquery.New(ledgerquery.Options{
		Prover: prover{ledger.NewReader(client)}, Store: client, Publish: s.publish, Metrics: s.metrics,
	}, quiet)
	return s
}

func (s *stand) publish(ctx context.Context, m bus.Message) error {
	s.mu.Lock()
	s.published = append(s.published, m)
	s.mu.Unlock()
	s.take(ctx, m)
	return nil
}

func (s *stand) take(ctx context.Context, messages ...bus.Message) {
	s.hook.Handle(ctx, messages, func(_ string, payload []byte) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.receipts = append(s.receipts, string(payload))
		return nil
	})
}

// give has the storing hook take a batch of a source; it goes to the database of
// the test.
func (s *stand) give(source, id, records string) bus.Message {
	s.t.Helper()
	m := bus.Message{
		Topic:   "data/" + source + "/influx_data/" + s.database + "/" + id,
		Payload: []byte(`{"id":"` + id + `","response_topic":"responses/` + source + `/receipts","data":[` + records + `]}`),
	}
	s.take(s.t.Context(), m)
	return m
}

func reading(place string) string {
	return `{"n":"sp_` + place + `/power","u":"W","t":1705319000,"v":1}`
}

// answer is what an asker gets.
type answer struct {
	data  json.RawMessage
	parts []json.RawMessage
}

func (a *answer) Send(data, _ json.RawMessage) { a.data = bytes.Clone(data) }

func (a *answer) Part(_ context.Context, data json.RawMessage) error {
	if len(data) > 1<<20 {
		return errors.New("part too long")
	}
	a.parts = append(a.parts, bytes.Clone(data))
	return nil
}

type refusals struct {
	Items []ledgerquery.Refusal `json:"items"`
	Next  *string               `json:"next"`
}

func (s *stand) list(data string) (list refusals) {
	s.t.Helper()
	var a answer
	if err := s.Query(s.t.Context(), hook.Request{Subpath: "quarantine", Data: json.RawMessage(data), Wanted: true}, &a); err != nil {
		s.t.Fatalf("%s: %v", data, err)
	}
	if err := json.Unmarshal(a.data, &list); err != nil {
		s.t.Fatal(err)
	}
	return list
}

func (s *stand) replay(data string) (ledgerquery.Refusal, error) {
	s.t.Helper()
	var a answer
	var item ledgerquery.Refusal
	err := s.Command(s.t.Context(), hook.Request{Subpath: "replay", ID: "r1", Data: json.RawMessage(data), Wanted: true}, &a)
	if err == nil {
		err = json.Unmarshal(a.data, &item)
	}
	return item, err
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

// await polls until ok, under a deadline.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// counting counts how often it is asked, and takes its time.
type counting struct {
	mu   sync.Mutex // protects what follows
	n    int
	wait time.Duration
}

func (c *counting) Prove(context.Context, string, device.Micros, device.Micros) (json.RawMessage, error) {
	c.mu.Lock()
	c.n++
	wait := c.wait
	c.mu.Unlock()
	time.Sleep(wait)
	return json.RawMessage(`[]`), nil
}

// from begins to count anew.
func (c *counting) from(wait time.Duration) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, c.n, c.wait = c.n, 0, wait
	return n
}
