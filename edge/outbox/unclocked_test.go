package outbox_test

import (
	"bytes"
	"os"
	"testing"
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
