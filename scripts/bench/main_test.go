// The package is a command: its tests sit inside it.
package main

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFigureBelowItsLimitIsToldAndNoFailure(t *testing.T) {
	var out bytes.Buffer
	r := report{&out}
	r.least("drain_ratio", 8, 10, "x")
	r.most("memory", 12.3456, 40, "MB")
	want := "drain_ratio 8 x\ndrain_ratio_limit 10 x\n# drain_ratio MISSES its limit: it is 0.80 times the limit\nmemory 12.3 MB\nmemory_limit 40 MB\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestHelpNamesEveryPart(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, io.Discard, &out); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts() {
		if !strings.Contains(out.String(), "  "+p.name+" ") {
			t.Errorf("no part %s in\n%s", p.name, out.String())
		}
	}
}

func TestAChoiceOfNothingIsAMistake(t *testing.T) {
	for _, args := range [][]string{{"-run", "nothing"}, {"-run", "("}, {"what"}} {
		if err := run(t.Context(), append([]string{"-dir", t.TempDir()}, args...), io.Discard, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestQuantiles(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	if m, most, none := median(values), quantile(values, 1), median([]int(nil)); m != 3 || most != 5 || none != 0 {
		t.Errorf("median %d, largest %d, of none %d", m, most, none)
	}
}

func TestLatenessIsCountedFromTheGridOfSeconds(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	w := &watch{
		Plug:  (*hs110.Plug)(nil),
		begun: []time.Time{at(0.1), at(1), at(2.3), at(4)}, // the most punctual ones lie on whole seconds; the third has no poll
		ended: []time.Time{at(0.2), at(1.1), at(2.8), at(4.1)},
	}
	asked, answered, missed := w.late()
	if asked != 300*time.Millisecond || answered != 800*time.Millisecond || missed != 1 {
		t.Errorf("asked %v late, answered %v late, %d missed", asked, answered, missed)
	}
}

// startBroker runs a Mosquitto for a test; without one the test is skipped.
func startBroker(t *testing.T) (*bench, *mosquitto) {
	t.Helper()
	b := &bench{report: report{io.Discard}, dir: t.TempDir()}
	m, err := b.startMosquitto(t.Context(), "broker")
	if err != nil {
		if _, missing := exec.LookPath("/usr/sbin/mosquitto"); missing != nil {
			t.Skip("mosquitto is not installed (Debian package mosquitto)")
		}
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return b, m
}

func TestBatchesAreCountedAndAnswered(t *testing.T) {
	b, m := startBroker(t)
	k, err := hear(m.address, "edge-f1")
	if err != nil {
		t.Fatal(err)
	}
	x, err := b.newBox("outbox", true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	l, err := newLoad(1, diskStart, 1e6)
	if err == nil {
		err = fill(t.Context(), x.Outbox, l, 1000, batchOf)
	}
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := dialMQTT(m.address, "gateway")
	if err == nil {
		err = receipts.subscribe("responses/edge-f1/receipts")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer receipts.close()
	blocks, err := x.Next(contract.BatchID{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	err = publishAll(m.address, len(blocks), func(i int) (string, []byte) {
		return "data/edge-f1/influx_data/sp/" + blocks[i].ID.String(), blocks[i].Payload
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for strings.Count(text.String(), `"id"`) < len(blocks) {
		p, err := receipts.next()
		if err != nil {
			t.Fatal(err)
		}
		text.Write(p.payload)
	}
	for _, block := range blocks {
		if digest := contract.DigestOf(block.Payload).String(); !strings.Contains(text.String(), digest) {
			t.Errorf("no receipt for %v", block.ID)
		}
	}
	if n, d := int(k.heard.Load()), k.distinct(); n != 10 || d != 10 {
		t.Errorf("heard %d batches, %d of them different, want 10", n, d)
	}
	if err := k.close(); err != nil {
		t.Error(err)
	}
}

func TestAPulledCableEndsConnections(t *testing.T) {
	_, m := startBroker(t)
	c, err := newCable(m.address)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.plugIn(); err != nil {
			t.Fatal(err)
		}
		conn, err := dialMQTT(c.address, "x")
		if err != nil {
			t.Fatal(err)
		}
		c.pull()
		if _, err := conn.next(); err == nil {
			t.Error("the connection goes on")
		}
		conn.close()
		if _, err := dialMQTT(c.address, "x"); err == nil {
			t.Error("a new connection was made")
		}
	}
}

func TestABacklogIsWhatItSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	if err := makeBacklog(t.Context(), path, "edge-f1", 1, 2000, past(device.MicrosOf(time.Now()), 2000)); err != nil {
		t.Fatal(err)
	}
	o, err := openOutbox(path, "edge-f1", 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if s := o.Stats(); s.Readings != 2000 || s.Batches != 20 {
		t.Errorf("%d readings in %d batches", s.Readings, s.Batches)
	}
}
