package influxdata_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/shared/bus"
)

// moody is a server in the place of InfluxDB 1.8 that answers the first writes
// in one way, and takes the others.
type moody struct {
	bad     int
	respond http.HandlerFunc

	mu     sync.Mutex // protects what follows
	writes int
	stored string
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Influxdb-Version", "1.8.10")
	if r.URL.Path != "/api/v2/write" {
		_, _ = io.WriteString(w, `{"results":[{}]}`)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	m.writes++
	n := m.writes
	m.mu.Unlock()
	if n <= m.bad {
		m.respond(w, r)
		return
	}
	m.mu.Lock()
	m.stored += string(body)
	m.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) }
}

// Whatever InfluxDB answers but yes and a verdict on the content: nothing is
// said, the same is sent until it is stored, and then there is a receipt.
func TestAnswersThatAreNoVerdictSayNothing(t *testing.T) {
	for name, respond := range map[string]http.HandlerFunc{
		"401": status(401, `{"error":"unauthorized"}`), "403": status(403, `{"error":"forbidden"}`), "404": status(404, `{"error":"database not found: \"sp\""}`),
		"413": status(413, `{"error":"Request Entity Too Large"}`), "429": status(429, ``), "500": status(500, `{"error":"engine: closed"}`), "502": status(502, `<html>`), "503": status(503, ``),
		"400 of something in between": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("X-Influxdb-Version")
			http.Error(w, "bad request", http.StatusBadRequest)
		},
		"a series limit": status(400, `{"error":"partial write: max-series-per-database limit exceeded: (1000000) dropped=1"}`),
		"a cut connection": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		},
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			m := &moody{bad: 6, respond: respond}
			switch name {
			case "413":
				m.bad = 1 // sent in halves at once
			case "no answer":
				m.bad = 2
			}
			server := httptest.NewServer(m)
			defer server.Close()
			cfg := influx.DefaultConfig()
			cfg.URL, cfg.WriteTimeout = server.URL, time.Second
			client, err := influx.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			s := newHook(t, func(o *influxdata.Options) { o.Store = client })
			early := 0
			s.onPause = func(int) error {
				early += len(s.sent) + len(s.entries)
				return nil
			}
			s.handle(pack("a-1", reading("g1")), pack("a-2", reading("g2")))
			if early != 0 || len(s.paused) == 0 && name != "413" {
				t.Errorf("said %d things before it was stored, waited %d times", early, len(s.paused))
			}
			if got := s.receipts(); !slices.Equal(got["stored"], []string{"a-1", "a-2"}) || len(got) != 1 {
				t.Errorf("receipts %v", got)
			}
			if !strings.Contains(m.stored, "sp_g1") || !strings.Contains(m.stored, "sp_g2") {
				t.Errorf("stored %s", m.stored)
			}
		})
	}
}

// What is refused stays in order even while InfluxDB goes away in the middle of
// finding it.
func TestARefusalAndAnOutageTogether(t *testing.T) {
	s := newHook(t, nil)
	tries := 0
	s.onWrite = func(database, lines string) error {
		if tries++; tries%3 != 0 {
			return errNotNow
		}
		if database == "sp" && strings.Contains(lines, "sp_g2") {
			return refusal{}
		}
		return nil
	}
	var messages []bus.Message
	for _, place := range []string{"g1", "g2", "g3", "g4"} {
		messages = append(messages, pack("a-"+place[1:], reading(place)))
	}
	s.handle(messages...)
	if got := s.receipts(); !slices.Equal(got["stored"], []string{"a-1", "a-3", "a-4"}) || !slices.Equal(got["quarantined"], []string{"a-2"}) {
		t.Errorf("receipts %v", got)
	}
}
