package influxdata_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// noon is the clock of hooks under test: 2024-01-15T12:00:00Z.
const noon = device.Micros(1_705_320_000_000_000)

// refusal is what a store says to content that it will never take.
type refusal struct{ expired bool }

func (refusal) Error() string           { return "status 400: partial write" }
func (refusal) Refused() bool           { return true }
func (r refusal) BeyondRetention() bool { return r.expired }

var errNotNow = errors.New("status 503: not now")

// stand is a hook between a store, a ledger and a bus that note in one list what
// happens, in its order.
type stand struct {
	*influxdata.Hook
	t testing.TB

	mu      sync.Mutex // protects what follows
	steps   []string   // "write sp", "enter", "send <topic>"
	lines   map[string]string
	entries []contract.Entry
	sent    []sent
	paused  []time.Duration

	// What goes wrong; nil for nothing.
	onWrite func(database, lines string) error
	onEnter func(entries []contract.Entry) error
	onPause func(n int) error
}

type sent struct {
	topic   string
	payload string
}

func newHook(t testing.TB, change func(*influxdata.Options)) *stand {
	t.Helper()
	s := &stand{t: t, lines: make(map[string]string)}
	options := influxdata.Options{Store: s, Ledger: s, Now: func() device.Micros { return noon }, Pause: s.pause}
	if change != nil {
		change(&options)
	}
	s.Hook = influxdata.New(options, quiet)
	return s
}

func (s *stand) Write(_ context.Context, database string, lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onWrite != nil {
		if err := s.onWrite(database, string(lines)); err != nil {
			return err
		}
	}
	s.steps = append(s.steps, "write "+database)
	s.lines[database] += string(lines)
	return nil
}

func (s *stand) Enter(_ context.Context, entries []contract.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onEnter != nil {
		if err := s.onEnter(entries); err != nil {
			return err
		}
	}
	s.steps = append(s.steps, "enter")
	s.entries = append(s.entries, entries...)
	return nil
}

// pause notes and returns at once; a test that wants an end gives onPause.
func (s *stand) pause(ctx context.Context, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = append(s.paused, d)
	if s.onPause != nil {
		if err := s.onPause(len(s.paused)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *stand) send(topic string, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, "send "+topic)
	s.sent = append(s.sent, sent{topic, string(payload)})
	return nil
}

func (s *stand) handle(messages ...bus.Message) { s.Handle(s.t.Context(), messages, s.send) }

// receipts gives what was said of batches, by list and id.
func (s *stand) receipts() map[string][]string {
	s.t.Helper()
	out := make(map[string][]string)
	for _, m := range s.sent {
		var answer struct {
			Data map[string][]struct{ ID, Digest string } `json:"data"`
		}
		if err := json.Unmarshal([]byte(m.payload), &answer); err != nil {
			s.t.Fatal(err)
		}
		for list, items := range answer.Data {
			for _, item := range items {
				out[list] = append(out[list], item.ID)
			}
		}
	}
	for _, ids := range out {
		slices.Sort(ids)
	}
	return out
}

// pack is a message of gateway g with an id and records.
func pack(id, records string) bus.Message { return packOf("g", id, records) }

func packOf(source, id, records string) bus.Message {
	payload := `{"id":"` + id + `","response_topic":"responses/` + source + `/receipts","data":[` + records + `]}`
	return bus.Message{Topic: "data/" + source + "/influx_data/sp/" + id, Payload: []byte(payload)}
}

// reading is a record of a place with a number.
func reading(place string) string {
	return `{"n":"sp_` + place + `/power","u":"W","t":1705319000,"v":1}`
}

// counted tells how many points of a place the database sp got.
func (s *stand) counted(place string) int { return strings.Count(s.lines["sp"], "id=sp_"+place+",") }
