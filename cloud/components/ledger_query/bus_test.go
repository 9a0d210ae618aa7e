package ledgerquery_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

func broken(context.Context, bus.Message) error { return bus.ErrDown }

// caller is the far side of the bus.
type caller struct {
	t     *testing.T
	asker *bus.Asker
}

func (c *caller) ask(topic, data string) (string, string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	var b strings.Builder
	answer, err := c.asker.Once(ctx, topic, json.RawMessage(data), func(part json.RawMessage) error {
		b.Write(part)
		return nil
	})
	if answer.Part == nil {
		b.Write(answer.Data)
	}
	return b.String(), answer.ErrorText(), err
}

// The whole way over a real broker: a gateway's refused batch, the list, the
// replay, the stored reading, the proof.
func TestOverTheBus(t *testing.T) {
	broker := bustest.Start(t)
	s := newStand(t)
	if err := s.store.Write(t.Context(), s.database, []byte("power,id=x value=\"text\" 1705319000000000\n")); err != nil {
		t.Fatal(err)
	}
	storing := influxdata.New(influxdata.Options{Store: s.store, Ledger: ledger.NewBook(s.store, hook.Instance(), nil)}, quiet)
	run(t, func(ctx context.Context) error { return storing.Run(ctx, bus.Options{URL: broker.URL}) })
	c := ledgerquery.New(ledgerquery.Options{Prover: prover{ledger.NewReader(s.store)}, Store: s.store, Metrics: s.metrics}, quiet)
	run(t, func(ctx context.Context) error { return c.Run(ctx, bus.Options{URL: broker.URL}) })
	far := &caller{t, bus.NewAsker("api/test", bus.Options{URL: broker.URL, ClientID: "caller"}, nil, quiet)}
	run(t, far.asker.Run)

	source := "edge-" + s.database
	receipts := make(chan string, 100)
	edge := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "edge", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, bus.ReceiptsTopic(source), func(m bus.Message) { receipts <- string(m.Payload) })
	}}, quiet)
	run(t, edge.Run)
	id := contract.BatchID{Epoch: 0xaa, Sequence: 1}.String()
	batch := bus.Message{Topic: "data/" + source + "/influx_data/" + s.database + "/" + id, Payload: bus.Compress([]byte(
		`{"id":"` + id + `","response_topic":"` + bus.ReceiptsTopic(source) + `","batch":{"previous":null,"readings":1,"from":1705319000,"to":1705319000},"data":[` + reading("g1") + `]}`))}
	digest := contract.DigestOf(batch.Payload).String()

	receipt := ""
	await(t, "a receipt", func() bool { // until the hook listens, as a gateway does
		if err := edge.Publish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		select {
		case receipt = <-receipts:
			return true
		case <-time.After(300 * time.Millisecond):
			return false
		}
	})
	if want := `{"data":{"quarantined":[{"id":"` + id + `","digest":"` + digest + `"}]}}`; receipt != want {
		t.Errorf("receipt %s, want %s", receipt, want)
	}
	list := ""
	await(t, "the list", func() bool {
		var err error
		list, _, err = far.ask("query/ledger_query/quarantine", `{"source":"`+source+`"}`)
		return err == nil
	})
	if !strings.Contains(list, digest) || !strings.Contains(list, `"replayed":null`) {
		t.Errorf("listed %s", list)
	}
	if err := s.store.Exec(t.Context(), s.database, "DROP MEASUREMENT power"); err != nil {
		t.Fatal(err)
	}
	await(t, "the replay", func() bool {
		got, failure, err := far.ask("command/ledger_query/replay", `{"id":"`+digest+`"}`)
		if failure != "" {
			t.Errorf("got %s", failure)
		}
		return err == nil && strings.Contains(got, `"replayed":1`)
	})
	await(t, "the readings", func() bool { return s.count(s.database, `SELECT count(value) FROM power WHERE id = 'sp_g1'`) == 1 })
	await(t, "the proof", func() bool {
		got, _, err := far.ask("query/ledger_query", `{"gateway":"`+source+`"}`)
		return err == nil && strings.Contains(got, `"gateway":"`+source+`"`) && strings.Contains(got, `"missing":0`) && strings.Contains(got, `"stored":1`)
	})
	if _, failure, err := far.ask("query/ledger_query", `{"floor":"1"}`); err != nil || !strings.HasPrefix(failure, "floor: unknown") {
		t.Errorf("got %v %s", err, failure)
	}
	await(t, "the gauges", func() bool { return strings.Contains(text(t, s.metrics), "wattline_ledger_checked_seconds 1") })
}

