package influx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/influx/line"
)

// chunk is one call of each.
type chunk struct {
	Name    string
	Tags    map[string]string
	Columns []string
	Rows    [][]any
}

func collect(into *[]chunk) func(string, map[string]string, []string, [][]any) error {
	return func(name string, tags map[string]string, columns []string, rows [][]any) error {
		*into = append(*into, chunk{name, tags, columns, rows})
		return nil
	}
}

func TestQueryGivesSeriesWithTheirTypes(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	mustWrite(t, c, database, `m,id=a f=1.5,i=9007199254740993i,b=true,s="x" 1700000000000001
m,id=b f=2 1700000000000002
`)
	var got []chunk
	err := c.Query(t.Context(), database, `SELECT f, i, b, s FROM m GROUP BY id; SELECT f FROM nothing; SELECT f FROM m WHERE id = 'b'`, collect(&got))
	if err != nil {
		t.Fatal(err)
	}
	want := []chunk{
		{"m", map[string]string{"id": "a"}, []string{"time", "f", "i", "b", "s"}, [][]any{{json.Number("1700000000000001"), json.Number("1.5"), json.Number("9007199254740993"), true, "x"}}},
		{"m", map[string]string{"id": "b"}, []string{"time", "f", "i", "b", "s"}, [][]any{{json.Number("1700000000000002"), json.Number("2"), nil, nil, nil}}},
		{"m", nil, []string{"time", "f"}, [][]any{{json.Number("1700000000000002"), json.Number("2")}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLongAnswersComeInChunksAndWhole(t *testing.T) {
	// The limit cuts answers in one piece, and says so where nobody looks.
	c := connect(t, influxtest.StartEmbedded(t, map[string]string{"INFLUXDB_HTTP_MAX_ROW_LIMIT": "100"}))
	database := influxtest.Database(t)
	const points = 25_000
	var lines []byte
	for i := range int64(points) {
		lines = line.Append(lines, "power", []line.Tag{{Key: "id", Value: "a"}}, []line.Field{line.Int("value", i)}, 1_700_000_000_000_000+i)
	}
	if err := c.Write(t.Context(), database, lines); err != nil {
		t.Fatal(err)
	}
	next, calls := int64(0), 0
	err := c.Query(t.Context(), database, `SELECT value FROM power`, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
		calls++
		if len(rows) > 10_000 {
			t.Errorf("%d rows at once, want 10000 at most", len(rows))
		}
		for _, row := range rows {
			if got, want := row[1], json.Number(fmt.Sprint(next)); got != want {
				return fmt.Errorf("row %v, want %v", got, want)
			}
			next++
		}
		return nil
	})
	if err != nil || next != points || calls < 3 {
		t.Errorf("%d rows in %d calls, error %v; want %d rows in 3 or more", next, calls, err, points)
	}
}

func TestRefusedStatementsAreTold(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	mustWrite(t, c, database, "m value=1 1\n")
	for statement, want := range map[string]string{
		"SELECT FROM m":              "error parsing query",
		"":                           `missing required parameter "q"`,
		"SELECT bogus(value) FROM m": "undefined function bogus()",
		"SELECT value FROM m; SELECT bogus(v) FROM m":   "undefined function bogus()",
		"SELECT value FROM m tz('Nowhere/X')":           "unable to find time zone",
		"SELECT mean(value) FROM m GROUP BY time(1mo)":  "invalid duration",
		"SELECT value FROM m WHERE time > 'not a time'": "invalid operation",
	} {
		err := c.Exec(t.Context(), database, statement)
		qe, ok := errors.AsType[*influx.QueryError](err)
		if !ok || !strings.Contains(qe.Message, want) || qe.DatabaseMissing() {
			t.Errorf("%q: got %v, want a QueryError of %q", statement, err, want)
		}
	}
}

func TestQueryOfAMissingDatabaseSaysSo(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	err := c.Exec(t.Context(), influxtest.Database(t), "SELECT value FROM m")
	if qe, ok := errors.AsType[*influx.QueryError](err); !ok || !qe.DatabaseMissing() {
		t.Errorf("got %v, want a QueryError of a missing database", err)
	}
}

func TestErrorOfEachEndsTheQuery(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	mustWrite(t, c, database, "m,id=a value=1 1\nm,id=b value=1 1\n")
	for _, want := range []error{errors.New("enough"), io.EOF, io.ErrUnexpectedEOF} {
		calls := 0
		err := c.Query(t.Context(), database, "SELECT value FROM m GROUP BY id", func(string, map[string]string, []string, [][]any) error {
			calls++
			return want
		})
		if err != want || calls != 1 { //nolint:errorlint // as it is means as it is
			t.Errorf("got %v after %d calls, want %v after 1", err, calls, want)
		}
	}
}

func TestKilledServerIsNoShortAnswer(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s)
	database := influxtest.Database(t)
	for i := range 10 {
		if err := c.Write(t.Context(), database, readings(40_000, 1_600_000_000_000_000+int64(i)*1e9)); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	err := c.Query(t.Context(), database, "SELECT * FROM power, voltage, current, energy", func(_ string, _ map[string]string, _ []string, r [][]any) error {
		if rows == 0 {
			_ = syscall.Kill(s.Embedded.PID(), syscall.SIGKILL)
		}
		rows += len(r)
		return nil
	})
	if rows < 400_000 && err == nil {
		t.Errorf("%d of 400000 rows and no error", rows)
	}
	if err != nil {
		if got, want := verdictOf(t, err), (verdict{}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestQueryEndsInTime(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s, func(cfg *influx.Config) { cfg.QueryTimeout = time.Second })
	freeze(t, s.Embedded.PID())
	begin := time.Now()
	if err := c.Exec(t.Context(), "sp", "SHOW DATABASES"); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("got %v after %v, want no answer in time", err, time.Since(begin))
	} else if e, ok := errors.AsType[*influx.Error](err); !ok || !e.TimedOut() {
		t.Errorf("got %v, want one that timed out", err)
	}
}

func TestASlowReaderIsNoSilentServer(t *testing.T) {
	const document = `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","v"],"values":[[1,2]]}]}]}`
	read := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Influxdb-Version", "1.8.10")
		for range 2 {
			_, _ = io.WriteString(w, document)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-read:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(s.Close)
	c := connect(t, &influxtest.Server{URL: s.URL}, func(cfg *influx.Config) { cfg.QueryTimeout = time.Second })
	rows := 0
	err := c.Query(t.Context(), "sp", "SELECT v FROM m", func(_ string, _ map[string]string, _ []string, r [][]any) error {
		rows += len(r)
		<-time.After(1300 * time.Millisecond)
		read <- struct{}{}
		return nil
	})
	if err != nil || rows != 2 {
		t.Errorf("%d rows, %v; want 2", rows, err)
	}
}

// answering gives a client whose server answers every query with this.
func answering(t *testing.T, status int, body string) *influx.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Influxdb-Version", "1.8.10")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return connect(t, &influxtest.Server{URL: s.URL})
}

func TestBrokenAnswersAreErrors(t *testing.T) {
	row := func(s string) string {
		return `{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","v"],"values":[` + s + `]}]}]}`
	}
	for name, test := range map[string]struct {
		body string
		rows int    // handed over before
		want string // "": no error
	}{
		"whole":                 {row("[1,2]"), 1, ""},
		"no rows":               {`{"results":[{"statement_id":0}]}`, 0, ""},
		"nulls":                 {`{"results":[{"series":null}]}`, 0, ""},
		"messages":              {`{"results":[{"messages":[{"level":"warning","text":"x"}],"series":[]}]}`, 0, ""},
		"empty":                 {"", 0, "breaks off"},
		"cut in a row":          {strings.TrimRight(row("[1,2],[3"), "]}"), 0, "EOF"},
		"cut between documents": {strings.Replace(row("[1,2]"), `"statement_id":0`, `"partial":true`, 1), 1, "breaks off"},
		"cut after one": {
			strings.Replace(row("[1,2]"), `"statement_id":0`, `"partial":true`, 1) + "\n" + row("[1,2]")[:60], 1, "EOF",
		},
		"error after rows":     {row("[1,2]") + "\n" + `{"results":[{"statement_id":0,"error":"query interrupted"}]}`, 1, "query interrupted"},
		"error without words":  {`{"error":""}`, 0, "no reason given"},
		"a web page":           {"<html>", 0, "no JSON"},
		"a list":               {"[]", 0, "want an object"},
		"results of numbers":   {`{"results":[1]}`, 0, "want an object"},
		"rows before columns":  {`{"results":[{"series":[{"values":[[1]]}]}]}`, 0, "rows before their columns"},
		"short row":            {row("[1]"), 0, "row of 1 values for 2 columns"},
		"long row":             {row("[1,2,3]"), 0, "row of 3 values for 2 columns"},
		"row of another type":  {row(`{"a":1}`), 0, "cannot unmarshal"},
		"deep nesting":         {`{"x":` + strings.Repeat("[", 200_000), 0, "EOF"},
		"a value without end":  {row(`["` + strings.Repeat("x", 17<<20)), 0, "a value of more than"},
		"a number out of any":  {row("[1,1e999]"), 1, ""},
		"two documents in one": {row("[1,2]") + row("[3,4]"), 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rows := 0
			err := answering(t, http.StatusOK, test.body).Query(t.Context(), "sp", "SELECT v FROM m", func(_ string, _ map[string]string, _ []string, r [][]any) error {
				rows += len(r)
				return nil
			})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if rows != test.rows {
				t.Errorf("%d rows handed over, want %d", rows, test.rows)
			}
		})
	}
}

// hostile are texts that try to leave their place.
var hostile = []string{
	"plain", " ", "a b", "a,b", "a=b", `"`, `'`, `\`, `\\`, `\ `, `\\ `, `a\`, `a\,b`, `\=`, `\ \="`, "#", "# comment",
	"a\nm value=1 1", "\r\n", "\t", "\x00", "\x7f", "\xff", "\xff\\", "Küche", "\u2028", "💡", `x' OR 'a'='a`, `x"; DROP DATABASE "sp`,
	`'; DROP MEASUREMENT m; --`, "/.*/", "$tag", "time", "SELECT", "value", "{}", "%s", `\n`, `\'`, `\"`, "a'b\"c\\d", "''", `""`,
}

func TestHostileTextsComeBackAsThePackagesSay(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	neighbour := func(dst []byte, at int64) []byte {
		return line.Append(dst, "neighbour", nil, []line.Field{line.Float("value", 1)}, at)
	}
	var lines []byte
	at := int64(1_700_000_000_000_000)
	for _, text := range hostile {
		lines = neighbour(lines, at)
		tags := []line.Tag{{Key: "id", Value: text}}
		if text != "time" {
			tags = append(tags, line.Tag{Key: "k" + text, Value: "x"})
		}
		lines = line.Append(lines, "m"+text, tags, []line.Field{line.Float("value", 1), line.String("f"+text, text)}, at)
		at++
	}
	lines = neighbour(lines, at)
	if err := c.Write(t.Context(), database, lines); err != nil {
		t.Fatal(err)
	}
	if got, want := mustCount(t, c, database, "neighbour"), int64(len(hostile)+1); got != want {
		t.Errorf("%d neighbours, want %d", got, want)
	}
	for i, text := range hostile {
		stored := parsedTag(t, text)
		// Everything about the point by quoted text, and nothing else found.
		statement := "SELECT value FROM " + influxql.Ident(parsedTag(t, "m"+text)) +
			" WHERE id = " + influxql.String(stored) + " AND " + influxql.Ident("f"+stored) + " = " + influxql.String(strings.ToValidUTF8(text, "\uFFFD"))
		if strings.ContainsAny(text, "\r\x00") {
			// InfluxQL cannot say these; the tag alone must do.
			statement = "SELECT value FROM " + influxql.Ident(parsedTag(t, "m"+text)) + " WHERE id = " + influxql.String(stored)
		}
		rows := mustQuery(t, c, database, statement)
		if want := fmt.Sprintf("[[%d 1]]", 1_700_000_000_000_000+int64(i)); fmt.Sprint(rows) != want {
			t.Errorf("%q: %s gives %v, want %s", text, statement, rows, want)
		}
	}
	if got := len(mustQuery(t, c, database, "SHOW MEASUREMENTS")); got != len(hostile)+1 {
		t.Errorf("%d measurements, want %d", got, len(hostile)+1)
	}
}

// parsedTag gives the text that package line stores for a tag value. Only the
// characters of this file's texts are covered.
func parsedTag(t *testing.T, text string) string {
	t.Helper()
	raw := string(line.Append(nil, "m", []line.Tag{{Key: "k", Value: text}}, []line.Field{line.Int("v", 1)}, 0))
	raw = strings.TrimSuffix(strings.TrimPrefix(raw, "m,k="), " v=1i 0\n")
	return strings.NewReplacer(`\,`, `,`, `\ `, ` `, `\=`, `=`).Replace(raw)
}
