package outbox_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/device"
)

// Each commit would read the backlog and write the file for them otherwise.
func TestReadingsThatStayWithoutTimeCostNothing(t *testing.T) {
	r := newRig(t)
	r.set = false
	if err := r.Accept(reading(id(t, "sp_f1.g1"), 1e6, 1), false); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.set, r.boot = true, "boot-2"
	r.accept(1)
	read := func() []byte {
		t.Helper()
		text, err := os.ReadFile(r.options.Path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := read()
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, read()) {
		t.Error("a commit of nothing writes the file")
	}
	if s := r.Stats(); s.Unclocked != 1 {
		t.Errorf("%d readings without time, want 1", s.Unclocked)
	}
}

// A gateway whose clock is never set must not fill its disk; what goes is told
// of as soon as there is a time to tell it at.
func TestReadingsWithoutTimeCountAgainstTheLimit(t *testing.T) {
	r := newRig(t, func(o *outbox.Options) { o.Limit = 20_000 })
	r.set = false
	dev := id(t, "sp_f1.g1")
	accepted := 0
	for range 40 {
		for range 300 {
			accepted++
			if err := r.Accept(reading(dev, device.Micros(accepted*1000), accepted), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Stats()
	if s.Unclocked+s.Refused != accepted || s.Refused == 0 || s.Unclocked == 0 {
		t.Errorf("%d accepted, %d wait, %d are told to be refused", accepted, s.Unclocked, s.Refused)
	}
	r.crash() // of which nothing is forgotten
	if again := r.Stats(); again.Unclocked != s.Unclocked || again.Refused != s.Refused {
		t.Errorf("%+v after a crash, before %+v", again, s)
	}
	r.set, r.mono = true, 3600
	r.options.Limit = 1 << 30
	r.crash()
	for range 2 {
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	readings, told := 0, 0
	for _, b := range r.all() {
		e, _ := decode(t, b)
		told += e.Batch.Refused
		readings += e.Batch.Readings
	}
	if readings != s.Unclocked || told != s.Refused || r.Stats().Refused != s.Refused {
		t.Errorf("%d readings in batches and %d told, want %d and %d; stats %+v", readings, told, s.Unclocked, s.Refused, r.Stats())
	}
}