func text(t *testing.T, m *metrics.Registry) string {
	t.Helper()
	var b strings.Builder
	if err := m.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRunSaysWhatCanNeverWork(t *testing.T) {
	c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{proofs: `[]`}, Store: empty{}}, quiet)
	if err := c.Run(t.Context(), bus.Options{URL: "nonsense"}); err == nil {
		t.Error("no error for a broker that cannot be")
	}
}

func TestGaugesFollowLedgerAndQuarantine(t *testing.T) {
	s := newStand(t)
	source := "gauge" + s.database
	first, second := s.give(source, "a-1", reading("g01")), s.give(source, "a-2", reading("g02"))
	proofs := &fixed{proofs: `[{"gateway":"edge-f1","complete":true,"missing":0,"waiting":3,"dropped":2},{"gateway":"edge-f2","complete":false,"missing":7,"waiting":0,"dropped":0}]`}
	m := metrics.New()
	c := ledgerquery.New(ledgerquery.Options{Prover: proofs, Store: s.store, Metrics: m, Publish: broken, Now: func() time.Time { return time.Unix(1705320000, 0) }}, quiet)
	look := ledgerquery.Looker(c)
	look(t.Context())
	open := func(n string) string {
		return `wattline_quarantine_open_batches{source="` + source + `"} ` + n + "\n"
	}
	want := []string{
		`wattline_ledger_missing_batches{gateway="edge-f2"} 7`, `wattline_ledger_waiting_batches{gateway="edge-f1"} 3`, `wattline_ledger_dropped_batches{gateway="edge-f1"} 2`,
		`wattline_ledger_complete_state{gateway="edge-f1"} 1`, `wattline_ledger_complete_state{gateway="edge-f2"} 0`, "wattline_ledger_checked_seconds 1.70532e+09", open("2"),
	}
	for _, line := range want {
		if got := text(t, m); !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
	// A replay that is refused again is open again, beside the other one.
	if _, err := s.replay(`{"id":"` + contract.DigestOf(first.Payload).String() + `"}`); err != nil {
		t.Fatal(err)
	}
	if look(t.Context()); !strings.Contains(text(t, m), open("2")) {
		t.Errorf("want %s", open("2"))
	}
	for _, one := range []bus.Message{first, second} {
		swallow := ledgerquery.New(ledgerquery.Options{Prover: proofs, Store: s.store, Publish: func(context.Context, bus.Message) error { return nil }}, quiet)
		err := swallow.Command(t.Context(), hook.Request{Subpath: "replay", Data: json.RawMessage(`{"id":"` + contract.DigestOf(one.Payload).String() + `"}`)}, &answer{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if look(t.Context()); !strings.Contains(text(t, m), open("0")) {
		t.Errorf("want %s", open("0"))
	}
	proofs.err = errors.New("away")
	proofs.proofs = `[{"gateway":"edge-f2","missing":987654}]`
	if look(t.Context()); strings.Contains(text(t, m), "987654") {
		t.Error("a failed look changed a gauge")
	}
}

func TestGaugesAreLookedAfterEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &counting{}
		c := ledgerquery.New(ledgerquery.Options{Prover: p, Store: empty{}}, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		go ledgerquery.Watch(ctx, c)
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if n := p.from(10 * time.Second); n != 6 { // slow from now on: at most a twentieth of the time
			t.Errorf("looked %d times in five minutes, want 6", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := p.from(0); n < 10 || n > 19 {
			t.Errorf("looked %d times in an hour", n)
		}
		cancel()
		synctest.Wait()
	})
}
