package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	hookwebhook "github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/senml"
	"github.com/wattline/wattline/shared/webhook"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

// secret signs in all tests.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// site is a real store, a real broker, and the storing hook between them.
type site struct {
	t        *testing.T
	influx   *influxtest.Server
	client   *influx.Client
	mqtt     *bustest.Mosquitto
	link     *bus.Link
	database string
	sequence uint64
	epoch    contract.Epoch
	receipts chan string
	stores   chan struct{}   // tells each time the storing hook listens
	want     map[string]bool // what was stored
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, influx: influxtest.StartEmbedded(t, nil), mqtt: bustest.Start(t), database: influxtest.Database(t), epoch: contract.Epoch(time.Now().UnixNano()), receipts: make(chan string, 10_000), want: map[string]bool{}}
	s.client = connect(t, s.influx.URL, s.influx.Token)
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); all.Wait() })
	store := influxdata.New(influxdata.Options{Store: s.client, Ledger: ledger.NewBook(s.client, fmt.Sprintf("%016x", time.Now().UnixNano()), nil)}, quiet)
	stores := make(chan struct{}, 100)
	all.Go(func() {
		_ = store.Run(ctx, bus.Options{URL: s.mqtt.URL, Up: func(context.Context, *bus.Session) error { stores <- struct{}{}; return nil }})
	})
	s.link = bus.NewLink(bus.Options{URL: s.mqtt.URL, ClientID: "test", Up: func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/edge-f1/#", s.receipt)
	}}, quiet)
	all.Go(func() { _ = s.link.Run(ctx) })
	<-stores
	if err := s.link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stores = stores
	return s
}

func connect(t testing.TB, url, token string) *influx.Client {
	t.Helper()
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token = url, config.Secret(token)
	c, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *site) receipt(m bus.Message) {
	e, err := bus.Decode(m.Payload)
	var r contract.Receipts
	if err != nil || json.Unmarshal(e.Data, &r) != nil {
		return
	}
	for _, one := range r.All() {
		s.receipts <- one.ID.String()
	}
}

// reading is a record as receivers tell it.
func reading(r senml.Record) string {
	return fmt.Sprintf("%s %s %d %v %s", r.Name, r.Unit, r.Time, r.Value, r.Text)
}

// start is when the readings of tests begin.
func start() device.Micros {
	return device.MicrosOf(time.Now().Add(-10 * time.Minute).Truncate(time.Second))
}

// batch is a batch of n seconds of two plugs, from second first on.
func (s *site) batch(at device.Micros, first, n int) []senml.Record {
	var records []senml.Record
	for i := range n {
		for plug := range 2 {
			when, name := at.Add(time.Duration(first+i)*time.Second), fmt.Sprintf("sp_f1.g%d/", plug)
			records = append(records,
				senml.Record{Name: name + "power", Unit: "W", Time: when, Absolute: true, Kind: senml.Number, Value: float64(first+i) + 0.25},
				senml.Record{Name: name + "energy", Unit: "Wh", Time: when, Absolute: true, Kind: senml.Number, Value: float64(first + i)},
				senml.Record{Name: name + "status", Unit: "/", Time: when, Absolute: true, Kind: senml.Bool, Value: 1})
		}
	}
	return records
}

// publish stores batches and waits for their receipts.
func (s *site) publish(batches ...[]senml.Record) {
	s.t.Helper()
	waits := map[string]bool{}
	for _, records := range batches {
		s.sequence++
		id := contract.BatchID{Epoch: s.epoch, Sequence: s.sequence}
		pack, err := senml.Append(nil, records)
		if err != nil {
			s.t.Fatal(err)
		}
		head := &contract.BatchHead{Readings: len(records), From: records[0].Time, To: records[len(records)-1].Time}
		payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic("edge-f1"), Batch: head, Data: pack}.Encode()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range records {
			s.want[reading(r)] = true
		}
		waits[id.String()] = true
		topic := bus.Data{Source: "edge-f1", Hook: "influx_data", Database: s.database, Batch: id.String()}
		if err := s.link.Publish(s.t.Context(), bus.Message{Topic: topic.String(), Payload: bus.Compress(payload)}); err != nil {
			s.t.Fatal(err)
		}
	}
	for deadline := time.After(time.Minute); len(waits) > 0; {
		select {
		case id := <-s.receipts:
			delete(waits, id)
		case <-deadline:
			s.t.Fatalf("no receipts for %v", slices.Sorted(maps.Keys(waits)))
		}
	}
}

// backlog stores n batches of ten seconds.
func (s *site) backlog(at device.Micros, from, n int) {
	s.t.Helper()
	var all [][]senml.Record
	for i := range n {
		all = append(all, s.batch(at, 10*(from+i), 10))
	}
	s.publish(all...)
}

