package influxquery_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

func TestMistakesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		subpath string
		pairs   []string
		want    string
	}{
		"no measurement":             {"sp", nil, `topic: "sp" is not DATABASE/MEASUREMENT`},
		"no topic":                   {"", nil, `topic: "" is not DATABASE/MEASUREMENT`},
		"a level too many":           {"sp/power/x", nil, `topic: "sp/power/x" is not DATABASE/MEASUREMENT`},
		"the ledger":                 {"wattline/batch", nil, `database: "wattline" is the system's own`},
		"a database in capitals":     {"Sp/power", nil, `database: "Sp" is not a lower-case`},
		"a database of InfluxDB":     {"_internal/database", nil, `database: "_internal" is not`},
		"a measurement of quotes":    {`sp/po"wer`, nil, `measurement: "po\"wer" is not`},
		"unknown operation":          {"", []string{"operation=max; DROP"}, `operation: "max; drop" is none of bottom count distinct`},
		"n without need":             {"", []string{"operation=mean", "n=3"}, "n: only for operation percentile, top, bottom and sample"},
		"n without operation":        {"", []string{"n=3"}, "n: only for operation"},
		"n missing":                  {"", []string{"operation=top"}, "n: operation top needs it"},
		"percentile over 100":        {"", []string{"operation=percentile", "n=100.1"}, `n: "100.1" is not a number over 0 and at most 100`},
		"percentile 0":               {"", []string{"operation=percentile", "n=0"}, `n: "0" is not a number over 0`},
		"percentile NaN":             {"", []string{"operation=percentile", "n=NaN"}, `n: "NaN" is not a number over 0`},
		"percentile by words":        {"", []string{"operation=percentile", "n=1e1"}, `n: "1e1" is not a number`},
		"top of none":                {"", []string{"operation=top", "n=0"}, `n: "0" is not a whole number from 1 to 10000`},
		"top of halves":              {"", []string{"operation=top", "n=1.5"}, `n: "1.5" is not a whole number`},
		"sample of too many":         {"", []string{"operation=sample", "n=10001"}, `n: "10001" is not a whole number from 1 to 10000`},
		"unit without integral":      {"", []string{"operation=mean", "unit=1h"}, "unit: only for operation integral"},
		"unit of nothing":            {"", []string{"operation=integral", "unit=0s"}, `unit: "0s" is not a whole number and a unit`},
		"malformed id":               {"", []string{"id=sp_w.r01.c1"}, `id: malformed device id: "sp_w.r01.c1": row must be`},
		"one of several ids":         {"", []string{"id=sp_g1,g2,x"}, `id: malformed device id: "x"`},
		"an id that is empty":        {"", []string{"id=sp_g1,"}, "id: an item of the list is empty"},
		"too many ids":               {"", []string{"id=" + strings.Repeat("g1,", 1000) + "g1"}, "id: 1001 values, at most 1000"},
		"id and row":                 {"", []string{"id=sp_g1", "row=1"}, "row: not together with id"},
		"a type in capitals":         {"", []string{"type=W"}, `type: "W" is not 1 to 32 lower-case letters`},
		"floor 01":                   {"", []string{"floor=01"}, `floor: "01" is not a whole number without leading zeros`},
		"floor -0":                   {"", []string{"floor=-0"}, `floor: "-0" is not a whole`},
		"row -1":                     {"", []string{"row=-1"}, `row: "-1" is not a whole number`},
		"column in words":            {"", []string{"column=one"}, `column: "one" is not a whole number`},
		"from in words":              {"", []string{"from=yesterday"}, `from: "yesterday" is neither POSIX seconds nor RFC 3339`},
		"from before 1970":           {"", []string{"from=-1"}, `from: "-1" is neither`},
		"to too far":                 {"", []string{"to=9999-01-01T00:00:00Z"}, `to: "9999-01-01T00:00:00Z" is neither`},
		"to of 13 digits":            {"", []string{"to=1705276800000"}, `to: "1705276800000" is neither`},
		"to infinite":                {"", []string{"to=Inf"}, `to: "Inf" is neither`},
		"from after to":              {"", []string{"from=2", "to=1"}, "from: is after to"},
		"every without operation":    {"", []string{"every=1h", "from=1"}, "every: needs an operation"},
		"every without from":         {"", []string{"every=1h", "operation=mean"}, "from: needed together with every"},
		"every in months":            {"", []string{"every=1mo", "operation=mean", "from=1"}, `every: "1mo" is not a whole number and a unit s m h d or w`},
		"every of nothing":           {"", []string{"every=0h", "operation=mean", "from=1"}, `every: "0h" is not`},
		"every of an age":            {"", []string{"every=999999999w", "operation=mean", "from=1"}, `every: "999999999w" is not`},
		"too many windows":           {"", []string{"every=1s", "operation=mean", "from=1705276800", "to=1705376800"}, "every: 100001 windows between from and to, at most 100000"},
		"windows from the future on": {"", []string{"every=1s", "operation=mean", "from=1705320001"}, "from: is in the future, and there is no to"},
		"fill without every":         {"", []string{"operation=mean", "fill=0"}, "fill: only together with every"},
		"fill in words":              {"", []string{"operation=mean", "every=1h", "from=1", "to=2", "fill=zero"}, `fill: "zero" is none of null none previous linear, nor a number`},
		"fill of top":                {"", []string{"operation=top", "n=1", "every=1h", "from=1", "to=2", "fill=0"}, "fill: not together with operation top"},
		"fill of distinct":           {"", []string{"operation=distinct", "every=1h", "from=1", "to=2", "fill=none"}, "fill: not together with operation distinct"},
		"half a count":               {"", []string{"operation=count", "every=1h", "from=1", "to=2", "fill=0.5"}, `fill: "0.5" is not a whole number`},
		"no such zone":               {"", []string{"tz=Nowhere/X"}, `tz: "Nowhere/X" is no time zone`},
		"the zone of this machine":   {"", []string{"tz=Local"}, `tz: "Local" is no time zone`},
		"a zone that climbs":         {"", []string{"tz=../../etc/passwd"}, `tz: "../../etc/passwd" is no time zone`},
		"a group that is a unit":     {"", []string{"group_by=unit"}, `group_by: "unit" is none of device type floor row column`},
		"limit 0":                    {"", []string{"limit=0"}, `limit: "0" is not a whole number from 1 to 10000000`},
		"limit under n":              {"", []string{"operation=top", "n=5", "limit=4"}, "limit: is less than n"},
		"order of another kind":      {"", []string{"order=random"}, `order: "random" is neither asc nor desc`},
		"order and fill":             {"", []string{"order=desc", "operation=mean", "every=1h", "from=1", "to=2", "fill=linear"}, "order: desc not together with fill linear"},
		"format of another kind":     {"", []string{"format=csv"}, `format: "csv" is neither senml nor series`},
		"empty":                      {"", []string{"id="}, "id: is empty"},
		"too long":                   {"", []string{"id=" + strings.Repeat("g", 70_000)}, "id: is longer than 65536 bytes"},
		"unknown":                    {"", []string{"colour=red"}, "colour: unknown; known are operation n unit id"},
		"unknown, of strange letters": {
			"", []string{"\x00\"; DROP DATABASE sp; \"=1"}, `"\x00'; DROP DATABAS"...: unknown`,
		},
		"all at once": {
			"SP/power",
			[]string{"operation=avg", "row=x", "colour=red", "limit=-1"},
			`database: "SP" is not a lower-case letter followed by at most 62 lower-case letters, digits or _; operation: "avg" is none of`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			subpath := test.subpath
			if subpath == "" && name != "no topic" {
				subpath = "sp/power"
			}
			_, err := influxquery.Parse(subpath, parameters(test.pairs...), device.MicrosOf(now))
			if !errors.Is(err, influxquery.ErrMistakes) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	_, err := influxquery.Parse("SP/power", parameters("operation=avg", "row=x", "colour=red", "limit=-1"), 0)
	for _, key := range []string{"database", "operation", "row", "limit", "colour"} {
		if !regexp.MustCompile(`(^|; )` + key + `: `).MatchString(err.Error()) {
			t.Errorf("%s is not named in %v", key, err)
		}
	}
}

func TestDataThatIsNoParameters(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"an array":         {`["id"]`, "data: want a JSON object of parameters"},
		"a text":           {`"id=3"`, "data: want a JSON object of parameters"},
		"cut off":          {`{"id":`, "data: want a JSON object of parameters"},
		"cut off later":    {`{"id":"sp_g1"`, "data: want a JSON object of parameters"},
		"two objects":      {`{} {}`, "data: want a JSON object of parameters"},
		"deeply nested":    {`{"id":` + strings.Repeat("[", 100_000), "data: want a JSON object of parameters"},
		"a list":           {`{"id":["sp_g1"]}`, "id: want a text or a number"},
		"an object":        {`{"id":{"a":1}}`, "id: want a text or a number"},
		"true":             {`{"limit":true}`, "limit: want a text or a number"},
		"twice":            {`{"id":"sp_g1","id":"sp_g2"}`, "id: given twice"},
		"a huge number":    {`{"limit":1e400}`, `limit: "1e400" is not a whole number`},
		"hundreds of keys": {`{"a` + strings.Join(strings.Split(strings.Repeat("x", 300), ""), `":1,"a`) + `":1}`, "ax: unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := influxquery.Parse("sp/power", json.RawMessage(test.data), 0)
			if !errors.Is(err, influxquery.ErrMistakes) || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 4000 {
				t.Errorf("got %.300v, want %s", err, test.want)
			}
		})
	}
	for _, data := range []string{"", "null", "{}", ` {"row":null} `, `{"row":0,"operation":"MEAN"}`} {
		if _, err := influxquery.Parse("sp/power", json.RawMessage(data), 0); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
}

