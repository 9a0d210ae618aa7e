package influxquery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// now is the clock of every component under test: 2024-01-15T12:00:00Z.
var now = time.Unix(1705320000, 0)

// stand is a component in front of a real InfluxDB with a database of its own.
type stand struct {
	t         testing.TB
	store     *influx.Client
	database  string
	component *influxquery.Component
}

func newStand(t testing.TB) *stand {
	t.Helper()
	s, _ := newStandOn(t)
	return s
}

func newStandOn(t testing.TB) (*stand, *influxtest.Server) {
	t.Helper()
	server := influxtest.Start(t)
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = server.URL, config.Secret(server.Token), server.Org
	client, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := &stand{t: t, store: client, database: influxtest.Database(t)}
	if err := client.EnsureDatabase(t.Context(), s.database); err != nil {
		t.Fatal(err)
	}
	s.component = newComponent(client, 1)
	return s, server
}

// newComponent has the given default floor, unless it is unknown (-1000).
func newComponent(store influxquery.Store, floor int) *influxquery.Component {
	return influxquery.New(influxquery.Options{
		Store: store, DefaultFloor: func() (int, bool) { return floor, floor != unknownFloor },
		Now: func() time.Time { return now },
	}, quiet)
}

const unknownFloor = -1000

// write stores lines of line protocol, with times in microseconds.
func (s *stand) write(lines ...string) {
	s.t.Helper()
	if err := s.store.Write(s.t.Context(), s.database, []byte(strings.Join(lines, "\n"))); err != nil {
		s.t.Fatal(err)
	}
}

// point is a line of a place with these tags; tags begin with id=.
func point(measurement, tags string, seconds float64, value float64) string {
	return fmt.Sprintf("%s,%s value=%v %d", measurement, tags, value, int64(seconds*1e6))
}

// gathered joins the parts of an answer as an asker does.
type gathered struct{ parts []json.RawMessage }

func (g *gathered) Part(_ context.Context, data json.RawMessage) error {
	g.parts = append(g.parts, bytes.Clone(data))
	return nil
}

// parameters makes the data of a request from "key=value" texts.
func parameters(pairs ...string) json.RawMessage {
	values := make(map[string]string)
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	data, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	return data
}

// ask gives the parts of an answer joined by a line break.
func (s *stand) ask(measurement string, pairs ...string) string {
	s.t.Helper()
	var g gathered
	r := hook.Request{Subpath: s.database + "/" + measurement, Data: parameters(pairs...), Wanted: true}
	if err := s.component.Handle(s.t.Context(), r, &g); err != nil {
		s.t.Fatalf("%s %v: %v", measurement, pairs, err)
	}
	var b strings.Builder
	for i, part := range g.parts {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.Write(part)
	}
	return b.String()
}
