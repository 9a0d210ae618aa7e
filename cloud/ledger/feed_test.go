package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// shown is a ledger of several instances, of which InfluxDB shows more and more:
// of each instance all writes but the newest whole, and of that one some rows, or
// rows that lack fields.
type shown struct {
	random *rand.Rand
	writes map[string][][]device.Micros // of each instance
	// visible is how many writes of an instance are whole; part are the rows of the
	// one under way, true where all fields show.
	visible map[string]int
	part    map[string]map[device.Micros]bool
}

func (s *shown) Write(context.Context, string, []byte) error { return nil }

var asked = regexp.MustCompile(`"instance" = '(\w+)' AND time > (-?\d+)u AND time <= (\d+)u(?: LIMIT (\d+))?`)

// rows are those that show of an instance, in order; full tells those with all
// fields.
func (s *shown) rows(instance string) (list []device.Micros, full map[device.Micros]bool) {
	full = map[device.Micros]bool{}
	for _, write := range s.writes[instance][:s.visible[instance]] {
		for _, at := range write {
			list, full[at] = append(list, at), true
		}
	}
	for at, whole := range s.part[instance] {
		list, full[at] = append(list, at), whole
	}
	slices.Sort(list)
	return list, full
}

func (s *shown) Query(_ context.Context, _, q string, each func(string, map[string]string, []string, [][]any) error) error {
	number := func(n device.Micros) json.Number { return json.Number(strconv.FormatInt(int64(n), 10)) }
	if strings.HasPrefix(q, "SELECT last") {
		for instance := range s.writes {
			if list, _ := s.rows(instance); len(list) > 0 {
				if err := each("batch", map[string]string{"instance": instance}, []string{"time", "last"}, [][]any{{number(list[len(list)-1]), "x"}}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	m := asked.FindStringSubmatch(q)
	if m == nil {
		return fmt.Errorf("a question that is not understood: %s", q)
	}
	from, _ := strconv.ParseInt(m[2], 10, 64)
	to, _ := strconv.ParseInt(m[3], 10, 64)
	limit, _ := strconv.Atoi(m[4])
	list, full := s.rows(m[1])
	var rows [][]any
	for _, at := range list {
		if int64(at) > from && int64(at) <= to && len(rows) < limit {
			var readings any = json.Number("1")
			if !full[at] {
				readings = nil
			}
			rows = append(rows, []any{number(at), "g" + strconv.Itoa(int(at%3)), m[1], fmt.Sprintf("%s@%d", m[1], at), readings})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return each("batch", nil, []string{"time", "gateway", "instance", "id", "readings"}, rows)
}

// on lets one instance's write show further, or begin the next.
func (s *shown) on(now device.Micros) {
	for _, instance := range []string{"a", "b", "c"} {
		writes := s.writes[instance]
		switch s.random.IntN(4) {
		case 0: // the newest is whole, and another begins
			s.visible[instance] = len(writes)
			begin := now - now%1000 + device.Micros(s.random.IntN(3))*3600*second*device.Micros(len(instance)) // clocks differ
			if n := len(writes); n > 0 {
				begin = max(begin, writes[n-1][0]-writes[n-1][0]%1000+1000)
			}
			var write []device.Micros
			for i := range 1 + s.random.IntN(6) {
				write = append(write, begin+device.Micros(i))
			}
			s.writes[instance] = append(writes, write)
			s.part[instance] = map[device.Micros]bool{}
		case 1, 2:
			if len(writes) == s.visible[instance] {
				continue
			}
			for _, at := range writes[len(writes)-1] {
				if s.random.IntN(2) == 0 {
					s.part[instance][at] = s.part[instance][at] || s.random.IntN(2) == 0
				}
			}
		}
	}
}

// A follower with portions of any size, that does some entries before others and
// is started again at any time, is given every entry, and none that it has done.
//
// Seen to fail with a position at the newest entry, with rows that are taken
// whatever they lack, and with a portion that forgets what was done out of turn.
func TestAFollowerIsGivenEveryEntryOnce(t *testing.T) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		s := &shown{random: random, writes: map[string][][]device.Micros{}, visible: map[string]int{}, part: map[string]map[device.Micros]bool{}}
		now := start
		feed := ledger.NewFeed(s)
		feed.Now = clock(&now)
		done := map[string]int{}
		var position json.RawMessage
		follow := func(most int) int {
			list, after, err := feed.Next(t.Context(), position, most)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > most {
				t.Fatalf("seed %d: %d entries, at most %d were asked for", seed, len(list), most)
			}
			some := slices.Clone(list)
			if random.IntN(2) == 0 {
				random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
				some = some[:random.IntN(len(some)+1)]
			}
			for _, e := range some {
				done[e.ID]++
				if e.Readings != 1 {
					t.Fatalf("seed %d: %s was given in part", seed, e.ID)
				}
			}
			if len(some) == len(list) {
				position = after
			} else if position, err = feed.Taken(position, some); err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		for range 60 {
			now += device.Micros(random.IntN(2_000_000))
			s.on(now)
			follow(1 + random.IntN(8))
		}
		for instance, writes := range s.writes {
			s.visible[instance], s.part[instance] = len(writes), nil
		}
		for range 2 { // at once, and when all has settled
			for follow(5) > 0 {
			}
			now += 10 * 60 * second
		}
		for follow(5) > 0 {
		}
		for instance, writes := range s.writes {
			for _, at := range slices.Concat(writes...) {
				if n := done[fmt.Sprintf("%s@%d", instance, at)]; n != 1 {
					t.Fatalf("seed %d: %s@%d was given %d times", seed, instance, at, n)
				}
			}
		}
	}
}

func TestAFeedFollowsARealLedger(t *testing.T) {
	c, gateway := database(t), source()
	feed := ledger.NewFeed(c)
	instance := fmt.Sprintf("%016x", start)
	old := ledger.NewBook(c, instance, nil)
	enter := func(book *ledger.Book, from, n uint64) {
		t.Helper()
		var list []contract.Entry
		for i := range n {
			list = append(list, entry(1, from+i, nil, func(e *contract.Entry) { e.Source = gateway }))
		}
		if err := book.Enter(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	enter(old, 1, 1500)
	read := func(position json.RawMessage, most int) (json.RawMessage, []uint64) {
		t.Helper()
		var numbers []uint64
		for {
			list, after, err := feed.Next(t.Context(), position, most)
			if err != nil {
				t.Fatal(err)
			}
			position = after
			if len(list) == 0 {
				return position, numbers
			}
			for _, e := range list {
				if e.Source == gateway {
					numbers = append(numbers, e.Batch.Sequence)
				}
			}
		}
	}
	now, err := feed.Start(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, got := read(now, 100); len(got) != 0 {
		t.Errorf("a follower from now on was given %d entries", len(got))
	}
	_, got := read(nil, 700)
	if slices.Sort(got); len(got) != 1500 || got[0] != 1 || got[1499] != 1500 {
		t.Errorf("from the beginning: %d entries", len(got))
	}
	behind, oldest, err := feed.Behind(t.Context(), nil)
	if err != nil || behind < 1500 || oldest == 0 {
		t.Errorf("behind %d since %v, %v", behind, oldest, err)
	}
	enter(old, 1501, 3)
	hoursBehind := 1000 * second
	enter(ledger.NewBook(c, instance+"b", clock(&hoursBehind)), 2001, 2) // a run whose clock is wrong by decades
	now, got = read(now, 2)
	if slices.Sort(got); !slices.Equal(got, []uint64{1501, 1502, 1503, 2001, 2002}) {
		t.Errorf("after the start: %v", got)
	}
	if behind, oldest, err := feed.Behind(t.Context(), now); err != nil || behind != 0 || oldest != 0 {
		t.Errorf("behind %d since %v, %v", behind, oldest, err)
	}
}
