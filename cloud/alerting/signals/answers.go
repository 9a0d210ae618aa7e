package signals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// AskEvery is the time between two rounds of questions.
const AskEvery = 30 * time.Second

const (
	patience = 10 * time.Second // with the store
	// longPatience is the ledger's, which has to think about everything at once. It
	// is left alone for ledgerShare times as long as it took.
	longPatience = 30 * time.Second
	ledgerShare  = 20
	// lately is what the question to the store is about: little.
	lately = 10 * time.Minute
	// pages of the quarantine that are counted, each of pageLimit.
	pages     = 10
	pageLimit = 1000
)

// Asker asks over the bus and collects the parts of long answers; *bus.Asker fits.
type Asker interface {
	Once(ctx context.Context, topic string, data json.RawMessage, part func(json.RawMessage) error) (bus.Envelope, error)
}

// Questions knows what to ask the components. It must not be used concurrently,
// but may be used beside a [Signals].
type Questions struct {
	up     func() bool
	log    *slog.Logger
	due    time.Time       // when the ledger is asked next
	silent map[string]bool // whom the log calls silent

	backupDue time.Time // when the backup is asked next
}

// NewQuestions needs to know whether there is a connection to the broker: without
// one, no answer says nothing of those who are asked.
func NewQuestions(up func() bool, log *slog.Logger) *Questions {
	return &Questions{up: up, log: log, silent: make(map[string]bool)}
}

// Answers is what one round of questions brought; what is nil is not known.
type Answers struct {
	Store       *Store
	Proofs      []Proof
	Quarantined *int // batches, 10,000 meaning that many or more
}

// Store is whether InfluxDB answered a small question, and how long that took.
type Store struct {
	OK   bool
	Took time.Duration
}

// Proof is what the ledger says of a gateway.
type Proof struct {
	Gateway string   `json:"gateway"`
	Missing uint64   `json:"missing"`
	Clones  []string `json:"clones"`
}

// Ask asks once and waits for the answers, for 10 s or where the ledger is slow a
// minute and a half. The question to InfluxDB is about one place, which need not
// exist. The caller asks again after [AskEvery].
func (q *Questions) Ask(ctx context.Context, asker Asker, about device.ID) (a Answers) {
	if !q.up() {
		return a
	}
	if a.Store = q.askStore(ctx, asker, about); a.Store == nil || !a.Store.OK || time.Now().Before(q.due) {
		return a // the others live in the store
	}
	begin := time.Now()
	var err error
	a.Proofs, err = askLedger(ctx, asker)
	q.note(ctx, "ledger", err)
	a.Quarantined, err = askQuarantine(ctx, asker)
	q.note(ctx, "quarantine", err)
	q.due = time.Now().Add(ledgerShare*time.Since(begin) - AskEvery)
	return a
}

// note logs who begins to give no answers, and who gives them again. That rules
// about them see nothing meanwhile must show somewhere.
func (q *Questions) note(ctx context.Context, who string, err error) {
	switch silent := err != nil; {
	case silent == q.silent[who] || ctx.Err() != nil:
		return
	case silent:
		q.log.WarnContext(ctx, "no answer for the alerting", slog.String("component", who), slog.Any("err", err))
	default:
		q.log.InfoContext(ctx, "answers for the alerting again", slog.String("component", who))
	}
	q.silent[who] = err != nil
}

// askStore gives nil when it cannot be told how InfluxDB is.
func (q *Questions) askStore(ctx context.Context, asker Asker, about device.ID) *Store {
	begin := time.Now()
	parameters := map[string]string{"from": strconv.FormatInt(begin.Add(-lately).Unix(), 10), "operation": "last", "format": "series"}
	if !about.IsZero() {
		parameters["id"] = about.String()
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := ask(asking, asker, "query/influx_query/sp/"+device.Power, parameters, func(json.RawMessage) error { return nil })
	store := &Store{Took: time.Since(begin)}
	switch text := answer.ErrorText(); {
	case ctx.Err() != nil || !q.up():
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return store
	case err != nil:
		return nil
	case text == "":
		store.OK = true
		return store
	case isMistake(text, parameters) || strings.HasSuffix(text, "is busy, try again"):
		return nil // InfluxDB was not asked
	default:
		return store
	}
}

// isMistake tells an answer that blames the question: it names a parameter.
func isMistake(text string, parameters map[string]string) bool {
	name, _, _ := strings.Cut(text, ":")
	_, ours := parameters[name]
	return ours || name == "data" || name == "topic"
}

// askLedger gives a proof for each source that the ledger knows.
func askLedger(ctx context.Context, asker Asker) ([]Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, longPatience)
	defer cancel()
	proofs := []Proof{}
	add := func(part json.RawMessage) error {
		some, err := decode[[]*Proof](part)
		for _, p := range some {
			if p != nil && len(proofs) < maxGateways { // one that is too long is null
				proofs = append(proofs, *p)
			}
		}
		return err
	}
	answer, err := ask(ctx, asker, "query/ledger_query", nil, add)
	if err == nil && len(answer.Error) > 0 {
		err = fmt.Errorf("the ledger: %s", answer.ErrorText())
	}
	if err != nil {
		return nil, err
	}
	return proofs, nil
}