func TestTimesWiden(t *testing.T) {
	for text, want := range map[string][2]device.Micros{
		"1585217932.2041745":              {1585217932204174, 1585217932204175},
		"1585217932.204174":               {1585217932204174, 1585217932204174},
		"1585217932.2041740":              {1585217932204174, 1585217932204174},
		"0":                               {0, 0},
		"2020-03-26T10:18:52.2041745Z":    {1585217932204174, 1585217932204175},
		"2020-03-26T11:18:52.2+01:00":     {1585217932200000, 1585217932200000},
		"1585217932.00000000000000000001": {1585217932000000, 1585217932000001},
	} {
		q, err := influxquery.Parse("sp/power", parameters("from="+text, "to="+text), 0)
		if err != nil || *q.From != want[0] || *q.To != want[1] {
			t.Errorf("%s: %v to %v, %v; want %v", text, q.From, q.To, err, want)
		}
	}
}

// refusing is a store that always fails in one way.
type refusing struct{ err error }

func (s refusing) Query(context.Context, string, string, func(string, map[string]string, []string, [][]any) error) error {
	return s.err
}

type verdict struct {
	missing bool
	text    string
}

func (v *verdict) Error() string         { return v.text }
func (v *verdict) DatabaseMissing() bool { return v.missing }

// late is the Store's own time limit.
type late struct{}

