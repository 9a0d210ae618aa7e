package influxquery_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// hostile are texts that end a literal, a clause or a statement somewhere.
var hostile = []string{
	`'`, `"`, `\`, `\'`, `\"`, `'; DROP DATABASE sp; --`, `"; DROP DATABASE sp; --`, `power"; DROP MEASUREMENT "power`,
	`x' OR 'a'='a`, `sp_g1' OR time > 0 OR 'a'='`, `sp_g1'/*`, `*/`, `--`, "a\nb", "a\r\nb", "\x00", "\xff\xfe", `/.*/`, `=~ /./`,
	`w) OR (1=1`, `1) fill(0`, `1h), "unit"`, `UTC') LIMIT 1; DROP DATABASE sp`, `Europe/Berlin') --`, `0) INTO "copy" FROM "power" --`,
	`1;SELECT * FROM power`, `mean("value") FROM power; SHOW DATABASES; SELECT max`, `SELECT`, `$1`, `${id}`, `%27`, `%00`, "\u2019", "ſp_g1",
	`1 OR 1=1`, `1e9`, `-`, `+1`, `0x10`, `١`, `now() - 1h`, `1705276800s`, `null`, strings.Repeat("(", 5000),
}

var everyKey = []string{
	"operation", "n", "unit", "id", "type", "floor", "row", "column", "from", "to", "every", "tz", "fill", "group_by", "limit", "order", "format",
}

// usual are parameters under which every key matters.
var usual = map[string]string{"operation": "mean", "every": "1h", "from": "1705276800", "to": "1705363199"}