// inbox is a receiver.
type inbox struct {
	t   *testing.T
	url string

	mu       sync.Mutex                                               // protects what follows
	answer   func(n int, w http.ResponseWriter, r *http.Request) bool // false: not taken
	asked    int
	got      map[string]int // readings, how often
	ids      []string       // of requests taken
	bodies   map[string]string
	most     int // records of one request
	mistakes []string
}

func newInbox(t *testing.T) *inbox {
	b := &inbox{t: t, got: map[string]int{}, bodies: map[string]string{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *inbox) set(answer func(n int, w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	b.asked++
	answer, n := b.answer, b.asked
	b.mu.Unlock()
	if answer != nil && !answer(n, w, r) {
		return
	}
	key, _ := webhook.ParseSecret(secret)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := key.Verify(r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), r.Header.Get("webhook-signature"), body, time.Now()); err != nil {
		b.mistakes = append(b.mistakes, err.Error())
	}
	records, err := senml.Decode(body, 100_000)
	if err != nil || r.Header.Get("Content-Type") != "application/senml+json" {
		b.mistakes = append(b.mistakes, fmt.Sprintf("%v: %.200s", err, body))
	}
	b.most = max(b.most, len(records))
	for i, one := range records {
		if i > 0 && one.Time < records[i-1].Time {
			b.mistakes = append(b.mistakes, "not in order")
		}
		b.got[reading(one)]++
	}
	id := r.Header.Get("webhook-id")
	if before, known := b.bodies[id]; known && before != string(body) {
		b.mistakes = append(b.mistakes, "one id, two bodies")
	}
	b.ids, b.bodies[id] = append(b.ids, id), string(body)
}

// await waits until everything that was stored has come.
func (b *inbox) await(want map[string]bool) {
	b.t.Helper()
	b.until(func() bool {
		for one := range want {
			if b.got[one] == 0 {
				return false
			}
		}
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for one := range b.got {
		if !want[one] {
			b.t.Errorf("%s was never stored", one)
			break
		}
	}
	if len(b.mistakes) > 0 {
		b.t.Errorf("%d mistakes: %s", len(b.mistakes), strings.Join(b.mistakes[:min(len(b.mistakes), 5)], "\n"))
	}
}

// until waits until something is so; it is asked with the lock held.
func (b *inbox) until(ready func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b.mu.Lock()
		ok := ready()
		n := len(b.got)
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("not after 30 s; %d readings came", n)
		}
	}
}

// answered waits until the hook knows that the last request was taken: one that is
// stopped before repeats it.
func (b *inbox) answered(m *metrics.Registry) {
	b.t.Helper()
	b.until(func() bool { return int(value(b.t, m, `wattline_webhook_requests_total{receiver="r0"}`)) >= len(b.ids) })
}

// repeats counts readings that came more than once.
func (b *inbox) repeats() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, times := range b.got {
		n += times - 1
	}
	return n
}

// run starts the hook with receivers; stop ends it.
func (s *site) run(dir string, change func(*hookwebhook.Config), boxes ...*inbox) (m *metrics.Registry, stop func()) {
	s.t.Helper()
	cfg := hookwebhook.DefaultConfig()
	for i, b := range boxes {
		cfg.Receivers = append(cfg.Receivers, hookwebhook.Receiver{
			Name: fmt.Sprintf("r%d", i), URL: b.url, Secret: secret, Databases: []string{s.database}, MaxReadings: 100, Timeout: 2 * time.Second, Start: "2020-01-01T00:00:00Z",
		})
	}
	if change != nil {
		change(&cfg)
	}
	m = metrics.New()
	h, err := hookwebhook.New(cfg, hookwebhook.Options{Feed: ledger.NewFeed(s.client), Store: s.client, Data: dir, Metrics: m}, quiet)
	if err != nil {
		s.t.Fatal(err)
	}
	h.Hurry()
	ctx, cancel := context.WithCancel(context.Background())
	done, up := make(chan error, 1), make(chan struct{})
	var once sync.Once
	options := bus.Options{URL: s.mqtt.URL, Up: func(context.Context, *bus.Session) error { once.Do(func() { close(up) }); return nil }}
	go func() { done <- h.Run(ctx, options) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(stop)
	select {
	case <-up:
	case <-time.After(10 * time.Second):
		s.t.Fatal("the hook does not listen")
	}
	return m, stop
}

// value reads a metric.
func value(t *testing.T, m *metrics.Registry, name string) (v float64) {
	t.Helper()
	var text strings.Builder
	if err := m.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(rest, &v)
			return v
		}
	}
	t.Errorf("no metric %s", name)
	return 0
}
