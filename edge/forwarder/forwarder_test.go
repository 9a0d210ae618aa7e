package forwarder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/edge/forwarder"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	t0    = time.Unix(1_800_000_000, 0)
)

// source is a list of batches.
type source struct {
	blocks  []contract.Block
	aside   map[contract.BatchID]time.Time
	news    chan struct{}
	fail    error
	deletes int
	asked   int // most receipts at once
}

func newSource(n int) *source {
	s := &source{aside: map[contract.BatchID]time.Time{}, news: make(chan struct{}, 1)}
	for range n {
		s.add()
	}
	return s
}

func (s *source) add() contract.Block {
	n := uint64(1)
	if len(s.blocks) > 0 {
		n = s.blocks[len(s.blocks)-1].ID.Sequence + 1
	}
	b := contract.Block{ID: contract.BatchID{Epoch: 7, Sequence: n}, Readings: 100, Payload: fmt.Appendf(nil, "payload %d", n)}
	s.blocks = append(s.blocks, b)
	return b
}

func (s *source) Next(after contract.BatchID, n int) (out []contract.Block, err error) {
	for _, b := range s.blocks {
		if _, aside := s.aside[b.ID]; !aside && b.ID.Sequence > after.Sequence && len(out) < n {
			out = append(out, b)
		}
	}
	return out, s.fail
}

func (s *source) Block(id contract.BatchID) (contract.Block, bool, error) {
	i := slices.IndexFunc(s.blocks, func(b contract.Block) bool { return b.ID == id })
	if i < 0 {
		return contract.Block{}, false, s.fail
	}
	return s.blocks[i], true, s.fail
}

func (s *source) Delete(receipts ...contract.Receipt) (released []contract.BatchID, err error) {
	s.asked = max(s.asked, len(receipts))
	if s.fail != nil {
		return nil, s.fail
	}
	s.deletes++
	for _, r := range receipts {
		s.blocks = slices.DeleteFunc(s.blocks, func(b contract.Block) bool {
			ok := b.ID == r.ID && contract.DigestOf(b.Payload) == r.Digest
			if ok {
				released = append(released, b.ID)
				delete(s.aside, b.ID)
			}
			return ok
		})
	}
	return released, nil
}

func (s *source) SetAside(id contract.BatchID, now time.Time) error { s.aside[id] = now; return nil }
func (s *source) News() <-chan struct{}                             { return s.news }
func (s *source) Aside() (ids []contract.BatchID) {
	for id := range s.aside {
		ids = append(ids, id)
	}
	return ids
}

// rig is a forwarder whose time and connection the test drives.
type rig struct {
	*forwarder.Forwarder
	t    *testing.T
	src  *source
	now  time.Time
	sent []uint64 // sequences, in order
	down bool
}

func newRig(t *testing.T, batches int, rate float64) *rig {
	r := &rig{t: t, src: newSource(batches), now: t0}
	r.Forwarder = forwarder.New(forwarder.Options{
		Source: r.src, ReadingsPerSecond: rate, Random: func() float64 { return 0 },
		Send: func(id contract.BatchID, _ []byte) error {
			if r.down {
				return bus.ErrDown
			}
			r.sent = append(r.sent, id.Sequence)
			return nil
		},
	}, quiet)
	r.Connected()
	return r
}

// step moves the time and gives what was sent.
func (r *rig) step(d time.Duration) []uint64 {
	r.now = r.now.Add(d)
	r.sent = nil
	r.Step(r.t.Context(), r.now)
	return r.sent
}

func (r *rig) answer(sequences ...uint64) {
	r.t.Helper()
	var receipts contract.Receipts
	for _, n := range sequences {
		payload := fmt.Appendf(nil, "payload %d", n)
		receipts.Stored = append(receipts.Stored, contract.Receipt{ID: contract.BatchID{Epoch: 7, Sequence: n}, Digest: contract.DigestOf(payload)})
	}
	data, err := json.Marshal(receipts)
	if err != nil {
		r.t.Fatal(err)
	}
	payload, err := bus.Envelope{Data: data}.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	r.Hear(payload)
}

