package outbox_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// A file damaged in any of these ways is moved aside; what is whole in it is
// there afterwards, under its old ids, and the outbox takes readings again.
func TestADamagedFileIsSalvaged(t *testing.T) {
	const batches = 200
	for name, tc := range map[string]struct {
		damage func(t *testing.T, path string)
		least  int // batches that must come back
	}{
		"cut off in the middle": {func(t *testing.T, path string) { truncate(t, path, 2) }, batches / 4},
		"cut off to a stump":    {func(t *testing.T, path string) { truncate(t, path, 1<<14) }, 0},
		"meta pages zeroed":     {func(t *testing.T, path string) { zero(t, path, 0, 2*8<<10) }, batches},
		"a page zeroed":         {func(t *testing.T, path string) { zeroBlockPage(t, path) }, batches / 2},
		"all but blocks zeroed": {func(t *testing.T, path string) { zero(t, path, 0, 4*8<<10) }, batches / 2},
		"text instead":          {func(t *testing.T, path string) { write(t, path, "hello") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range batches {
				r.accept(100)
			}
			before := map[contract.BatchID][]byte{}
			for _, b := range r.all() {
				before[b.ID] = b.Payload
			}
			r.Abandon()
			tc.damage(t, r.options.Path)
			r.open()
			r.accept(1)
			back := 0
			for _, b := range r.all() {
				want, known := before[b.ID]
				if known && !bytes.Equal(want, b.Payload) {
					t.Errorf("%v came back with another content", b.ID)
				}
				if known {
					back++
				}
			}
			if back < tc.least {
				t.Errorf("%d of %d batches came back, want at least %d", back, batches, tc.least)
			}
			if matches, _ := filepath.Glob(r.options.Path + ".damaged-*"); len(matches) == 0 || r.Stats().Damaged == "" {
				t.Errorf("moved aside: %v, stats %+v", matches, r.Stats())
			}
			r.accept(1)
			r.crash()
			if n := len(r.all()); n != back+2 {
				t.Errorf("%d batches after another start, want %d", n, back+2)
			}
		})
	}
}

// A disk that damages the file again and again must not be filled by what was
// moved aside.
func TestOnlyTheNewestDamagedFilesStay(t *testing.T) {
	r := newRig(t)
	var first string
	for round := range 5 {
		r.accept(10)
		r.Abandon()
		zero(t, r.options.Path, 0, 2*8<<10)
		r.open()
		if round == 0 {
			first = movedAside(t, r)[0]
		}
	}
	if left := movedAside(t, r); len(left) != 3 || slices.Contains(left, first) {
		t.Errorf("left: %v, want three without the first, %s", left, first)
	}
	if n := len(r.all()); n != 5 {
		t.Errorf("%d batches came back, want 5", n)
	}
}

func truncate(t *testing.T, path string, divisor int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/divisor); err != nil {
		t.Fatal(err)
	}
}

func zero(t *testing.T, path string, at, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, n), at); err != nil {
		t.Fatal(err)
	}
}

// zeroBlockPage zeroes a page that holds blocks.
func zeroBlockPage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data[len(data)/3:], []byte("WLB1"))
	if at < 0 {
		t.Fatal("no block")
	}
	at += len(data) / 3
	zero(t, path, int64(at-at%(8<<10)), 8<<10)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNumbersAreNotGivenAgainAfterDamageInTheMiddleOfARun(t *testing.T) {
	r := newRig(t)
	for range 50 {
		r.accept(100)
	}
	head, _ := r.Head()
	truncate(t, r.options.Path, 2)
	if _, err := r.Next(contract.BatchID{}, 100); err != nil {
		t.Fatal(err)
	}
	r.accept(1)
	after, _ := r.Head()
	if after.Epoch != head.Epoch || after.Sequence <= head.Sequence {
		t.Errorf("batch %v after %v", after, head)
	}
	r.crash()
	r.accept(1)
	e, _ := decode(t, r.all()[len(r.all())-1])
	if e.Batch.Previous == nil || *e.Batch.Previous != after {
		t.Errorf("previous %v, want %v", e.Batch.Previous, after)
	}
}

const childEnv = "OUTBOX_CHILD"

// Proves a crash of the process, not of the power: the page cache survives.
func TestSurvivesKill(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		child(t, path)
		return
	}
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	r := newRig(t)
	r.Abandon()
	confirmed := 0
	for round := range rounds {
		confirmed += killChild(t, r.options.Path, round)
	}
	r.options.Epoch = 0xffff
	r.open()
	accounted := 0
	ids := map[contract.BatchID]bool{}
	for _, b := range r.all() {
		_, records := decode(t, b)
		accounted += len(records)
		if ids[b.ID] {
			t.Errorf("batch %v twice", b.ID)
		}
		ids[b.ID] = true
	}
	if accounted < confirmed || confirmed == 0 {
		t.Errorf("%d readings after %d kills, %d were confirmed", accounted, rounds, confirmed)
	}
}