func (late) Error() string  { return "query sp: no answer in time" }
func (late) TimedOut() bool { return true }

func TestStoresThatFail(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		answer string
		want   string
	}{
		"away":          {errors.New("connection refused by 10.0.0.7"), "", "InfluxDB does not answer, try again"},
		"no database":   {&verdict{true, "database not found"}, `[{"bn":"","bu":"W"}]`, ""},
		"no such query": {&verdict{false, "error parsing query: found X"}, "", "InfluxDB refused the query; the log says why"},
		"too slow":      {late{}, "", "InfluxDB takes too long, ask for less or try again"},
	} {
		t.Run(name, func(t *testing.T) {
			var g gathered
			err := newComponent(refusing{test.err}, 1).Handle(t.Context(), hook.Request{Subpath: "sp/power"}, &g)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != test.want || (len(g.parts) == 0) != (test.answer == "") || test.answer != "" && string(g.parts[0]) != test.answer {
				t.Errorf("%v, %s; want %q, %s", err, g.parts, test.want, test.answer)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	var g gathered
	err := newComponent(refusing{context.DeadlineExceeded}, 1).Handle(ctx, hook.Request{Subpath: "sp/power"}, &g)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, influxquery.ErrStore) {
		t.Errorf("too slow: %v", err)
	}
}

func TestQueryOfADatabaseThatIsNotThere(t *testing.T) {
	s := newStand(t)
	s.database = "nowhere"
	if got := s.ask("power", "operation=mean", "format=series"); got != "[]" {
		t.Errorf("got %s", got)
	}
	if got := s.ask("level", "operation=mean"); got != `[{"bn":"level"}]` {
		t.Errorf("got %s", got)
	}
}
