package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// archive is what fill put into an outbox: so many readings of each plug.
type archive struct {
	plugs []string
	each  int
}

// archivePlugs is how many plugs an archive is of: a batch has one reading of
// each, as of a second of a floor.
const archivePlugs = 100

// fill gives a gateway that does not run a backlog of about so many readings, by
// the code that would have: a run of some hours ago.
func (e *edge) fill(readings int) {
	e.t.Helper()
	if err := os.MkdirAll(e.data, 0o750); err != nil {
		e.t.Fatal(err)
	}
	seconds := readings / archivePlugs
	at := device.MicrosOf(time.Now().Add(-time.Duration(seconds+60) * time.Second))
	cfg := outbox.DefaultConfig()
	cfg.Path = filepath.Join(e.data, "outbox.db")
	if e.plain {
		cfg.Compression = outbox.NoCompression
	}
	box, err := outbox.Open(outbox.Options{
		Config: cfg, Gateway: e.id, Epoch: contract.Epoch(rand.Uint64()), Clock: func() (device.Micros, bool) { return at, true },
		Boot: func() (string, float64) { return "before", 1 }, NoSync: true, FreeDisk: func(string) (int64, error) { return 1 << 40, nil },
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		e.t.Fatal(err)
	}
	a := archive{each: seconds}
	ids := make([]device.ID, archivePlugs)
	for i := range ids {
		if ids[i], err = device.Parse(fmt.Sprintf("sp_f%d.w.r%d.c%d", e.floor, i/10, i%10)); err != nil {
			e.t.Fatal(err)
		}
		a.plugs = append(a.plugs, ids[i].String())
	}
	for n := 1; n <= seconds; n++ {
		for i, id := range ids {
			energy, power := device.WattHours(n), device.Watts(n%3000)
			r := device.Reading{Device: id, Time: at + device.Micros(i), Measurement: device.Measurement{Power: &power, Energy: &energy}}
			if err := box.Accept(r, true); err != nil {
				e.t.Fatal(err)
			}
		}
		if err := box.Commit(); err != nil {
			e.t.Fatal(err)
		}
		at += 1e6
	}
	if err := box.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.archive = a
	e.keepWitness()
}

// countArchive finds what of an archive is not there exactly once.
func (e *edge) countArchive(points map[string][]stored, r *result) {
	e.t.Helper()
	lost, doubled := 0, 0
	for _, plug := range e.archive.plugs {
		seen := make(map[int]int)
		for _, x := range points[plug] {
			seen[x.number]++
		}
		r.points += len(points[plug])
		lost += e.archive.each - len(seen)
		doubled += len(points[plug]) - len(seen)
	}
	if lost > 0 || doubled > 0 {
		e.t.Errorf("%s: of a backlog of %d readings %d are lost, %d doubled", e.id, e.archive.each*len(e.archive.plugs), lost, doubled)
	}
	r.lost += lost
	r.doubled += doubled
}

// watch listens to the retained states of a gateway and keeps the worst of them.
type watch struct {
	mu     sync.Mutex
	newest map[string]time.Time // measurement time
	worst  time.Duration        // from measurement to arrival
	heard  int
}

// watchStates listens until the test ends.
func (s *site) watchStates(e *edge) *watch {
	w := &watch{newest: make(map[string]time.Time)}
	ctx, stop := context.WithCancel(context.Background())
	link := bus.NewLink(bus.Options{
		URL: "tcp://" + s.ip + ":1883", ClientID: "watch",
		Up: func(ctx context.Context, session *bus.Session) error {
			return session.Subscribe(ctx, "state/"+e.id+"/#", w.hear)
		},
	}, slog.New(slog.DiscardHandler))
	var running sync.WaitGroup
	running.Go(func() { _ = link.Run(ctx) })
	s.t.Cleanup(func() { stop(); running.Wait() })
	return w
}

func (w *watch) hear(m bus.Message) {
	records, err := senml.Decode(m.Payload, 100)
	if err != nil || len(records) == 0 || m.Retained {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := records[0].Time.Time()
	w.newest[m.Topic] = at
	w.worst = max(w.worst, time.Since(at))
	w.heard++
}

// stale is how old the oldest of the newest states is.
func (w *watch) stale() (age time.Duration, plugs int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.newest {
		age = max(age, time.Since(at))
	}
	return age, len(w.newest)
}

// heardSoFar is how many states came, and the slowest from measurement to arrival.
func (w *watch) heardSoFar() (heard int, worst time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard, w.worst
}

// TestBacklogDrainsWhilePollingGoesOn: days of backlog go out in order, and what
// is measured meanwhile shows at once in state/...
//
// Were states made from what is forwarded, they would be as old as the backlog.
func TestBacklogDrainsWhilePollingGoesOn(t *testing.T) {
	t.Parallel()
	s := prepare(t, layout{gateways: 1, plugs: 5})
	e := s.edges[0]
	readings := count(t, "WATTLINE_BACKLOG", 100_000, 3_000_000)
	e.fill(readings)
	s.startAll()
	begin := time.Now()
	w := s.watchStates(e)
	eventually(t, 20*time.Second, "states of all plugs arrive", func() bool { _, plugs := w.stale(); return plugs == len(e.plugs) })
	var oldest time.Duration
	for {
		waiting := e.waiting()
		age, _ := w.stale()
		oldest = max(oldest, age)
		if waiting.Batches <= 3 {
			break
		}
		if time.Since(begin) > time.Duration(readings/2000+60)*time.Second {
			t.Fatalf("%d readings still wait", waiting.Readings)
		}
		pause(100 * time.Millisecond)
	}
	took := time.Since(begin)
	heard, worst := w.heardSoFar()
	t.Logf("%d readings drained in %v, %.0f/s; the oldest state was %v old, %d came, the slowest %v after its measurement; RSS of the gateway %s",
		readings, took.Round(100*time.Millisecond), float64(readings)/took.Seconds(), oldest.Round(10*time.Millisecond), heard, worst.Round(time.Millisecond), memory(e.pid()))
	if oldest > 5*time.Second {
		t.Errorf("a state was %v old while plugs are polled every second", oldest)
	}
	pause(time.Second)
	s.drain(time.Minute)
	s.count()
}

// TestKillsDuringADrain kills everything while a backlog drains.
func TestKillsDuringADrain(t *testing.T) {
	t.Parallel()
	r := dice(t)
	s := prepare(t, layout{gateways: 1, plugs: 2, broker: ownBroker})
	s.edges[0].fill(count(t, "WATTLINE_BACKLOG", 50_000, 1_000_000))
	s.startAll()
	s.reap(r, count(t, "WATTLINE_KILLS", 6, 60))
	s.ready()
	s.drain(5 * time.Minute)
	s.count()
}

// memory is what a process holds, for the log.
func memory(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err.Error()
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
