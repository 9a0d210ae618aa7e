package signals_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

var _ signals.Asker = (*bus.Asker)(nil)

// component answers as one does, or not at all where it has no answer.
type component struct {
	t       *testing.T
	answers map[string]func(parameters map[string]string, part func(json.RawMessage) error) (bus.Envelope, error)
	asked   map[string]int
}

func (c *component) Once(ctx context.Context, topic string, data json.RawMessage, part func(json.RawMessage) error) (bus.Envelope, error) {
	var parameters map[string]string
	if err := json.Unmarshal(data, &parameters); err != nil {
		c.t.Errorf("%s is asked with %s", topic, data)
	}
	c.asked[topic]++
	answer := c.answers[topic]
	if answer == nil {
		<-ctx.Done()
		return bus.Envelope{}, fmt.Errorf("wait for the answer to %s: %w", topic, context.Cause(ctx))
	}
	return answer(parameters, part)
}

const (
	influxTopic     = "query/influx_query/sp/power"
	ledgerTopic     = "query/ledger_query"
	quarantineTopic = "query/ledger_query/quarantine"
)

func newComponent(t *testing.T) *component {
	return &component{t: t, answers: make(map[string]func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error)), asked: make(map[string]int)}
}

// says makes a component answer with these words.
func (c *component) says(topic, data, failure string) {
	c.answers[topic] = func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error) {
		e := bus.Envelope{Data: json.RawMessage(data)}
		if failure != "" {
			e.Error = bus.Text(failure)
		}
		return e, nil
	}
}

func up() bool { return true }

func TestStoreIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		data, failure string
		silent        bool
		err           error
		away          int // questions about the connection before it is lost; 0: never
		want          *float64
	}{
		"it answers":                   {data: "[]", want: new(1.0)},
		"it is away":                   {failure: "InfluxDB does not answer, try again", want: new(0.0)},
		"it refuses":                   {failure: "InfluxDB refused the query; the log says why", want: new(0.0)},
		"the component is busy":        {failure: "influx_query is busy, try again"},
		"the question is wrong":        {failure: "from: too early"},
		"nobody answers":               {silent: true, want: new(0.0)},
		"the broker is away":           {silent: true, away: 1},
		"the broker goes away":         {silent: true, away: 2},
		"and while InfluxDB complains": {failure: "InfluxDB does not answer, try again", away: 2},
		"the answer cannot be asked":   {err: errors.New("malformed topic")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := newComponent(t)
				bus.says(influxTopic, c.data, c.failure)
				if c.silent {
					delete(bus.answers, influxTopic)
				}
				if c.err != nil {
					bus.answers[influxTopic] = answerWith(c.err)
				}
				bus.says(ledgerTopic, "[]", "")
				bus.says(quarantineTopic, `{"items": []}`, "")
				asked := 0
				q := signals.NewQuestions(func() bool { asked++; return c.away == 0 || asked < c.away }, slog.New(slog.DiscardHandler))
				start := time.Now()
				answers := q.Ask(t.Context(), bus, device.ID{})
				if took, most := time.Since(start), 10*time.Second; took > most {
					t.Errorf("it took %v, want at most %v", took, most)
				}
				samples := newStage(t).s.Take(answers, begin)
				want(t, samples, "site.store", "site", c.want)
				if ok := c.want != nil && *c.want == 1; !ok {
					want(t, samples, "site.store_time", "site", nil)
					want(t, samples, "site.quarantine", "site", nil)
				} else {
					want(t, samples, "site.store_time", "site", new(0.0))
				}
			})
		})
	}
}

func answerWith(err error) func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error) {
	return func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error) { return bus.Envelope{}, err }
}

func TestQuestionToTheStoreIsSmall(t *testing.T) {
	st := newStage(t)
	c := newComponent(t)
	c.answers[influxTopic] = func(parameters map[string]string, _ func(json.RawMessage) error) (bus.Envelope, error) {
		if got, want := parameters["id"], "sp_w.r0.c1"; got != want || parameters["from"] == "" {
			t.Errorf("the question is %v, want one about %s lately", parameters, want)
		}
		return bus.Envelope{Error: bus.Text("no")}, nil
	}
	signals.NewQuestions(up, slog.New(slog.DiscardHandler)).Ask(t.Context(), c, st.s.About())
	if c.asked[influxTopic] != 1 {
		t.Errorf("asked %v", c.asked)
	}
}

// parts answers in parts, as the ledger does.
func parts(texts ...string) func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error) {
	return func(_ map[string]string, part func(json.RawMessage) error) (bus.Envelope, error) {
		for _, text := range texts {
			if err := part(json.RawMessage(text)); err != nil {
				return bus.Envelope{}, err
			}
		}
		return bus.Envelope{Part: new(len(texts)), Last: true, Data: json.RawMessage(texts[len(texts)-1])}, nil
	}
}