func upTo(from, to uint64) (out []uint64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

func TestSendsInOrderUpToTheWindow(t *testing.T) {
	r := newRig(t, 100, 0)
	if got := r.step(0); !slices.Equal(got, upTo(1, 64)) {
		t.Fatalf("sent %v", got)
	}
	if got := r.step(400 * time.Millisecond); len(got) != 0 {
		t.Fatalf("sent %v with a full window", got)
	}
	r.answer(3, 1, 2)
	if got := r.step(time.Second); !slices.Equal(got, upTo(65, 67)) {
		t.Errorf("after three receipts: sent %v", got)
	}
	if len(r.src.blocks) != 97 {
		t.Errorf("%d batches left", len(r.src.blocks))
	}
	if !r.InWindow(contract.BatchID{Epoch: 7, Sequence: 4}) || r.InWindow(contract.BatchID{Epoch: 7, Sequence: 3}) {
		t.Error("the window is not what was sent and not answered")
	}
}

func TestOnlyAReceiptReleases(t *testing.T) {
	r := newRig(t, 3, 0)
	r.step(0)
	wrong := contract.Receipt{ID: contract.BatchID{Epoch: 7, Sequence: 1}}
	data, _ := json.Marshal(contract.Receipts{Stored: []contract.Receipt{wrong}})
	for name, e := range map[string]bus.Envelope{
		"an error": {Error: bus.Text("no"), Data: data}, "another digest": {Data: data}, "no receipt": {Data: json.RawMessage(`{}`)},
		"an array": {Data: json.RawMessage(`[1]`)}, "nothing": {}, "a foreign id": {Data: json.RawMessage(`{"stored":[{"id":"x","digest":"y"}]}`)},
	} {
		payload, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.Hear(payload)
		r.step(time.Second)
		if len(r.src.blocks) != 3 {
			t.Fatalf("%s released a batch", name)
		}
	}
	r.Hear([]byte("garbage"))
	r.Hear(nil)
	r.answer(1, 2, 3)
	r.step(time.Second)
	if len(r.src.blocks) != 0 {
		t.Errorf("%d batches left after their receipts", len(r.src.blocks))
	}
}

func TestSendsAgainWithBackOff(t *testing.T) {
	r := newRig(t, 2, 0)
	r.step(0)
	var at []time.Duration
	for range 600 {
		if slices.Contains(r.step(time.Second), 2) { // the oldest, 1, is the probe
			at = append(at, r.now.Sub(t0)/time.Second)
		}
	}
	if want := []time.Duration{10, 30, 70, 150, 270, 390, 510}; !slices.Equal(at, want) {
		t.Errorf("sent again after %v s, want %v", at, want)
	}
}

func TestProbesFindOutSoonThatSomebodyAnswersAgain(t *testing.T) {
	r := newRig(t, 5, 0)
	r.step(0)
	var at []int64
	for range 600 {
		if got := r.step(100 * time.Millisecond); slices.Contains(got, 1) {
			at = append(at, r.now.Sub(t0).Milliseconds())
		}
	}
	if want := []int64{500, 1500, 3500, 7500, 15500, 25500, 35500, 45500, 55500}; !slices.Equal(at, want) {
		t.Errorf("the oldest was sent again after %v ms, want %v", at, want)
	}
	r.answer(1)
	r.step(0)
	if got := r.step(settled); !slices.Equal(got, upTo(2, 5)) {
		t.Errorf("a moment after the first receipt: sent %v, want what is unanswered", got)
	}
	for range 30 {
		if got := r.step(100 * time.Millisecond); len(got) > 0 {
			t.Errorf("sent again: %v", got)
		}
	}
}

// settled is a moment for receipts that were on their way.
const settled = time.Second

func TestWhatWasOvertakenIsSentAgainOnce(t *testing.T) {
	r := newRig(t, 5, 0) // nobody hears these
	r.step(0)
	for range 3 {
		r.src.add()
	}
	if got := r.step(200 * time.Millisecond); !slices.Equal(got, upTo(6, 8)) {
		t.Fatalf("sent %v", got)
	}
	r.answer(6, 7, 8)
	if got := r.step(100 * time.Millisecond); len(got) > 0 {
		t.Fatalf("sent %v before their receipts could have come", got)
	}
	if got := r.step(settled); !slices.Equal(got, upTo(1, 5)) {
		t.Errorf("sent %v, want those sent before the one that was answered for", got)
	}
	r.answer(1, 2, 4, 5)
	for range 80 { // 3 goes back to its back-off
		if got := r.step(100 * time.Millisecond); len(got) > 0 {
			t.Errorf("sent %v at %v", got, r.now.Sub(t0))
		}
	}
}

func TestNothingIsProbedWhileReceiptsCome(t *testing.T) {
	r := newRig(t, 1, 0)
	r.step(0)
	r.answer(1)
	for range 100 {
		b := r.src.add()
		if got := r.step(5 * time.Second); !slices.Equal(got, []uint64{b.ID.Sequence}) {
			t.Fatalf("sent %v, want %d once", got, b.ID.Sequence)
		}
		r.step(time.Second)
		r.answer(b.ID.Sequence)
	}
}

func TestEverythingUnansweredIsSentOnANewConnection(t *testing.T) {
	r := newRig(t, 5, 0)
	r.step(0)
	r.answer(2)
	r.Disconnected()
	if got := r.step(time.Hour); len(got) != 0 {
		t.Fatalf("sent %v without a connection", got)
	}
	r.src.add()
	r.Connected()
	if got := r.step(0); !slices.Equal(got, []uint64{1, 3, 4, 5, 6}) {
		t.Errorf("on the new connection: %v", got)
	}
}

func TestAConnectionThatTakesNothingLosesNothing(t *testing.T) {
	r := newRig(t, 5, 0)
	r.down = true
	r.step(0)
	r.down = false
	r.Connected()
	if got := r.step(0); !slices.Equal(got, upTo(1, 5)) {
		t.Errorf("sent %v", got)
	}
}

func TestABatchNobodyAnswersIsSetAside(t *testing.T) {
	r := newRig(t, 1, 0)
	r.step(0)
	sent := 1
	for range 3600 {
		b := r.src.add()
		for _, n := range r.step(time.Second) {
			if n == 1 {
				sent++
			}
		}
		r.answer(b.ID.Sequence)
	}
	poison := contract.BatchID{Epoch: 7, Sequence: 1}
	if _, aside := r.src.aside[poison]; !aside || sent < 10 || sent > 12 {
		t.Fatalf("aside %v after %d sends", r.src.aside, sent)
	}
	if r.InWindow(poison) {
		t.Error("a batch set aside is in the window")
	}
	sent = 0
	for range 2 * 3600 {
		for _, n := range r.step(time.Second) {
			if n == 1 {
				sent++
			}
		}
	}
	if sent != 2 {
		t.Errorf("tried %d times in two hours, want 2", sent)
	}
	r.answer(1)
	r.step(time.Second)
	if len(r.src.aside) != 0 {
		t.Error("its receipt did not release it")
	}
}

func TestNothingIsSetAsideWhileNobodyIsAnswered(t *testing.T) {
	r := newRig(t, 3, 0)
	for range 24 * 3600 {
		r.step(time.Second)
	}
	if len(r.src.aside) != 0 {
		t.Errorf("aside: %v", r.src.aside)
	}
}

func TestAReceiptFromBeforeACrashReleases(t *testing.T) {
	r := newRig(t, 2, 0)
	r.answer(2) // this run has sent nothing yet
	r.step(time.Second)
	if len(r.src.blocks) != 1 {
		t.Errorf("%d batches left", len(r.src.blocks))
	}
}

func TestReleasesWaitForADiskThatFails(t *testing.T) {
	r := newRig(t, 2, 0)
	r.step(0)
	r.src.fail = errors.New("disk")
	r.answer(1, 2)
	r.step(time.Second)
	r.src.fail = nil
	r.step(time.Second)
	if len(r.src.blocks) != 0 {
		t.Errorf("%d batches left", len(r.src.blocks))
	}
}

// A flood of receipts for batches that nobody sent must not fill the memory, nor
// take a batch out of the window that is then released by nothing.
func TestReceiptsBeyondTheQueueAreIgnoredAndTheirBatchesSentAgain(t *testing.T) {
	r := newRig(t, 2, 0)
	r.step(0)
	r.src.fail = errors.New("disk")
	for range 3 {
		r.answer(upTo(1000, 3000)...)
		r.step(time.Second)
	}
	r.answer(1, 2)
	if !r.InWindow(contract.BatchID{Epoch: 7, Sequence: 1}) {
		t.Error("a batch whose receipt was ignored left the window")
	}
	r.src.fail = nil
	r.step(time.Second)
	if got := r.src.asked; got > 1024 {
		t.Errorf("%d receipts were queued", got)
	}
	if sent := r.step(time.Minute); !slices.Equal(sent, upTo(1, 2)) {
		t.Errorf("sent again: %v", sent)
	}
	r.answer(1, 2)
	r.step(time.Second)
	if len(r.src.blocks) != 0 {
		t.Errorf("%d batches left", len(r.src.blocks))
	}
}

func TestTheRateLimitHolds(t *testing.T) {
	r := newRig(t, 1000, 1000) // 100 readings a batch: 10 batches a second
	sent := 0
	for range 200 {
		got := r.step(100 * time.Millisecond)
		sent += len(got)
		r.answer(got...)
	}
	if sent < 180 || sent > 240 {
		t.Errorf("%d batches in 20 s at 10 a second", sent)
	}
}

func TestBatchesFoundAgainAreSent(t *testing.T) {
	r := newRig(t, 3, 0)
	r.step(0)
	r.answer(1, 2, 3)
	again := r.src.blocks[0]
	r.step(time.Second)
	r.src.blocks = append([]contract.Block{again}, r.src.blocks...)
	r.step(time.Second)
	if got := r.step(time.Second); !slices.Equal(got, []uint64{1}) {
		t.Errorf("sent %v", got)
	}
}

func TestRunSendsWhatIsNewAndReleasesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(0)
		sent := make(chan contract.BatchID, 10)
		f := forwarder.New(forwarder.Options{Source: src, Send: func(id contract.BatchID, _ []byte) error { sent <- id; return nil }}, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		f.Up()
		synctest.Wait()
		b := src.add()
		src.news <- struct{}{}
		if id := <-sent; id != b.ID {
			t.Errorf("sent %v", id)
		}
		data, _ := json.Marshal(contract.Receipts{Expired: []contract.Receipt{{ID: b.ID, Digest: contract.DigestOf(b.Payload)}}})
		payload, _ := bus.Envelope{Data: data}.Encode()
		f.Receipts(payload)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || len(src.blocks) != 0 {
			t.Errorf("Run: %v, %d batches left", err, len(src.blocks))
		}
	})
}

func TestTheConnectionIsNotHeldUpByAForwarderThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := forwarder.New(forwarder.Options{Source: newSource(0), Send: func(contract.BatchID, []byte) error { return nil }}, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for range 10_000 { // synctest tells when one of them blocks
			f.Receipts(nil)
			f.Down()
		}
	})
}
