package world

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var (
	errKilled  = errors.New("the process was killed")
	errNotNow  = errors.New("503 service unavailable")
	errTimeout = errors.New("no answer in time")
)

// refusal is InfluxDB's answer to content that it will never take.
type refusal struct{ ancient bool }

func (r refusal) Error() string {
	return fmt.Sprintf("400 partial write, beyond retention: %v", r.ancient)
}
func (r refusal) Refused() bool         { return true }
func (r refusal) BeyondRetention() bool { return r.ancient }

// store is the simulated InfluxDB.
type store struct {
	w        *world
	until    device.Micros // it is away until then
	points   map[stored]int
	places   map[int][]stored               // of each number
	rows     map[string]map[string][]*entry // measurement, instance -> by time
	attempts int
}

// stored is the identity of a point.
type stored struct {
	series string
	at     int64
}

func newStore(w *world) *store {
	return &store{w: w, points: make(map[stored]int), places: make(map[int][]stored), rows: map[string]map[string][]*entry{"batch": {}, "head": {}}}
}

// outage takes it away for a while.
func (s *store) outage() {
	d := s.w.between(time.Second, 4*time.Minute)
	s.w.trace("store away for %v", d)
	s.until = s.w.now.Add(d)
}

// Write takes lines, fails, or both.
func (s *store) Write(ctx context.Context, database string, text []byte) error {
	w, p, t := s.w, s.w.plan, taskOf(ctx)
	if !t.wait(w.between(time.Millisecond, 20*time.Millisecond)) {
		return errKilled
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	s.attempts++
	switch {
	case s.until > w.now:
		w.counts.NotNow++
		return s.answer(t, w.between(0, 3*time.Second), errNotNow)
	case w.healing:
	case w.chance(p.storeFails):
		w.counts.NotNow++
		w.trace("store takes nothing")
		return s.answer(t, w.between(0, 3*time.Second), errNotNow)
	case w.chance(p.storePart):
		w.counts.PartWrites++
		var some []string
		for _, l := range lines {
			if w.chance(0.5) {
				some = append(some, l)
			}
		}
		w.trace("store takes %d of %d lines and fails", len(some), len(lines))
		s.apply(database, some)
		return s.answer(t, w.between(0, 3*time.Second), errNotNow)
	case w.chance(p.storeLate):
		w.counts.LateAnswers++
		w.trace("store takes %d lines and does not answer", len(lines))
		s.apply(database, lines)
		return s.answer(t, w.between(time.Second, 20*time.Second), errTimeout)
	case w.chance(p.storeLands):
		w.counts.LateWrites++
		w.trace("store does not answer, and will take %d lines later", len(lines))
		w.after(w.between(0, time.Minute), func() { s.apply(database, lines) })
		return s.answer(t, w.between(time.Second, 20*time.Second), errTimeout)
	}
	good, err := s.sort(lines)
	if err != nil {
		w.counts.Refusals++
		w.trace("store refuses %d of %d lines: %v", len(lines)-len(good), len(lines), err)
	}
	s.apply(database, good)
	return s.answer(t, w.between(0, 10*time.Millisecond), err)
}

// answer takes its time; whoever waits for it may be killed meanwhile.
func (s *store) answer(t *task, d time.Duration, err error) error {
	if !t.wait(d) {
		return errKilled
	}
	return err
}

// sort leaves out the lines that are refused; a store that writes nothing at
// all then is as good as one that writes the rest.
func (s *store) sort(lines []string) (good []string, err error) {
	all := s.w.chance(0.3)
	for _, l := range lines {
		r := s.readingOf(l)
		switch {
		case r != nil && r.poison:
			err = refusal{}
		case r != nil && r.ancient:
			if err == nil {
				err = refusal{ancient: true}
			}
		default:
			good = append(good, l)
		}
	}
	if err != nil && all {
		return nil, err
	}
	return good, err
}

// readingOf is the reading of a line, nil when it is another's.
func (s *store) readingOf(line string) *reading {
	if !strings.HasPrefix(line, device.Power+",") {
		return nil
	}
	e, err := parseLine(strings.TrimSpace(line))
	if err != nil {
		return nil
	}
	n := numberOf(e)
	if n <= 0 || n >= len(s.w.truth.readings) {
		return nil
	}
	return s.w.truth.readings[n]
}

func numberOf(e entry) int {
	v, _ := e.columns["value"].(json.Number) // 0 is nobody's
	f, _ := v.Float64()                      // 0 is nobody's
	return int(f)
}

func (s *store) apply(database string, lines []string) {
	for _, l := range lines {
		e, err := parseLine(strings.TrimSpace(l))
		if err != nil {
			s.w.violate("%v", err)
			return
		}
		switch e.measurement {
		case device.Power:
			s.point(e)
		case "quarantine":
			s.quarantine(e)
		case "batch", "head":
			if database != "wattline" {
				s.w.violate("ledger in database %q", database)
			}
			s.row(&e)
		}
	}
}

// point keeps a reading; one with the same series and time takes its place.
func (s *store) point(e entry) {
	key, n := stored{e.series, e.at}, numberOf(e)
	if old, taken := s.points[key]; taken {
		if old == n {
			return
		}
		s.w.trace("reading %d takes the place of %d: %v", n, old, key)
		s.places[old] = slices.DeleteFunc(s.places[old], func(k stored) bool { return k == key })
	}
	s.points[key] = n
	s.places[n] = append(s.places[n], key)
	s.w.truth.account(n, "stored")
}

// quarantine reads back what was put there: the very bytes of the batch.
func (s *store) quarantine(e entry) {
	text, _ := e.columns["payload"].(string) // "" does not decode
	payload, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		records := records(payload)
		for _, n := range records {
			s.w.truth.account(n, "quarantined")
		}
		s.w.trace("quarantined: %v of %v", e.columns["batch"], records)
		s.w.counts.Quarantined++
	}
	if err != nil {
		s.w.violate("quarantine: %v", err)
	}
}

