package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// name is a reading for ever: the plug, and the number of its answer.
type name struct {
	plug   string
	number int
}

// witness is what a copy of an outbox file shows after its gateway has ended.
type witness struct {
	last     *contract.BatchID // of the last run that committed anything
	batches  int               // that wait
	readings []name            // that wait
	damaged  string
}

// gap is a time at which answers of plugs may be lost that were never accepted.
type gap struct {
	from, to time.Time
	most     int // answers of each plug
}

// takeWitness opens a copy of the outbox of a gateway that does not run.
func (e *edge) takeWitness() witness {
	e.t.Helper()
	dir, err := os.MkdirTemp(e.site.dir, "witness-")
	if err != nil {
		e.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "outbox.db")
	if err := copyFile(filepath.Join(e.data, "outbox.db"), path); err != nil {
		if os.IsNotExist(err) { // killed before it made one
			return witness{}
		}
		e.t.Fatal(err)
	}
	box := openCopy(e.t, path)
	defer box.Abandon()
	w := witness{damaged: box.Stats().Damaged, batches: box.Stats().Batches}
	_, w.last = box.Head()
	blocks, err := box.Next(contract.BatchID{}, 1<<20)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, b := range blocks {
		w.readings = append(w.readings, namesIn(e.t, b.Payload)...)
	}
	return w
}

