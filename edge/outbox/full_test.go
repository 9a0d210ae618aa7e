package outbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/device"
)

// onSmallDisk is an outbox on a disk of its own that others can fill.
func onSmallDisk(t *testing.T, size int64) (r *rig, filler string) {
	t.Helper()
	dir := smallDisk(t, size)
	r = newRig(t, func(o *outbox.Options) {
		o.Path = filepath.Join(dir, "outbox.db")
		o.Compression = outbox.NoCompression
		o.FreeDisk = nil
		o.MinFree = 0
	})
	return r, filepath.Join(dir, "filler")
}

// fill writes until the disk takes nothing more.
func fill(t *testing.T, filler string) {
	t.Helper()
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(bytes.Repeat([]byte{'f'}, size)); err != nil {
			size /= 2
		}
	}
}

func TestReadingsKeepTheirTimesHoweverOftenACommitFails(t *testing.T) {
	r, filler := onSmallDisk(t, 16<<20)
	dev := id(t, "sp_f1.g1")
	var want []device.Micros
	for err := error(nil); err == nil; err = r.Commit() {
		for _, b := range r.all() {
			r.window[b.ID] = true // nothing may be dropped
		}
		fill(t, filler)
		for i := range 1000 {
			r.now += 1000
			want = append(want, r.now)
			if err := r.Accept(reading(dev, r.now, i), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(t, filler) // the ballast is gone
	for range 5 {
		if err := r.Commit(); err == nil {
			t.Fatal("committed to a full disk")
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	var got []device.Micros
	for _, b := range r.all() {
		_, records := decode(t, b)
		for _, rec := range records {
			got = append(got, rec.Time)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("%d readings, want %d; they differ from the %d-th on: %v", len(got), len(want), i, got[i:min(i+3, len(got))])
	}
}

func TestRefusedReadingsAreToldOfThoughTheirTombstoneIsDropped(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.Limit = 3000 })
	dev := id(t, "sp_f1.g1")
	refused := 0
	for i := range 20_007 {
		r.now += 1000
		if r.Accept(reading(dev, r.now, i), true) != nil {
			refused++
		}
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		r.accept(20)
	}
	told, tombstones := 0, 0
	for _, b := range r.all() {
		e, _ := decode(t, b)
		told += e.Batch.Refused
		if len(e.Batch.Replaces) > 0 {
			tombstones++
		}
	}
	head, _ := r.Head()
	if refused == 0 || told != refused || r.Stats().Refused != refused {
		t.Errorf("%d refused, %d told by %d tombstones of %d batches, stats %d", refused, told, tombstones, head.Sequence, r.Stats().Refused)
	}
}

func TestRefusedReadingsAreToldOfOnceThereIsATime(t *testing.T) {
	r := newRig(t)
	r.set = false
	dev := id(t, "sp_f1.g1")
	refused := 0
	for i := range 20_003 {
		if r.Accept(reading(dev, device.Micros(i), i), false) != nil {
			refused++
		}
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if blocks := r.all(); len(blocks) != 0 || r.Stats().Refused != refused || refused == 0 {
		t.Fatalf("%d batches before the clock is set, %d refused, stats %+v", len(blocks), refused, r.Stats())
	}
	r.set = true
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	blocks := r.all()
	if e, _ := decode(t, blocks[len(blocks)-1]); e.Batch.Refused != refused || e.Batch.From != r.now {
		t.Errorf("told: %+v, want %d refused", e.Batch, refused)
	}
}

func TestAFullDiskAtTheStartIsNoDamage(t *testing.T) {
	r, filler := onSmallDisk(t, 24<<20)
	for range 50 {
		r.accept(1000)
	}
	want := len(r.all())
	r.Abandon()
	if err := os.Remove(r.options.Path + ".ballast"); err != nil {
		t.Fatal(err)
	}
	fill(t, filler)
	r.open()
	if got := len(r.all()); got != want || r.Stats().Damaged != "" {
		t.Errorf("%d batches, want %d; damaged: %q", got, want, r.Stats().Damaged)
	}
}

// What waits is worth as much as what comes: where the disk is full and little
// waits, dropping it would make no room, and the next commit would drop again.
func TestAFullDiskDoesNotCostASmallBacklog(t *testing.T) {
	r, filler := onSmallDisk(t, 16<<20)
	for range 40 {
		r.accept(100)
	}
	waiting := r.Stats().Readings
	if err := os.Remove(r.options.Path + ".ballast"); err != nil { // somebody else took that room too
		t.Fatal(err)
	}
	fill(t, filler)
	dev := id(t, "sp_f1.g1")
	for n := range 50 {
		r.now += 1_000_000
		if err := r.Accept(reading(dev, r.now, n), true); err != nil {
			t.Fatal(err)
		}
		_ = r.Commit() // may fail: then they wait in memory
		fill(t, filler)
	}
	dropped := r.Stats().Dropped
	if dropped > waiting/2 {
		t.Errorf("%d of %d readings were dropped for 50 new ones", dropped, waiting)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Stats().Readings, waiting+50-dropped; got != want {
		t.Errorf("%d readings wait, want %d", got, want)
	}
}