// askQuarantine counts what was refused and not handed in again since.
func askQuarantine(ctx context.Context, asker Asker) (*int, error) {
	ctx, cancel := context.WithTimeout(ctx, longPatience)
	defer cancel()
	open, parameters := 0, map[string]string{"limit": strconv.Itoa(pageLimit)}
	for range pages {
		answer, err := ask(ctx, asker, "query/ledger_query/quarantine", parameters, func(json.RawMessage) error { return errMalformed })
		if err == nil && len(answer.Error) > 0 {
			err = fmt.Errorf("the quarantine: %s", answer.ErrorText())
		}
		if err != nil {
			return nil, err
		}
		page, err := decode[struct {
			Items []struct {
				Replayed *device.Micros `json:"replayed"`
			} `json:"items"`
			Next *string `json:"next"`
		}](answer.Data)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if item.Replayed == nil {
				open++
			}
		}
		if page.Next == nil || *page.Next == "" {
			break
		}
		parameters["cursor"] = *page.Next
	}
	return &open, nil
}

// ask hands an answer in one piece to part as well, if it is an array.
func ask(ctx context.Context, asker Asker, topic string, parameters map[string]string, part func(json.RawMessage) error) (bus.Envelope, error) {
	if parameters == nil {
		parameters = map[string]string{}
	}
	data, err := json.Marshal(parameters)
	if err != nil {
		return bus.Envelope{}, fmt.Errorf("encode a question: %w", err)
	}
	answer, err := asker.Once(ctx, topic, data, part)
	if err == nil && answer.Part == nil && len(answer.Error) == 0 && strings.HasPrefix(string(answer.Data), "[") {
		err = part(answer.Data)
	}
	return answer, err
}

// About is a place to ask InfluxDB about; the zero ID while none is known.
func (s *Signals) About() device.ID {
	if all := s.house.Devices(""); len(all) > 0 {
		return all[0]
	}
	return device.ID{}
}

// Take makes samples of answers. What is not known makes none, and no source that
// the registry does not name as a gateway.
func (s *Signals) Take(a Answers, now device.Micros) []engine.Sample {
	s.begin(now)
	if a.Store != nil {
		s.add(engine.Subject{}, "site.store", truth(a.Store.OK))
		if a.Store.OK {
			s.add(engine.Subject{}, "site.store_time", a.Store.Took.Seconds())
		}
	}
	for _, p := range a.Proofs {
		if s.registered(p.Gateway) != nil {
			s.add(engine.Subject{Gateway: p.Gateway}, "gateway.missing", float64(p.Missing))
			s.add(engine.Subject{Gateway: p.Gateway}, "gateway.clones", float64(len(p.Clones)))
		}
	}
	if a.Quarantined != nil {
		s.add(engine.Subject{}, "site.quarantine", float64(*a.Quarantined))
	}
	return s.out
}

// TakeDisk makes a sample of how full the disk of the cloud's data is, in percent.
func (s *Signals) TakeDisk(percent float64, now device.Micros) []engine.Sample {
	s.begin(now)
	s.add(engine.Subject{}, "site.disk", percent)
	return s.out
}

// TakeReceivers makes a sample of how many receivers of notifications do not take
// them.
func (s *Signals) TakeReceivers(failing int, now device.Micros) []engine.Sample {
	s.begin(now)
	s.add(engine.Subject{}, "site.receivers_failing", float64(failing))
	return s.out
}