func openCopy(t testing.TB, path string) *outbox.Outbox {
	t.Helper()
	cfg := outbox.DefaultConfig()
	cfg.Path = path
	box, err := outbox.Open(outbox.Options{
		Config: cfg, Gateway: "witness", Epoch: contract.Epoch(rand.Uint64()),
		Clock:    func() (device.Micros, bool) { return device.MicrosOf(time.Now()), true },
		Boot:     func() (string, float64) { return "witness", 1 },
		FreeDisk: func(string) (int64, error) { return 0, nil }, // no ballast for a copy
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// namesIn are the readings of a batch.
func namesIn(t testing.TB, payload []byte) (names []name) {
	t.Helper()
	envelope, err := bus.Decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	records, err := senml.Decode(envelope.Data, bus.MaxRecords)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if plug, ok := strings.CutSuffix(r.Name, "/energy"); ok {
			names = append(names, name{plug, int(r.Value)})
		}
	}
	return names
}

// kill ends the gateway by SIGKILL and keeps the witness.
func (e *edge) kill() {
	e.t.Helper()
	e.process.kill()
	e.gap(time.Now(), 6)
	e.keepWitness()
}

// stop ends the gateway in good order; only an answer on its way may get lost.
func (e *edge) stop() {
	e.t.Helper()
	begin := time.Now()
	if took := e.process.stop(); took > 6*time.Second {
		e.t.Errorf("%s took %v to stop", e.id, took)
	}
	e.gaps = append(e.gaps, gap{from: begin.Add(-2 * time.Second), to: time.Now(), most: 1})
	e.keepWitness()
}

func (e *edge) keepWitness() {
	w := e.takeWitness()
	if w.damaged != "" {
		e.t.Errorf("%s: the outbox was damaged by a kill", e.id)
	}
	e.witnesses = append(e.witnesses, w)
}

// gap notes that answers of up to about now may be lost: what came within the
// second of a commit.
func (e *edge) gap(at time.Time, most int) {
	e.gaps = append(e.gaps, gap{from: at.Add(-4 * time.Second), to: at, most: most})
}

// drain ends the polling and waits until nothing waits, then stops the gateway.
func (e *edge) drain(within time.Duration) {
	e.t.Helper()
	for _, p := range e.plugs {
		p.Close()
	}
	pause(1500 * time.Millisecond) // a commit comes each second
	for range 3 {
		eventually(e.t, within, e.id+" has drained", func() bool {
			v, err := e.look()
			return err == nil && v.Status.Outbox.Readings == 0 && v.Status.Outbox.Batches == 0
		})
		e.stop()
		if e.witnesses[len(e.witnesses)-1].batches == 0 {
			return
		}
		e.start() // it committed once more while it ended
	}
	e.t.Fatalf("%s does not run empty", e.id)
}

// drain drains all gateways.
func (s *site) drain(within time.Duration) {
	s.t.Helper()
	begin := time.Now()
	for _, e := range s.edges {
		for _, p := range e.plugs {
			p.Close()
		}
	}
	for _, e := range s.edges {
		e.drain(within)
	}
	s.t.Logf("drained in %v", time.Since(begin).Round(100*time.Millisecond))
}

// stored is what InfluxDB holds of one plug, in the order of numbers.
type stored struct {
	number int
	at     time.Time
}

// points asks InfluxDB for all readings.
func (s *site) points() map[string][]stored {
	s.t.Helper()
	found := make(map[string][]stored)
	s.query("sp", `SELECT "value" FROM "energy" GROUP BY "id"`, func(tags map[string]string, row map[string]any) {
		found[tags["id"]] = append(found[tags["id"]], stored{int(number(row["value"])), time.UnixMicro(number(row["time"]))})
	})
	for _, list := range found {
		slices.SortStableFunc(list, func(a, b stored) int { return a.number - b.number })
	}
	return found
}

func (s *site) query(database, q string, each func(tags map[string]string, row map[string]any)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.client().Query(ctx, database, q, func(_ string, tags map[string]string, columns []string, rows [][]any) error {
		for _, values := range rows {
			row := make(map[string]any)
			for i, c := range columns {
				row[c] = values[i]
			}
			each(tags, row)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func number(v any) int64 {
	n, _ := v.(json.Number)
	f, _ := n.Float64()
	if i, err := n.Int64(); err == nil {
		return i
	}
	return int64(f)
}

// entry is a batch as the ledger's measurement has it.
type entry struct {
	digest   string
	readings int
	replaces string
	fate     string
}

// entries asks InfluxDB for the ledger of a gateway.
func (s *site) entries(gateway string) map[contract.BatchID]entry {
	s.t.Helper()
	found := make(map[contract.BatchID]entry)
	s.query("wattline", fmt.Sprintf(`SELECT * FROM "batch" WHERE "gateway" = '%s'`, gateway), func(_ map[string]string, row map[string]any) {
		text, _ := row["id"].(string)
		id, err := contract.ParseBatchID(text)
		if err != nil {
			s.t.Errorf("ledger entry %q: %v", text, err)
			return
		}
		e := entry{readings: int(number(row["readings"]))}
		e.digest, _ = row["digest"].(string)
		e.replaces, _ = row["replaces"].(string)
		if row["quarantined"] == true {
			e.fate = "quarantined"
		}
		if known, ok := found[id]; ok && known.digest != e.digest {
			s.t.Errorf("batch %v has two digests in the ledger", id)
		}
		found[id] = e
	})
	return found
}

// prove asks the ledger over REST.
func (s *site) prove(gateway string) ledger.Proof {
	s.t.Helper()
	var proofs []ledger.Proof
	eventually(s.t, 10*time.Second, "the ledger answers", func() bool {
		return s.rest("/api/v1/ledger?gateway="+url.QueryEscape(gateway), &proofs) == nil
	})
	if len(proofs) != 1 {
		s.t.Fatalf("the ledger gives %d proofs for %s", len(proofs), gateway)
	}
	return proofs[0]
}

// result is the outcome of a count.
type result struct {
	points, lost, doubled int
	missing               uint64
	unaccepted            int // answers of plugs that no outbox ever accepted
}

// count counts what all gateways accepted against what InfluxDB has, and says
// what is wrong.
func (s *site) count() (r result) {
	s.t.Helper()
	points := s.points()
	for _, e := range s.edges {
		e.countPlugs(points, &r)
		e.countArchive(points, &r)
		e.countWitnesses(points, &r)
		e.countBatches(points, &r)
		p := s.prove(e.id)
		r.missing += p.Missing
		if p.Missing != 0 || p.Waiting != 0 || p.Dropped != 0 || !p.Complete || len(p.Clones) > 0 {
			s.t.Errorf("%s: the ledger says %q: missing %d, waiting %d, dropped %d, complete %v, clones %v", e.id, p.Claim, p.Missing, p.Waiting, p.Dropped, p.Complete, p.Clones)
			s.t.Logf("epochs: %+v", p.Epochs)
		}
	}
	s.t.Logf("counted: %d readings stored, lost %d, doubled %d, missing in the ledger %d (%d answers of plugs were never accepted)", r.points, r.lost, r.doubled, r.missing, r.unaccepted)
	if r.points == 0 {
		s.t.Error("nothing was stored at all")
	}
	return r
}

// countPlugs finds numbers that are there twice, and gaps where nothing excuses
// them.
func (e *edge) countPlugs(points map[string][]stored, r *result) {
	e.t.Helper()
	for _, p := range e.plugs {
		list := points[p.id.String()]
		r.points += len(list)
		for i, x := range list {
			if i == 0 {
				continue
			}
			before := list[i-1]
			switch hole := x.number - before.number - 1; {
			case hole < 0:
				r.doubled++
				e.t.Errorf("%v: number %d is there twice, at %v and %v", p.id, x.number, before.at, x.at)
			case hole > e.excused(before.at, x.at):
				r.lost += hole
				e.t.Errorf("%v: numbers %d to %d are missing, between %v and %v", p.id, before.number+1, x.number-1, before.at.Format(time.TimeOnly), x.at.Format(time.TimeOnly))
			default:
				r.unaccepted += hole
			}
		}
		if len(list) > 0 { // those after the last one were answered while the gateway ended
			if hole := int(p.Polls()) - list[len(list)-1].number; hole > 8 {
				r.lost += hole
				e.t.Errorf("%v: the last %d of %d answers are missing", p.id, hole, p.Polls())
			}
		}
	}
}

// excused is how many answers may be missing between two that are there.
func (e *edge) excused(from, to time.Time) (n int) {
	for _, g := range e.gaps {
		if g.from.Before(to) && g.to.After(from) {
			n += g.most
		}
	}
	return n
}

// countWitnesses finds readings that waited in an outbox and came nowhere.
func (e *edge) countWitnesses(points map[string][]stored, r *result) {
	e.t.Helper()
	have := make(map[name]bool)
	for plug, list := range points {
		for _, x := range list {
			have[name{plug, x.number}] = true
		}
	}
	lost := make(map[name]bool)
	for _, w := range e.witnesses {
		for _, n := range w.readings {
			if !have[n] {
				lost[n] = true
			}
		}
	}
	r.lost += len(lost)
	for n := range lost {
		e.t.Errorf("lost: %s number %d was accepted by %s", n.plug, n.number, e.id)
	}
}

// countBatches compares the batches that each run committed with the ledger, and
// what they say to hold with what is there.
func (e *edge) countBatches(points map[string][]stored, r *result) {
	e.t.Helper()
	entries := e.site.entries(e.id)
	committed := make(map[contract.Epoch]uint64)
	for _, w := range e.witnesses {
		if w.last != nil {
			committed[w.last.Epoch] = max(committed[w.last.Epoch], w.last.Sequence)
		}
	}
	for epoch, last := range committed {
		for n := uint64(1); n <= last; n++ {
			if _, ok := entries[contract.BatchID{Epoch: epoch, Sequence: n}]; !ok {
				r.lost++
				e.t.Errorf("lost: batch %v-%d was committed by %s and is not in the ledger", epoch, n, e.id)
			}
		}
	}
	for id := range entries {
		if id.Sequence > committed[id.Epoch] {
			e.t.Errorf("batch %v is stored, but %s committed only %d of that run", id, e.id, committed[id.Epoch])
		}
	}
	said, there := 0, 0
	for entry := range maps.Values(entries) {
		said += entry.readings
	}
	for _, p := range e.plugs {
		there += len(points[p.id.String()])
	}
	for _, p := range e.archive.plugs {
		there += len(points[p])
	}
	if said != there {
		r.lost += max(0, said-there)
		e.t.Errorf("%s: its %d batches say to hold %d readings, InfluxDB has %d", e.id, len(entries), said, there)
	}
}