func records(payload []byte) (numbers []int) {
	_, list, err := read(payload)
	if err != nil {
		return nil
	}
	for _, r := range list {
		if strings.HasSuffix(r.Name, "/"+device.Power) {
			numbers = append(numbers, int(r.Value))
		}
	}
	return numbers
}

// row keeps a line of the ledger.
func (s *store) row(e *entry) {
	instance, _ := e.columns["instance"].(string) // "" is one
	list := s.rows[e.measurement][instance]
	i, _ := slices.BinarySearchFunc(list, e.at, func(x *entry, at int64) int { return int(x.at - at) })
	for j := i; j < len(list) && list[j].at == e.at; j++ {
		if list[j].series == e.series {
			list[j] = e
			return
		}
	}
	s.rows[e.measurement][instance] = slices.Insert(list, i, e)
	s.learn(e)
}

// learn tells the truth what anybody can read in the ledger from now on.
func (s *store) learn(e *entry) {
	text := func(column string) string {
		v, _ := e.columns[column].(string) // "" is none
		return v
	}
	if e.measurement == "head" {
		epoch, _ := contract.ParseEpoch(text("epoch"))         // 0 is nobody's
		uptime, _ := e.columns["uptime"].(json.Number).Int64() //nolint:errcheck,forcetypeassert // written by us
		s.w.truth.headStored(epoch, device.Micros(uptime))
		return
	}
	var replaces []contract.Range
	for part := range strings.SplitSeq(text("replaces"), ",") {
		if r, err := contract.ParseRange(part); err == nil {
			replaces = append(replaces, r)
		}
	}
	s.w.truth.told(replaces)
	if expired, _ := e.columns["expired"].(bool); expired { // false
		s.w.counts.Expired++
		if id, err := contract.ParseBatchID(text("id")); err == nil && s.w.truth.batches[id] != nil {
			for _, n := range s.w.truth.batches[id].numbers {
				s.w.truth.account(n, "expired")
			}
		}
	}
}

var (
	newest = regexp.MustCompile(`^SELECT last\("epoch"\) FROM "(\w+)" GROUP BY "instance"$`)
	since  = regexp.MustCompile(`^SELECT \* FROM "(\w+)" WHERE "instance" = '(\w+)' AND time > (\d+)u AND time <= (\d+)u$`)
)

// Query answers the two questions that the ledger's reader asks.
func (s *store) Query(_ context.Context, _, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error {
	if m := newest.FindStringSubmatch(influxql); m != nil {
		for _, r := range s.w.replicas {
			for _, instance := range r.instances {
				if list := s.rows[m[1]][instance]; len(list) > 0 {
					e := list[len(list)-1]
					row := []any{json.Number(strconv.FormatInt(e.at, 10)), e.columns["epoch"]}
					if err := each(m[1], map[string]string{"instance": instance}, []string{"time", "last"}, [][]any{row}); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	m := since.FindStringSubmatch(influxql)
	if m == nil {
		return fmt.Errorf("a query that the simulated store does not know: %s", influxql)
	}
	after, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	until, err := strconv.ParseInt(m[4], 10, 64)
	if err != nil {
		return fmt.Errorf("newest: %w", err)
	}
	for _, e := range s.rows[m[1]][m[2]] {
		if e.at <= s.w.position(after) || e.at > until {
			continue
		}
		columns, row := []string{"time"}, []any{json.Number(strconv.FormatInt(e.at, 10))}
		for k, v := range e.columns { // by name: the order is of no matter
			columns, row = append(columns, k), append(row, v)
		}
		if err := each(m[1], nil, columns, [][]any{row}); err != nil {
			return err
		}
	}
	return nil
}
