package outbox_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// A batch that no receiver takes would be sent for ever.
func TestABatchOfLongTextsIsSplitSoThatReceiversTakeIt(t *testing.T) {
	for name, raw := range map[string]string{"plain": strings.Repeat("x", 20_000), "escaped": strings.Repeat("\x01\"", 5_000)} {
		for _, set := range []bool{true, false} {
			r := newRig(t)
			r.set = set
			dev := id(t, "sp_f1.g1")
			const readings = 500
			for n := range readings {
				one := reading(dev, start+device.Micros(n), n)
				if !set {
					one.Time = device.Micros(n)
				}
				one.Suspects = []device.Suspect{{Field: "power", Raw: raw}}
				if err := r.Accept(one, set); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
			r.set = true
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, b := range r.all() {
				text, err := bus.Inflate(b.Payload)
				if err != nil || len(text) > bus.MaxInflated*3/4 {
					t.Errorf("%s: batch of %d bytes: %v", name, len(text), err)
				}
				e, _ := decode(t, b)
				got += e.Batch.Readings
			}
			if got != readings {
				t.Errorf("%s: %d readings in batches, want %d", name, got, readings)
			}
		}
	}
}

func TestAReadingThatNoReceiverTakesIsRefused(t *testing.T) {
	r := newRig(t)
	one := reading(id(t, "sp_f1.g1"), r.now, 1)
	one.Notes = map[string]string{device.Switched: strings.Repeat("x", 3<<20)}
	if err := r.Accept(one, true); err == nil || r.Stats().Refused != 1 {
		t.Errorf("Accept: %v, stats %+v", err, r.Stats())
	}
}
