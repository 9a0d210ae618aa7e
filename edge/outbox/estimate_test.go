package outbox_test

import (
	"os"
	"testing"

	"github.com/wattline/wattline/shared/device"
)

// A box that is restored from an image knows the same bound again, and reads
// other things after it.
func TestTwoLivesOfOneImageDoNotEstimateTheSameTimes(t *testing.T) {
	r := newRig(t)
	r.accept(1)
	r.Abandon()
	image, err := os.ReadFile(r.options.Path)
	if err != nil {
		t.Fatal(err)
	}
	known := r.now
	dev := id(t, "sp_f1.g1")
	life := func() device.Micros {
		if err := os.WriteFile(r.options.Path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		r.set, r.boot, r.mono = false, "boot-dark", 100
		r.open()
		if err := r.Accept(reading(dev, 50_000_000, 1), false); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		r.Abandon()
		r.set, r.boot, r.now = true, "boot-light", known+3_600_000_000
		r.open()
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		blocks := r.all()
		e, records := decode(t, blocks[len(blocks)-1])
		r.Abandon()
		if span := e.Batch.Estimated; span == nil || records[0].Time <= span.From || records[0].Time > span.To {
			t.Errorf("estimated %v within %+v", records[0].Time, span)
		}
		return records[0].Time
	}
	if first, second := life(), life(); first == second {
		t.Errorf("both lives gave a reading the time %v", first)
	}
	r.open()
}
