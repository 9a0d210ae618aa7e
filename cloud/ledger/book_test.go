package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database gives a client of a real InfluxDB.
func database(t *testing.T) *influx.Client {
	t.Helper()
	s := influxtest.Start(t)
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = s.URL, config.Secret(s.Token), s.Org
	c, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// source is a name that no other run has: the ledger's database has one name,
// and the server may be anybody's.
func source() string { return fmt.Sprintf("edge-%d", time.Now().UnixNano()) }

func clock(at *device.Micros) func() device.Micros {
	return func() device.Micros { return *at }
}

// prove gives the proof of one gateway.
func prove(t *testing.T, r *ledger.Reader, gateway string) ledger.Proof {
	t.Helper()
	proofs, err := r.Prove(t.Context(), gateway, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(proofs) == 0 {
		return ledger.Proof{}
	}
	return proofs[0]
}

func TestWhatABookWritesAReaderReads(t *testing.T) {
	c, gateway := database(t), source()
	now := start
	book, state := ledger.NewBook(c, "00000000000000aa", clock(&now)), ledger.NewState()
	reader := ledger.NewReader(c)
	reader.Now = clock(&now)
	if p := prove(t, reader, gateway); p.Stored != 0 {
		t.Errorf("a ledger that is not there yet says %+v", p)
	}
	odd := func(e *contract.Entry) { e.Source = gateway }
	list := []contract.Entry{
		entry(1, 1, nil, odd), entry(1, 3, nil, odd), entry(2, 1, id(1, 5), odd),
		entry(1, 4, nil, odd, func(e *contract.Entry) { e.Quarantined, e.Refused = true, 3 }),
		entry(1, 5, nil, odd, func(e *contract.Entry) { e.Expired, e.Estimated = true, &contract.Span{From: at(1), To: at(9)} }),
		entry(2, 2, id(1, 5), odd, func(e *contract.Entry) {
			e.Replaces, e.Readings = ranges("0000000000000001-2..2", "0000000000000002-7..9"), 8
		}),
		{Source: gateway, ID: `of a stranger, "quoted" \ and =`, Digest: contract.Digest{1, 2, 3}, Readings: 4, From: at(1), To: at(2)},
		entry(1, 3, nil, odd, func(e *contract.Entry) { e.Digest = contract.Digest{0xff} }),
	}
	if err := book.Enter(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	head := ledger.Head{
		Gateway: gateway, Epoch: 3, Sequence: 4, Previous: id(2, 12), Oldest: id(2, 11), SetAside: []contract.BatchID{*id(2, 10), *id(1, 77)},
		Uptime: 5 * second, Behind: at(2), Tombstoned: ranges("0000000000000003-1..2"), Earlier: []contract.Run{{Epoch: 9}, {Epoch: 2, Last: 12}, {Epoch: 1, Last: 5}},
	}
	if err := book.EnterHead(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	for i, e := range list {
		state.Add(e, now+device.Micros(i))
	}
	head.At, head.Instance = now+device.Micros(len(list)), "00000000000000aa"
	state.AddHead(head)
	want := state.Prove(gateway, 0, 0, now)
	if diff := cmp.Diff(want, prove(t, reader, gateway)); diff != "" {
		t.Errorf("read back (-want +got)\n%s", diff)
	}
	if want.Stored != 6 || want.Unnumbered != 1 || want.Missing != 4 || want.Waiting != 7 || len(want.Clones) != 1 {
		t.Errorf("the story is not what it should be: %+v", want)
	}
	if diff := cmp.Diff(want, prove(t, reader, gateway)); diff != "" {
		t.Errorf("asked again\n%s", diff)
	}
}

// Each instance has a position of its own: what one whose clock is hours behind
// adds is read though others are far ahead.
func TestAnInstanceWhoseClockIsHoursBehindIsRead(t *testing.T) {
	c, gateway := database(t), source()
	odd := func(e *contract.Entry) { e.Source = gateway }
	now, behind := start, start-5*3600*second
	right, late := ledger.NewBook(c, "0000000000000001", clock(&now)), ledger.NewBook(c, "0000000000000002", clock(&behind))
	reader := ledger.NewReader(c)
	reader.Now = clock(&now)
	for n := uint64(1); n <= 6; n++ {
		now, behind = now+second, behind+second
		book := right
		if n%2 == 0 {
			book = late
		}
		if err := book.Enter(t.Context(), []contract.Entry{entry(1, n, nil, odd)}); err != nil {
			t.Fatal(err)
		}
		if p := prove(t, reader, gateway); p.Stored != n || p.Epochs[0].CompleteTo != n {
			t.Fatalf("after %d entries: %+v", n, p)
		}
	}
}

// A clock that goes back within a run of a hook must not put entries before
// those that readers have read.
func TestTheTimesOfABookGrowWhateverItsClockDoes(t *testing.T) {
	c, gateway := database(t), source()
	now := start
	book, reader := ledger.NewBook(c, "0000000000000003", clock(&now)), ledger.NewReader(c)
	reader.Now = clock(&now)
	for n := uint64(1); n <= 5; n++ {
		e := entry(1, n, nil, func(e *contract.Entry) { e.Source = gateway })
		if err := book.Enter(t.Context(), []contract.Entry{e}); err != nil {
			t.Fatal(err)
		}
		if p := prove(t, reader, gateway); p.Stored != n {
			t.Fatalf("after %d entries the reader has %d", n, p.Stored)
		}
		now -= 3600 * second
	}
}

// slow holds back the first write until told.
type slow struct {
	ledger.Store
	mu    sync.Mutex // protects what follows
	held  bool
	wrote []string
	hold  chan struct{}
	begun chan struct{}
}

func (s *slow) Write(_ context.Context, _ string, lines []byte) error {
	s.mu.Lock()
	first := !s.held
	s.held = true
	s.mu.Unlock()
	if first {
		close(s.begun)
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = append(s.wrote, string(lines))
	return nil
}

// Two writers of one hook share a book. If the later times could be written
// first, a reader in between would never see the earlier ones.
func TestEntriesBecomeVisibleInTheOrderOfTheirTimes(t *testing.T) {
	s := &slow{hold: make(chan struct{}), begun: make(chan struct{})}
	now := start
	book := ledger.NewBook(s, "0000000000000004", clock(&now))
	var writers sync.WaitGroup
	writers.Go(func() {
		if err := book.Enter(t.Context(), []contract.Entry{entry(1, 1, nil)}); err != nil {
			t.Error(err)
		}
	})
	<-s.begun
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := book.Enter(ctx, []contract.Entry{entry(1, 2, nil)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second did not wait for the first: %v", err)
	}
	close(s.hold)
	writers.Wait()
	if err := book.Enter(t.Context(), []contract.Entry{entry(1, 3, nil)}); err != nil {
		t.Error(err)
	}
	if len(s.wrote) != 2 || !strings.Contains(s.wrote[0], "0000000000000001-1") || !strings.Contains(s.wrote[1], "0000000000000001-3") {
		t.Errorf("written: %q", s.wrote)
	}
}
