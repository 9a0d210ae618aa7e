package outbox_test

import (
	"testing"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestStatusTellsOfBatchesDatedBeforeEarlierOnes(t *testing.T) {
	r := newRig(t)
	r.accept(3)
	if s := r.Stats(); s.Behind != nil {
		t.Errorf("behind %v with a clock that never went back", *s.Behind)
	}
	r.now -= 3_600_000_000
	r.accept(2)
	first := r.now - 1000
	r.now += 7_200_000_000
	r.accept(1)
	if s := r.Stats(); s.Behind == nil || *s.Behind != first {
		t.Errorf("behind %v, want %v", s.Behind, first)
	}
	r.crash()
	if s := r.Stats(); s.Behind == nil || *s.Behind != first {
		t.Errorf("after a crash: behind %v, want %v", s.Behind, first)
	}
	if _, err := r.Delete(receipt(r.all()[1])); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Behind != nil {
		t.Errorf("behind %v though that batch is stored", *s.Behind)
	}
}

func TestStatusTellsThatReadingsWithoutTimeMayBeEarly(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	known := r.now
	r.crash()
	r.set, r.boot = false, "boot-2"
	if err := r.Accept(reading(id(t, "sp_f1.g1"), 5_000_000, 9), false); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Behind == nil || *s.Behind != known+1 {
		t.Errorf("behind %v, want %v: what was known when the boot began", s.Behind, known+1)
	}
}

func TestReadingsWithoutTimeBecomeBatchesBeforeLaterOnes(t *testing.T) {
	r := newRig(t)
	r.set, r.mono = false, 100
	dev := id(t, "sp_f1.g1")
	if err := r.Accept(reading(dev, 90_000_000, 1), false); err != nil {
		t.Fatal(err)
	}
	r.set = true
	if err := r.Accept(reading(dev, r.now, 2), true); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	blocks := r.all()
	if len(blocks) != 2 {
		t.Fatalf("%d batches, want 2", len(blocks))
	}
	_, first := decode(t, blocks[0])
	_, second := decode(t, blocks[1])
	if first[0].Value != 1 || second[0].Value != 2 || first[0].Time != r.now-10_000_000 {
		t.Errorf("first %v at %v, second %v", first[0].Value, first[0].Time, second[0].Value)
	}
	if s := r.Stats(); s.Behind != nil {
		t.Errorf("behind %v, though the order is that of time", *s.Behind)
	}
}

func TestReadingsOfTwoPlugsThatOvertakeEachOtherStayWhereTheyAre(t *testing.T) {
	r := newRig(t)
	a, b := id(t, "sp_f1.g1"), id(t, "sp_f1.g2")
	for i, x := range []struct {
		dev device.ID
		at  device.Micros
	}{{a, start + 10}, {b, start + 9}, {a, start + 20}, {b, start + 9}} {
		if err := r.Accept(reading(x.dev, x.at, i), true); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	want := []device.Micros{start + 10, start + 9, start + 20, start + 10} // only the same plug at the same time moves
	for i, block := range r.all() {
		if _, records := decode(t, block); records[0].Time != want[i] {
			t.Errorf("reading %d at %v, want %v", i, records[0].Time, want[i])
		}
	}
}

func TestStatusNamesWhatWaitingTombstonesReplace(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.Limit = 3000 })
	for range 30 {
		r.accept(20)
	}
	told := map[contract.BatchID]bool{}
	for _, rng := range r.Stats().Tombstoned {
		for n := rng.From; n <= rng.To; n++ {
			told[contract.BatchID{Epoch: rng.Epoch, Sequence: n}] = true
		}
	}
	for _, b := range r.all() {
		if told[b.ID] {
			t.Errorf("%v waits and is told to be dropped", b.ID)
		}
		told[b.ID] = true
	}
	head, _ := r.Head()
	for n := uint64(1); n <= head.Sequence; n++ {
		if !told[contract.BatchID{Epoch: head.Epoch, Sequence: n}] {
			t.Errorf("batch %d neither waits nor is told to be dropped", n)
		}
	}
	var receipts []contract.Receipt
	for _, b := range r.all() {
		receipts = append(receipts, receipt(b))
	}
	if _, err := r.Delete(receipts...); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); len(s.Tombstoned) != 0 {
		t.Errorf("still told: %v", s.Tombstoned)
	}
}

func TestRunsThatCommittedNothingAreToldOfAndInTheEndForgotten(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	head, _ := r.Head()
	r.crash()
	empty, _ := r.Head()
	r.crash()
	_, previous := r.Head()
	if previous == nil || *previous != head {
		t.Errorf("previous %v, want %v", previous, head)
	}
	got := r.Stats().Earlier
	want := []contract.Run{{Epoch: empty.Epoch}, {Epoch: head.Epoch, Last: 1}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("earlier runs %v, want %v", got, want)
	}
	for range contract.EarlierRuns + 20 {
		r.crash()
	}
	if got := r.Stats().Earlier; len(got) != contract.EarlierRuns {
		t.Errorf("%d earlier runs are listed, want %d", len(got), contract.EarlierRuns)
	}
	if _, previous := r.Head(); previous == nil || *previous != head {
		t.Errorf("previous %v, want %v still", previous, head)
	}
	if blocks := r.all(); len(blocks) != 1 || blocks[0].ID != head {
		t.Errorf("waiting %v", blocks)
	}
}