// killChild runs this test as a child that accepts readings, and kills it.
func killChild(t *testing.T, path string, round int) (confirmed int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSurvivesKill$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+path, fmt.Sprintf("OUTBOX_ROUND=%d", round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := 5 + rand.IntN(60)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		var stored int
		if _, err := fmt.Sscanf(lines.Text(), "stored %d", &stored); err != nil {
			continue
		}
		confirmed += stored
		if n++; n == stop {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	return confirmed
}

func child(t *testing.T, path string) {
	var round contract.Epoch
	if _, err := fmt.Sscan(os.Getenv("OUTBOX_ROUND"), &round); err != nil {
		t.Fatal(err)
	}
	config := outbox.DefaultConfig()
	config.Path = path
	box, err := outbox.Open(outbox.Options{
		Config: config, Gateway: "edge-f1", Epoch: 0xc000 + round,
		Clock: func() (device.Micros, bool) { return device.MicrosOf(time.Now()), true },
		Boot:  func() (string, float64) { return "boot", 1 },
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	dev := id(t, "sp_f1.g1")
	for i := 0; ; i++ {
		n := 1 + i%7
		for range n {
			if err := box.Accept(reading(dev, device.MicrosOf(time.Now())+device.Micros(i), i), true); err != nil {
				t.Fatal(err)
			}
		}
		if err := box.Commit(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("stored %d\n", n)
		if i%3 == 2 {
			continue
		}
	}
}

// smallDisk mounts a file system of so many bytes; only root may.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a full disk needs a file system of its own, and mounting one needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDiskLosesNothingWithoutSayingSo(t *testing.T) {
	dir := smallDisk(t, 12<<20)
	r := newRig(t, func(o *outbox.Options) {
		o.Path = filepath.Join(dir, "outbox.db")
		o.Compression = outbox.NoCompression
		o.FreeDisk = nil
		o.MinFree = 0
	})
	dev := id(t, "sp_f1.g1")
	accepted, refused := 0, 0
	for i := range 300_000 {
		r.now += 1000
		if err := r.Accept(reading(dev, r.now, i), true); err != nil {
			refused++
		} else {
			accepted++
		}
		if i%1000 == 999 {
			if err := r.Commit(); err != nil && !strings.Contains(err.Error(), "space") {
				t.Fatalf("commit: %v", err)
			}
		}
	}
	if err := r.Commit(); err != nil {
		t.Fatalf("after the disk was full: %v", err)
	}
	r.crash()
	s := r.Stats()
	if s.Readings+s.Dropped != accepted || s.Refused != refused || s.Dropped == 0 {
		t.Errorf("accepted %d = waiting %d + dropped %d? refused %d, told %d", accepted, s.Readings, s.Dropped, refused, s.Refused)
	}
	told := 0
	for _, b := range r.all() {
		e, records := decode(t, b)
		if len(records) == 0 {
			told += e.Batch.Readings
		}
	}
	if told != s.Dropped {
		t.Errorf("tombstones tell of %d readings, %d were dropped", told, s.Dropped)
	}
}

// Whoever has the rest of a file can't tell where a run ended: a run that is
// told to have ended too early makes a false proof of the ledger.
func TestARunIsNotToldToHaveEndedWhereASalvagedFileEnds(t *testing.T) {
	r := newRig(t)
	for range 200 {
		r.accept(100)
	}
	r.Abandon()
	truncate(t, r.options.Path, 2)
	r.open()
	if r.Stats().Damaged == "" {
		t.Fatal("the file is not damaged")
	}
	for range 3 { // and not after restarts either
		if _, previous := r.Head(); previous != nil {
			t.Errorf("previous %v after a salvage", previous)
		}
		for _, run := range r.Stats().Earlier {
			if run.Epoch == 0xe001 {
				t.Errorf("the salvaged run is told to have ended at %d", run.Last)
			}
		}
		if len(r.all()) == 0 {
			t.Error("nothing was salvaged")
		}
		r.crash()
	}
	r.accept(1)
	head, _ := r.Head()
	r.crash()
	if _, previous := r.Head(); previous == nil || *previous != head {
		t.Errorf("previous %v, want %v: that run's end is known", previous, head)
	}
}
