package outbox_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

const start = device.Micros(1_800_000_000_000_000)

var quiet = slog.New(slog.DiscardHandler)

// rig is an outbox on a directory, with a clock that tests move.
type rig struct {
	*outbox.Outbox
	t       testing.TB
	options outbox.Options
	now     device.Micros
	set     bool
	boot    string
	mono    float64
	window  map[contract.BatchID]bool
	free    int64
	epochs  contract.Epoch
}

func newRig(t testing.TB, change ...func(*outbox.Options)) *rig {
	t.Helper()
	r := &rig{t: t, now: start, set: true, boot: "boot-1", free: 1 << 40, window: map[contract.BatchID]bool{}}
	config := outbox.DefaultConfig()
	config.Path = filepath.Join(t.TempDir(), "outbox.db")
	r.options = outbox.Options{
		Config: config, Gateway: "edge-f1", Clock: func() (device.Micros, bool) { return r.now, r.set },
		Boot:     func() (string, float64) { return r.boot, r.mono },
		InWindow: func(id contract.BatchID) bool { return r.window[id] },
		FreeDisk: func(string) (int64, error) { return r.free, nil },
	}
	for _, c := range change {
		c(&r.options)
	}
	r.open()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Logf("close: %v", err)
		}
	})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.epochs++
	r.options.Epoch = 0xe000 + r.epochs
	box, err := outbox.Open(r.options, quiet)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Outbox = box
}

// crash closes without committing and opens again, as another run.
func (r *rig) crash() {
	r.t.Helper()
	r.Abandon()
	r.open()
}

