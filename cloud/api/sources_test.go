package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/wattline/wattline/shared/hook"
)

func TestSourcesAreGatewaysAndAgents(t *testing.T) {
	s := start(t)
	s.get("/api/v1/sources").problem(http.StatusServiceUnavailable)
	s.register()
	one := func(name string, entered, numbered int, more string) string {
		return fmt.Sprintf(`{"source":%q,"messages":9,"records":8,"quarantined":1,"limited":2,"malformed":3,"series":4,"entered":%d,"numbered":%d,"first":1705320000,"heard":1705320001.5%s}`, name, entered, numbered, more)
	}
	s.component(hook.Queries, "ledger_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		answer := map[string]string{
			`{}`:                                   `{"items":[` + one("edge-f1", 9, 9, "") + "," + one("lab", 2, 0, `,"error":"too fast","error_at":1705320001`) + `],"next":"bGFi"}`,
			`{"cursor":"bGFi","limit":"2"}`:        `{"items":[` + one("z", 0, 0, "") + `],"next":""}`,
			`{"source":"lab"}`:                     `{"items":[` + one("lab", 2, 0, "") + `],"next":""}`,
			`{"from":"1970-01-01T00:00:00+01:00"}`: `{"items":[],"next":""}`,
			`{"source":"nobody"}`:                  `{"items":[],"next":""}`,
			`{"source":"a/b"}`:                     `{"items":[],"next":""}`,
			`{"prefix":"garbage"}`:                 `{"items":7}`,
			`{"prefix":"away"}`:                    `"away"`,
			`{"limit":"0"}`:                        `"mistaken"`,
		}[string(r.Data)]
		switch {
		case r.Subpath != "sources" || answer == "":
			return fmt.Errorf("asked %s %s", r.Subpath, r.Data)
		case answer == `"away"`:
			return fmt.Errorf("InfluxDB does not answer, try again")
		case answer == `"mistaken"`:
			return fmt.Errorf("limit: 0 is not a whole number from 1 to 1000")
		}
		w.Send(json.RawMessage(answer), nil)
		return nil
	})
	const counts = `"messages":9,"records":8,"quarantined":1,"limited":2,"malformed":3,"series":4,"first":"2024-01-15T12:00:00Z","heard":"2024-01-15T12:00:01.5Z"`
	s.get("/api/v1/sources").is(http.StatusOK, `{"items":[{"source":"edge-f1","kind":"gateway","ledger":"numbered",`+counts+`},`+
		`{"source":"lab","kind":"agent","ledger":"receipted",`+counts+`,"error":"too fast","error_at":"2024-01-15T12:00:01Z"}],"next":"bGFi"}`)
	s.get("/api/v1/sources?limit=2&cursor=bGFi").is(http.StatusOK, `{"items":[{"source":"z","kind":"agent","ledger":"none",`+counts+`}],"next":null}`)
	s.get("/api/v1/sources?from=1970-01-01T00:00:00+01:00").is(http.StatusOK, `{"items":[],"next":null}`)
	s.get("/api/v1/sources/lab").is(http.StatusOK, `{"source":"lab","kind":"agent","ledger":"receipted",`+counts+`}`)
	s.get("/api/v1/sources/nobody").problem(http.StatusNotFound, "source nobody")
	s.get("/api/v1/sources/a%2Fb").problem(http.StatusNotFound)
	s.get("/api/v1/sources/lab?x=1").problem(http.StatusBadRequest, "no such parameter")
	s.get("/api/v1/sources?kind=agent").problem(http.StatusBadRequest, "prefix")
	s.get("/api/v1/sources?limit=0").problem(http.StatusBadRequest, "limit")
	s.get("/api/v1/sources?prefix=garbage").problem(http.StatusBadGateway, "gave no sources")
	s.get("/api/v1/sources?prefix=away").problem(http.StatusServiceUnavailable, "InfluxDB")
}