func TestInjectionIntoEveryString(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	count := func() int {
		series := s.series(t, "operation=count")
		if len(series) != 1 {
			t.Fatalf("the points are gone: %+v", series)
		}
		return int(*series[0].Points[0].V)
	}
	databases := func() (n int) {
		err := s.store.Query(t.Context(), s.database, "SHOW DATABASES", func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			n += len(rows)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := databases()
	for _, text := range hostile {
		for _, subpath := range []string{s.database + "/" + text, text + "/power", text} {
			s.attack(t, subpath, usual)
		}
		for _, key := range everyKey {
			values := map[string]string{key: text}
			for k, v := range usual {
				if _, given := values[k]; !given {
					values[k] = v
				}
			}
			s.attack(t, s.database+"/power", values)
			s.attack(t, s.database+"/power", map[string]string{key: text})
		}
		s.attack(t, s.database+"/power", map[string]string{text: text})
	}
	if n := count(); n != len(places) {
		t.Errorf("%d points, want %d", n, len(places))
	}
	if n := databases(); n != before {
		t.Errorf("%d databases, were %d", n, before)
	}
}

// attack asks and wants a mistake or an answer; never a statement that InfluxDB
// does not understand.
func (s *stand) attack(t *testing.T, subpath string, values map[string]string) {
	t.Helper()
	data, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var g gathered
	err = s.component.Handle(t.Context(), hook.Request{Subpath: subpath, Data: data}, &g)
	if err != nil && !errors.Is(err, influxquery.ErrMistakes) {
		t.Errorf("%q %s: %v", subpath, data, err)
	}
}

// Names are quoted where InfluxQL is built, whatever Parse let through.
func TestQuotingHoldsWithoutParse(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	for _, text := range hostile {
		q := influxquery.Query{Database: s.database, Measurement: text, Types: []string{text, "w"}, Operation: "count"}
		for _, statement := range q.Statements(1, true) {
			if err := oneSelect(statement.Text); err != "" {
				t.Errorf("%q: %s: %s", text, err, statement.Text)
			}
			err := s.store.Query(t.Context(), s.database, statement.Text, func(name string, _ map[string]string, _ []string, _ [][]any) error {
				t.Errorf("%q found %s", text, name)
				return nil
			})
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	if got := s.series(t, "operation=count"); *got[0].Points[0].V != float64(len(places)) {
		t.Errorf("%+v", got)
	}
}

// plainAlternatives is the one form of a regular expression that is built.
var plainAlternatives = regexp.MustCompile(`/\^\(\?:[a-z0-9_\-|]+(\\\.[a-z0-9_\-|]+)*\)\$/`)

// oneSelect says what keeps a statement from being exactly one SELECT: it reads
// quotes as InfluxQL's scanner does, and outside of them nothing may stand that
// begins a comment, a regular expression or another statement.
func oneSelect(text string) (problem string) {
	var outside strings.Builder
	for i := 0; i < len(text); i++ {
		quote := text[i]
		if quote != '\'' && quote != '"' {
			outside.WriteByte(quote)
			continue
		}
		outside.WriteByte('q')
		for i++; i < len(text) && text[i] != quote; i++ {
			switch text[i] {
			case '\n', '\r', 0:
				return "a line break in a literal"
			case '\\':
				if i++; i == len(text) || !strings.ContainsRune(`n\'"`, rune(text[i])) {
					return "an escape that InfluxQL does not know"
				}
			}
		}
		if i == len(text) {
			return "a literal that does not end"
		}
	}
	code := plainAlternatives.ReplaceAllString(outside.String(), "q")
	switch {
	case !strings.HasPrefix(code, "SELECT "):
		return "no SELECT"
	case strings.Count(strings.ToUpper(code), "SELECT") != 1:
		return "more than one SELECT"
	case strings.ContainsAny(code, ";/$`\\\n"), strings.Contains(code, "--"), strings.Contains(code, "INTO"):
		return "more than a SELECT"
	case strings.Count(code, "(") != strings.Count(code, ")"):
		return "brackets that do not match"
	}
	for i := range len(code) {
		if code[i] < ' ' || code[i] > '~' {
			return "strange letters outside of literals"
		}
	}
	return ""
}

// Whatever the parameters are: mistakes, or statements that are one SELECT
// each, with both bounds where there are windows.
func FuzzQuery(f *testing.F) {
	f.Add("sp/power", "mean", "", "sp_g1,w.r1.c1", "w", "1,-2", "0", "1705276800", "1h", "Europe/Berlin", "linear", "device,floor", "5")
	f.Add("sp/power", "percentile", "99.9", "", "", "", "", "2024-01-15T00:00:00Z", "1w", "UTC", "-1.5", "row", "")
	f.Add("sp/power", "integral", "", "sp_f2.g3", "", "", "", "1705276800.5", "15m", "", "previous", "", "100")
	f.Add("sp/x-1:a.b_c", "", "", "", "", "", "", "", "", "", "", "type,column", "1")
	f.Add("sp/power", "", "", "sp_g"+strings.Join([]string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18"}, ",sp_w.r1.c"), "", "", "", "", "", "", "", "", "")
	for _, text := range hostile {
		f.Add("sp/power", text, text, text, text, text, text, text, text, text, text, text, text)
	}
	f.Fuzz(func(t *testing.T, subpath, operation, n, id, kind, floor, row, from, every, tz, fill, groupBy, limit string) {
		values := map[string]string{
			"operation": operation, "n": n, "id": id, "type": kind, "floor": floor, "row": row, "from": from, "every": every, "tz": tz, "fill": fill,
			"group_by": groupBy, "limit": limit,
		}
		for key, value := range values {
			if value == "" {
				delete(values, key)
			}
		}
		data, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		check(t, subpath, data)
	})
}

func FuzzParameters(f *testing.F) {
	f.Add("sp/power", []byte(`{"operation":"mean","every":"1h","from":1705276800,"to":"2024-01-16T00:00:00Z","fill":0,"row":null}`))
	f.Add("sp/power", []byte(`{"operation":"top","n":3,"group_by":"floor","order":"desc","format":"series"}`))
	f.Add("sp/power", []byte(`{"a":{"b":[1,2,{}]},"id":"sp_g1","id":"sp_g2"}`))
	f.Add("wattline/batch", []byte(`[]`))
	f.Fuzz(check)
}

func check(t *testing.T, subpath string, data []byte) {
	q, err := influxquery.Parse(subpath, data, device.MicrosOf(now))
	if err != nil {
		if !errors.Is(err, influxquery.ErrMistakes) || err.Error() == "" {
			t.Fatalf("an error of another kind: %v", err)
		}
		return
	}
	for _, known := range []bool{false, true} {
		for _, statement := range q.Statements(1, known) {
			if problem := oneSelect(statement.Text); problem != "" {
				t.Fatalf("%s %s: %s: %s", subpath, data, problem, statement.Text)
			}
			windows := strings.Contains(statement.Text, "time(")
			if windows && (q.From == nil || q.To == nil || !strings.Contains(statement.Text, "time >= ") || !strings.Contains(statement.Text, "time <= ")) {
				t.Fatalf("windows without bounds: %s", statement.Text)
			}
		}
	}
}