func TestLedgerAndQuarantineAreAsked(t *testing.T) {
	st := newStage(t)
	c := newComponent(t)
	c.says(influxTopic, "[]", "")
	c.answers[ledgerTopic] = parts(
		`[{"gateway": "edge-f1", "missing": 3, "clones": ["epochs a and b both grow"], "epochs": []}, null]`,
		`[{"gateway": "edge-f2", "missing": 0}, {"gateway": "stranger", "missing": 9}]`)
	c.answers[quarantineTopic] = func(parameters map[string]string, _ func(json.RawMessage) error) (bus.Envelope, error) {
		if parameters["cursor"] == "" {
			return bus.Envelope{Data: json.RawMessage(`{"items": [{"replayed": null}, {"replayed": 1705320000}], "next": "page 2"}`)}, nil
		}
		return bus.Envelope{Data: json.RawMessage(`{"items": [{"source": "x"}], "next": null}`)}, nil
	}
	samples := st.s.Take(signals.NewQuestions(up, slog.New(slog.DiscardHandler)).Ask(t.Context(), c, device.ID{}), st.now)
	want(t, samples, "gateway.missing", "edge-f1", new(3.0))
	want(t, samples, "gateway.clones", "edge-f1", new(1.0))
	want(t, samples, "gateway.missing", "edge-f2", new(0.0))
	want(t, samples, "gateway.clones", "edge-f2", new(0.0))
	want(t, samples, "gateway.missing", "stranger", nil)
	want(t, samples, "site.quarantine", "site", new(2.0))
}

func TestHalfAnAnswerIsNone(t *testing.T) {
	for name, answer := range map[string]func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error){
		"an error after a part": func(_ map[string]string, part func(json.RawMessage) error) (bus.Envelope, error) {
			if err := part(json.RawMessage(`[{"gateway": "edge-f1", "missing": 3}]`)); err != nil {
				return bus.Envelope{}, err
			}
			return bus.Envelope{Part: new(1), Last: true, Error: bus.Text("the ledger does not answer, try again")}, nil
		},
		"a part that is none": parts(`[{"gateway": "edge-f1", "missing": 3}]`, `{}`),
		"no time":             answerWith(context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t)
			c := newComponent(t)
			c.says(influxTopic, "[]", "")
			c.answers[ledgerTopic] = answer
			c.says(quarantineTopic, "[7]", "")
			samples := st.s.Take(signals.NewQuestions(up, slog.New(slog.DiscardHandler)).Ask(t.Context(), c, device.ID{}), st.now)
			want(t, samples, "gateway.missing", "edge-f1", nil)
			want(t, samples, "site.quarantine", "site", nil)
			want(t, samples, "site.store", "site", new(1.0))
		})
	}
}

func TestSlowLedgerIsAskedLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newComponent(t)
		c.says(influxTopic, "[]", "")
		c.says(quarantineTopic, `{"items": []}`, "")
		c.answers[ledgerTopic] = func(map[string]string, func(json.RawMessage) error) (bus.Envelope, error) {
			time.Sleep(15 * time.Second)
			return bus.Envelope{Data: json.RawMessage("[]")}, nil
		}
		q := signals.NewQuestions(up, slog.New(slog.DiscardHandler))
		for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(signals.AskEvery) {
			q.Ask(t.Context(), c, device.ID{})
		}
		if got := c.asked[ledgerTopic]; got < 8 || got > 13 {
			t.Errorf("a ledger that takes 15 s was asked %d times in an hour", got)
		}
		if got := c.asked[influxTopic]; got < 100 {
			t.Errorf("the store was asked %d times in an hour", got)
		}
	})
}

func TestEndlessQuarantineIsCountedToTenPages(t *testing.T) {
	c := newComponent(t)
	c.says(influxTopic, "[]", "")
	c.says(ledgerTopic, "[]", "")
	c.says(quarantineTopic, `{"items": [`+strings.Repeat(`{},`, 999)+`{}], "next": "more"}`, "")
	answers := signals.NewQuestions(up, slog.New(slog.DiscardHandler)).Ask(t.Context(), c, device.ID{})
	if answers.Quarantined == nil || *answers.Quarantined != 10_000 {
		t.Errorf("counted %v, want 10,000", answers.Quarantined)
	}
}

func TestFactsOfTheOwner(t *testing.T) {
	s := newStage(t).s
	want(t, s.TakeDisk(91.5, begin), "site.disk", "site", new(91.5))
	want(t, s.TakeReceivers(2, begin), "site.receivers_failing", "site", new(2.0))
}

func TestSilentLedgerIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := newComponent(t)
		c.says(influxTopic, "[]", "")
		c.says(quarantineTopic, `{"items": []}`, "")
		q := signals.NewQuestions(up, slog.New(slog.NewTextHandler(&out, nil)))
		for n := range 200 {
			if n == 150 {
				c.says(ledgerTopic, "[]", "")
			}
			q.Ask(t.Context(), c, device.ID{})
			time.Sleep(signals.AskEvery)
		}
		if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "again") {
			t.Errorf("the log says %q, want that it is silent and that it is back", out.String())
		}
	})
}