func id(t testing.TB, s string) device.ID {
	t.Helper()
	parsed, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// reading is the n-th of its device: its power is n.
func reading(dev device.ID, at device.Micros, n int) device.Reading {
	power := device.Watts(n)
	return device.Reading{Device: dev, Time: at, Measurement: device.Measurement{Power: &power}}
}

// accept accepts n readings and commits.
func (r *rig) accept(n int) {
	r.t.Helper()
	dev := id(r.t, "sp_f1.g1")
	for i := range n {
		r.now += 1000
		if err := r.Accept(reading(dev, r.now, i), true); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) all() []contract.Block {
	r.t.Helper()
	blocks, err := r.Next(contract.BatchID{}, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	return blocks
}

func decode(t testing.TB, b contract.Block) (bus.Envelope, []senml.Record) {
	t.Helper()
	e, err := bus.Decode(b.Payload)
	if err != nil {
		t.Fatal(err)
	}
	records, err := senml.Decode(e.Data, bus.MaxRecords)
	if err != nil {
		t.Fatal(err)
	}
	if e.Batch == nil || e.ID != b.ID.String() {
		t.Fatalf("envelope %+v of %v", e, b.ID)
	}
	return e, records
}

func receipt(b contract.Block) contract.Receipt {
	return contract.Receipt{ID: b.ID, Digest: contract.DigestOf(b.Payload)}
}

func TestBatchesAreNumberedWithoutGapsAndNameTheRunBefore(t *testing.T) {
	r := newRig(t)
	r.accept(3)
	r.accept(2)
	r.crash()
	r.accept(1)
	blocks := r.all()
	var got []string
	for _, b := range blocks {
		e, records := decode(t, b)
		got = append(got, fmt.Sprintf("%v readings=%d records=%d previous=%v to=%s", b.ID, b.Readings, len(records), e.Batch.Previous, e.ResponseTopic))
	}
	want := []string{
		"000000000000e001-1 readings=3 records=3 previous=<nil> to=responses/edge-f1/receipts",
		"000000000000e001-2 readings=2 records=2 previous=<nil> to=responses/edge-f1/receipts",
		"000000000000e002-1 readings=1 records=1 previous=000000000000e001-2 to=responses/edge-f1/receipts",
	}
	if !slices.Equal(got, want) {
		t.Errorf("batches:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := r.Stats(); s.Readings != 6 || s.Batches != 3 || s.Oldest == nil || *s.Oldest != start+1000 {
		t.Errorf("stats %+v", s)
	}
}

func TestARunWithoutBatchesLeavesNoTrace(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	r.crash()
	r.crash()
	r.accept(1)
	e, _ := decode(t, r.all()[1])
	if want := (contract.BatchID{Epoch: 0xe001, Sequence: 1}); e.Batch.Previous == nil || *e.Batch.Previous != want {
		t.Errorf("previous = %v, want %v", e.Batch.Previous, want)
	}
}

func TestOnlyAReceiptWithTheRightDigestReleases(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	r.accept(1)
	b := r.all()
	wrong := receipt(b[0])
	wrong.Digest[0]++
	unknown := contract.Receipt{ID: contract.BatchID{Epoch: 0xdead, Sequence: 1}, Digest: receipt(b[0]).Digest}
	late := contract.Receipt{ID: contract.BatchID{Epoch: 0xe001, Sequence: 99}, Digest: receipt(b[0]).Digest}
	if released, err := r.Delete(wrong, unknown, late); err != nil || len(released) != 0 {
		t.Fatalf("wrong receipts released %v, %v", released, err)
	}
	if released, err := r.Delete(receipt(b[1]), receipt(b[1])); err != nil || len(released) != 1 || released[0] != b[1].ID {
		t.Fatalf("the second batch's receipt released %v, %v", released, err)
	}
	left := r.all()
	if len(left) != 1 || left[0].ID != b[0].ID {
		t.Errorf("left: %v", left)
	}
	if s := r.Stats(); s.Readings != 1 || s.Batches != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestNextGoesOnBehindABatchThatIsGone(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.accept(1)
	}
	b := r.all()
	if _, err := r.Delete(receipt(b[2])); err != nil {
		t.Fatal(err)
	}
	next, err := r.Next(b[2].ID, 1)
	if err != nil || len(next) != 1 || next[0].ID != b[3].ID {
		t.Errorf("behind a deleted batch: %v, %v", next, err)
	}
	if next, err := r.Next(b[4].ID, 10); err != nil || len(next) != 0 {
		t.Errorf("behind the last: %v, %v", next, err)
	}
}

func TestSetAsideStaysAndIsNotGiven(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	r.accept(1)
	b := r.all()
	if err := r.SetAside(b[0].ID, time.Unix(1_800_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"now", "after a crash"} {
		if left := r.all(); len(left) != 1 || left[0].ID != b[1].ID {
			t.Errorf("%s: Next gives %v", when, left)
		}
		if aside := r.Aside(); len(aside) != 1 || aside[0] != b[0].ID {
			t.Errorf("%s: aside %v", when, aside)
		}
		if got, ok, err := r.Block(b[0].ID); err != nil || !ok || string(got.Payload) != string(b[0].Payload) {
			t.Errorf("%s: Block = %v, %v", when, ok, err)
		}
		r.crash()
	}
	if _, err := r.Delete(receipt(b[0])); err != nil {
		t.Fatal(err)
	}
	if aside := r.Aside(); len(aside) != 0 {
		t.Errorf("released but still aside: %v", aside)
	}
	if err := r.SetAside(b[0].ID, time.Unix(1_800_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	if aside := r.Aside(); len(aside) != 0 {
		t.Errorf("gone and set aside: %v", aside)
	}
}

func TestTheLimitDropsTheOldestWithATombstone(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.Limit = 1 << 20; o.Compression = outbox.NoCompression })
	perBatch := func() int { r.accept(1000); b := r.all(); return len(b[len(b)-1].Payload) }()
	r.window[r.all()[0].ID] = true // being sent: must stay
	fit := 1<<20/perBatch + 2
	for range fit {
		r.accept(1000)
	}
	blocks := r.all()
	var tombstones, dropped int
	present := map[contract.BatchID]bool{}
	replaced := map[contract.BatchID]bool{}
	for _, b := range blocks {
		present[b.ID] = true
		e, records := decode(t, b)
		if len(e.Batch.Replaces) == 0 {
			continue
		}
		tombstones++
		dropped += e.Batch.Readings
		if len(records) != 0 || string(e.Data) != "[]" {
			t.Errorf("a tombstone with data: %s", e.Data)
		}
		for _, rg := range e.Batch.Replaces {
			for n := rg.From; n <= rg.To; n++ {
				replaced[contract.BatchID{Epoch: rg.Epoch, Sequence: n}] = true
			}
		}
	}
	head, _ := r.Head()
	if tombstones == 0 || dropped == 0 || r.Stats().Dropped != dropped {
		t.Fatalf("%d tombstones, %d readings, stats %+v", tombstones, dropped, r.Stats())
	}
	if !present[contract.BatchID{Epoch: head.Epoch, Sequence: 1}] {
		t.Error("a batch in the window was dropped")
	}
	for n := uint64(1); n <= head.Sequence; n++ {
		b := contract.BatchID{Epoch: head.Epoch, Sequence: n}
		if present[b] == replaced[b] {
			t.Errorf("%v: present %v, replaced %v", b, present[b], replaced[b])
		}
	}
	if total := r.Stats().Readings + dropped; total != (fit+1)*1000 {
		t.Errorf("%d waiting + %d dropped, %d accepted", r.Stats().Readings, dropped, (fit+1)*1000)
	}
}

func TestATombstoneThatIsDroppedIsTold(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.Limit = 1 << 20; o.Compression = outbox.NoCompression })
	for range 60 {
		r.accept(1000)
	}
	told := map[contract.BatchID]int{}
	for _, b := range r.all() {
		e, _ := decode(t, b)
		for _, rg := range e.Batch.Replaces {
			for n := rg.From; n <= rg.To; n++ {
				told[contract.BatchID{Epoch: rg.Epoch, Sequence: n}]++
			}
		}
		told[b.ID]++
	}
	head, _ := r.Head()
	for n := uint64(1); n <= head.Sequence; n++ {
		if c := told[contract.BatchID{Epoch: head.Epoch, Sequence: n}]; c != 1 {
			t.Errorf("batch %d is accounted for %d times", n, c)
		}
	}
}

func TestClockGoingBackMakesNoTwins(t *testing.T) {
	r := newRig(t)
	a, b := id(t, "sp_f1.g1"), id(t, "sp_f1.g2")
	commit := func(readings ...device.Reading) {
		t.Helper()
		for _, reading := range readings {
			if err := r.Accept(reading, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	commit(reading(a, start, 1), reading(a, start, 2), reading(b, start, 3))
	r.crash() // the clock goes back meanwhile
	commit(reading(a, start, 4), reading(a, start+5, 5))
	commit(reading(a, start, 6))
	twins := map[string]bool{}
	n := 0
	for _, block := range r.all() {
		_, records := decode(t, block)
		for _, rec := range records {
			key := fmt.Sprint(rec.Name, rec.Time)
			if twins[key] {
				t.Errorf("two records %s", key)
			}
			twins[key] = true
			n++
		}
	}
	if n != 6 {
		t.Errorf("%d records, want 6", n)
	}
}

func TestReadingsBeforeTheClockWasSetGetTrueTimes(t *testing.T) {
	r := newRig(t)
	r.accept(1) // a run that knew the time
	known := r.now
	dev := id(t, "sp_f1.g2")
	unset := func(boot string, monos ...float64) {
		t.Helper()
		r.set, r.boot = false, boot
		for i, m := range monos {
			r.mono = m
			if err := r.Accept(reading(dev, device.Micros(m*1e6), i), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := r.Stats(); got.Unclocked < len(monos) || got.Readings < len(monos) {
			t.Errorf("stats %+v", got)
		}
	}
	r.crash()
	unset("boot-2", 10, 20)
	r.crash()
	unset("boot-3", 5, 7)
	if n := len(r.all()); n != 1 {
		t.Fatalf("%d batches while the clock is not set", n)
	}
	r.crash()
	r.set, r.boot, r.mono, r.now = true, "boot-3", 100, known+3600e6
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	blocks := r.all()
	if len(blocks) != 3 || r.Stats().Unclocked != 0 {
		t.Fatalf("%d batches, stats %+v", len(blocks), r.Stats())
	}
	e, records := decode(t, blocks[1]) // boot-2: estimated
	if e.Batch.Estimated == nil || e.Batch.Estimated.From != known || records[0].Time <= known || records[1].Time-records[0].Time != 10e6 || records[1].Time > e.Batch.Estimated.To {
		t.Errorf("estimated %+v: %v", e.Batch.Estimated, records)
	}
	e, records = decode(t, blocks[2]) // boot-3: true
	if e.Batch.Estimated != nil || records[0].Time != r.now-95e6 || records[1].Time != r.now-93e6 {
		t.Errorf("true times: %+v %v", e.Batch, records)
	}
}

func TestABoxThatNeverKnewTheTimeKeepsWhatItCannotDate(t *testing.T) {
	r := newRig(t)
	r.set, r.boot = false, "boot-1"
	if err := r.Accept(reading(id(t, "sp_f1.g2"), 1e6, 1), false); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.set, r.boot = true, "boot-2"
	r.accept(1)
	if s := r.Stats(); s.Unclocked != 1 || s.Batches != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestAnOutboxInUseSaysSo(t *testing.T) {
	r := newRig(t)
	if _, err := outbox.Open(r.options, quiet); !errors.Is(err, outbox.ErrLocked) || !strings.Contains(err.Error(), "another gateway") {
		t.Errorf("second Open: %v", err)
	}
}

func TestADrainedBacklogGivesItsSpaceBack(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.NoSync = true; o.Compression = outbox.NoCompression })
	for range 800 {
		r.accept(1000)
	}
	before := r.Stats().File
	r.accept(1)
	blocks := r.all()
	for chunk := range slices.Chunk(blocks[:len(blocks)-1], 100) {
		receipts := make([]contract.Receipt, len(chunk))
		for i, b := range chunk {
			receipts[i] = receipt(b)
		}
		if _, err := r.Delete(receipts...); err != nil {
			t.Fatal(err)
		}
	}
	after := r.Stats()
	if before < 32<<20 || after.File > before/4 || after.Batches != 1 {
		t.Errorf("file of %d bytes before, %d after, %d batches", before, after.File, after.Batches)
	}
	r.accept(1)
	r.crash()
	if left := r.all(); len(left) != 2 || left[0].ID != blocks[len(blocks)-1].ID {
		t.Errorf("after the copy: %v", left)
	}
}

func TestEveryFormOfAReadingTravels(t *testing.T) {
	r := newRig(t)
	power, volts, amps, energy, on := device.Watts(61.753), device.Volts(230.1), device.Amperes(0.3), device.WattHours(16323), true
	err := r.Accept(device.Reading{Device: id(t, "sp_f1.g1"), Time: start, Measurement: device.Measurement{
		Power: &power, Voltage: &volts, Current: &amps, Energy: &energy, On: &on,
		Suspects: []device.Suspect{{Field: "power", Raw: "1e9"}, {Field: "current", Raw: "41124"}},
	}, Notes: map[string]string{"switched": `{"command":"x"}`}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	_, records := decode(t, r.all()[0])
	var got []string
	for _, rec := range records {
		got = append(got, fmt.Sprintf("%s %s %v %s", rec.Name, rec.Unit, rec.Value, rec.Text))
	}
	want := []string{
		"sp_f1.g1/power W 61.753 ", "sp_f1.g1/voltage V 230.1 ", "sp_f1.g1/current A 0.3 ", "sp_f1.g1/energy Wh 16323 ", "sp_f1.g1/status / 1 ",
		`sp_f1.g1/suspect  0 [{"field":"power","raw":"1e9"},{"field":"current","raw":"41124"}]`, `sp_f1.g1/switched  0 {"command":"x"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("records:\n%s", strings.Join(got, "\n"))
	}
}

func TestADirectoryThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	options := newRig(t).options
	options.Path = filepath.Join(file, "outbox.db")
	if _, err := outbox.Open(options, quiet); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("Open: %v", err)
	}
}

func TestAReadingThatCannotBeEncodedHarmsNoOther(t *testing.T) {
	r := newRig(t)
	nan := device.Watts(math.NaN())
	dev := id(t, "sp_f1.g1")
	for name, bad := range map[string]device.Reading{
		"no number": {Device: dev, Time: r.now, Measurement: device.Measurement{Power: &nan}},
		"no device": reading(device.ID{}, r.now, 1),
		"odd note":  {Device: dev, Time: r.now, Notes: map[string]string{"a b": "c"}},
	} {
		for _, set := range []bool{true, false} {
			if err := r.Accept(bad, set); err == nil {
				t.Errorf("%s was accepted", name)
			}
		}
	}
	r.accept(1)
	if s := r.Stats(); s.Readings != 1 || s.Refused != 6 {
		t.Errorf("stats %+v", s)
	}
}
