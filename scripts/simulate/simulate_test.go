package main_test

import (
	"crypto/sha256"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/scripts/simulate/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Bounds of the test; make simulate goes on for as long as anybody likes.
const (
	budget   = 40 * time.Second
	most     = 4000
	least    = 30  // however slow the machine
	perFault = 400 // schedules in which a missing protection must show
)

// memory is a directory that costs no disk, where there is one.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wattline-simulate-") //nolint:usetesting // t.TempDir may be a real disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestSchedulesOfFaultsLoseNothingDoubleNothingAndProveNothingFalse(t *testing.T) {
	dir, begun := memory(t), time.Now()
	var (
		next    atomic.Uint64
		mu      sync.Mutex // protects done and counts
		done    int
		counts  world.Counts
		workers sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				seed := next.Add(1)
				if seed > most || testing.Short() && seed > least || seed > least && time.Since(begun) > budget || t.Failed() {
					return
				}
				r := world.Run(t.Context(), seed, world.Options{Dir: dir})
				if len(r.Violations) > 0 {
					t.Errorf("seed %d: %s\nsee it happen: go run ./scripts/simulate -seed %d -trace", seed, strings.Join(r.Violations, "\n"), seed)
				}
				mu.Lock()
				done++
				counts.Add(r.Counts)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	t.Logf("%d schedules in %v: %d events, %d readings in %d batches, %d proofs of completeness", done, time.Since(begun).Round(time.Second),
		counts.Events, counts.Readings, counts.Batches, counts.Claims)
	t.Logf("%+v", counts)
	if !t.Failed() && !testing.Short() {
		for _, never := range counts.Never() {
			t.Errorf("in %d schedules there was no %s: that fault is not tried", done, never)
		}
	}
}

// What is found must be found again, to the last byte.
func TestASeedReplaysExactly(t *testing.T) {
	dir := memory(t)
	for seed := uint64(1); seed <= 12; seed++ {
		trace := func() [32]byte {
			sum := sha256.New()
			world.Run(t.Context(), seed, world.Options{Dir: dir, Trace: sum})
			return [32]byte(sum.Sum(nil))
		}
		if once, again := trace(), trace(); once != again {
			t.Errorf("seed %d goes another way the second time", seed)
		}
	}
}

// The checks are worth something only when they notice what is wrong.
func TestEveryProtectionIsMissedWhenItIsOff(t *testing.T) {
	dir := memory(t)
	for _, variant := range world.Variants() {
		t.Run(string(variant), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= perFault; seed++ {
				if r := world.Run(t.Context(), seed, world.Options{Dir: dir, Variant: variant}); len(r.Violations) > 0 {
					first, _, _ := strings.Cut(r.Violations[0], "\n")
					t.Logf("seed %d: %s", seed, first)
					return
				}
			}
			t.Errorf("%d schedules, and nobody noticed", perFault)
		})
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(world.Variants())))); n != len(world.Variants()) {
		t.Errorf("%d variants, %d names", len(world.Variants()), n)
	}
}
