package influx_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/influx"
)

func FuzzAnswersToQueries(f *testing.F) {
	for _, s := range []string{
		`{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"id":"a"},"columns":["time","v"],"values":[[1,2.5],[2,null]]}]}]}`,
		`{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time"],"values":[[1]],"partial":true}],"partial":true}]}` + "\n" + `{"results":[{"statement_id":0}]}`,
		`{"results":[{"error":"x"}]}`, `{"error":"x"}`, `{}`, ``, `null`, `[`, `{"results":[{"series":[{"columns":["a"],"values":[["x"`,
		`{"results":[{"messages":[{"level":"warning","text":"x"}]}]}`, `{"results":{}}`, `{"results":[{"series":[{"columns":null,"values":[[]]}]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rows := 0
		err := influx.Decode(bytes.NewReader(body), func(_ string, _ map[string]string, columns []string, chunk [][]any) error {
			rows += len(chunk)
			for _, row := range chunk {
				if len(row) != len(columns) {
					t.Fatalf("row %v for columns %v", row, columns)
				}
			}
			return nil
		})
		// What was read without an error is valid JSON throughout, and has rows
		// only if it has values.
		if err == nil {
			d := json.NewDecoder(bytes.NewReader(body))
			for d.More() {
				var document any
				if err := d.Decode(&document); err != nil {
					t.Fatalf("accepted %q: %v", body, err)
				}
			}
		}
		if rows > 0 && !bytes.Contains(bytes.ToLower(body), []byte("[")) {
			t.Fatalf("%d rows of %q", rows, body)
		}
	})
}

// FuzzRowsAsEncodingJSON compares a row with what encoding/json makes of it.
func FuzzRowsAsEncodingJSON(f *testing.F) {
	for _, s := range []string{
		`1`, `1,2.5`, `-0`, `1e5,1E-5,-1.5e+5`, `01`, `1.`, `.5`, `-`, `1e`, `"a"`, `"a\"b"`, `"\u00e9"`, `"\ud800"`, "\"\xff\"", "\"a\nb\"", `null,true,false`,
		`nul`, `truefalse`, `[1],{"a":[2]}`, ` 1 , 2 `, `1,`, `,1`, `1 2`, `]`, `"]"`, `"a","b"`, `{}`, `1:2`, "\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		row = append(append([]byte{'['}, row...), ']')
		d := json.NewDecoder(bytes.NewReader(row))
		d.UseNumber()
		var want []any
		wantErr := d.Decode(&want)
		if wantErr == nil && !json.Valid(row) {
			return // a row and more
		}
		columns, _ := json.Marshal(make([]string, max(1, len(want))))
		body := `{"results":[{"series":[{"columns":` + string(columns) + `,"values":[` + string(row) + `]}]}]}`
		var got []any
		err := influx.Decode(strings.NewReader(body), func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			got = rows[0]
			return nil
		})
		switch {
		case wantErr == nil && len(want) > 0 && err != nil:
			t.Fatalf("%q: %v", row, err)
		case wantErr != nil && err == nil:
			t.Fatalf("%q: accepted, want %v", row, wantErr)
		case wantErr == nil && len(want) > 0:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q:\n%s", row, diff)
			}
		}
	})
}

func FuzzErrorAnswers(f *testing.F) {
	f.Add(400, `{"error":"partial write: points beyond retention policy dropped=1"}`, "1.8.10", "3")
	f.Add(422, `{"code":"unprocessable entity","message":"x"}`, "", "Mon, 02 Jan 2006 15:04:05 GMT")
	f.Add(503, "\xff\x00", "", "99999999999999999999")
	f.Fuzz(func(t *testing.T, status int, body, version, wait string) {
		e := influx.Classify(status, http.Header{"X-Influxdb-Version": {version}, "Retry-After": {wait}}, body)
		switch {
		case e.Refused() && status != http.StatusBadRequest && status != http.StatusUnprocessableEntity:
			t.Errorf("status %d is a refusal", status)
		case e.BeyondRetention() && !e.Refused():
			t.Error("expired and not refused")
		case e.RetryAfter() < 0 || e.RetryAfter().Hours() > 1:
			t.Errorf("retry after %v", e.RetryAfter())
		case len(e.Message) > 4<<10 || strings.ContainsAny(e.Message, "\n\r\x00\x1b") || !utf8.ValidString(e.Message):
			t.Errorf("message %q", e.Message)
		}
	})
}
