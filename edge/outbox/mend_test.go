package outbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wattline/wattline/shared/contract"
)

// Damage found while there is no way to make a new file must not end the outbox:
// what comes waits in memory, and the next commit that can mends it.
func TestAMendThatFailsIsTriedAgain(t *testing.T) {
	r := newRig(t)
	for range 50 {
		r.accept(100)
	}
	head, _ := r.Head()
	zeroBlockPage(t, r.options.Path)
	obstacle := filepath.Join(r.options.Path+".salvaged", "in the way")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(contract.BatchID{}, 100); err == nil {
		t.Fatal("read a damaged file")
	}
	dev := id(t, "sp_f1.g1")
	r.now += 1000
	if err := r.Accept(reading(dev, r.now, 1), true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Commit(); err == nil {
			t.Fatal("committed to nothing")
		}
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if after, _ := r.Head(); after.Epoch != head.Epoch || after.Sequence != head.Sequence+1 {
		t.Errorf("batch %v after %v", after, head)
	}
	if n := len(r.all()); n < 25 || r.Stats().Damaged == "" {
		t.Errorf("%d batches, stats %+v", n, r.Stats())
	}
	if matches, _ := filepath.Glob(r.options.Path + ".damaged-*"); len(matches) != 1 {
		t.Errorf("moved aside: %v", matches)
	}
	r.crash()
	if n := len(r.all()); n < 25 {
		t.Errorf("%d batches after a start", n)
	}
}

// Until a heartbeat finds the damage, it would tell of batches that are not there.
func TestTheStatusMendsWhatItCannotRead(t *testing.T) {
	r := newRig(t)
	for range 50 {
		r.accept(100)
	}
	info, err := os.Stat(r.options.Path)
	if err != nil {
		t.Fatal(err)
	}
	zero(t, r.options.Path, 2*8<<10, info.Size()-2*8<<10) // all but the meta pages
	if s := r.Stats(); s.Damaged == "" || s.Readings >= 5000 {
		t.Errorf("stats %+v", s)
	}
}
