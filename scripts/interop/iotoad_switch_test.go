package interop_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Plugs of the site that IoToad's clients know: workplaces in two rows and two
// columns, and a meeting room, all with ids as IoToad has them, without a floor.
var ioToadPlaces = []string{"sp_w.r0.c0", "sp_w.r0.c1", "sp_w.r1.c0", "sp_w.r1.c1", "sp_g3"}

// switching is a request that switches, and what must come of it.
type switching struct {
	method, path, body string
	status             int
	want               string   // the whole answer, unless it is ""
	words              []string // must be in it
	on                 bool     // what it asks for
	switched           string   // the plugs that it switches, and no others
}

// one is the answer to a switch that reached its targets.
func one(topic string, successful ...string) string {
	text, err := json.Marshal(map[string]any{topic: map[string]any{"data": map[string]any{"successful": successful}}})
	if err != nil {
		panic(err) // strings
	}
	return string(text)
}

const (
	stringOff = `{"payload": "{\"status\": 0}"}` // as the clients of 2021 send it
	objectOn  = `{"payload": {"status": 1}}`
	objectOff = `{"payload": {"status": 0}}`
	wordOff   = `{"payload": {"status": "OFF"}}`
)

// The keys name what the original promises or does; Wattline's own decisions
// are marked with "here".
var switchings = map[string]switching{
	"real client: any 2xx is success, payload is JSON in a string with blanks": {
		path: "sp_w.r0.c0", body: `{"payload": "{ \"status\": 1 }"}`, on: true, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0",
	},
	"payload spelling 1: JSON in a string":          {path: "sp_w.r0.c0", body: stringOff, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0"},
	"payload spelling 2: an object with 1":          {path: "sp_w.r0.c0", body: objectOn, on: true, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0"},
	"payload spelling 2: an object with 0":          {path: "sp_w.r0.c0", body: objectOff, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0"},
	"payload spelling 3: a word":                    {path: "sp_w.r0.c0", body: wordOff, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0"},
	"payload spelling 3: a word in any case":        {path: "sp_w.r0.c0", body: `{"payload": {"status": "oN"}}`, on: true, want: one("sp_command/sp_w.r0.c0", "sp_w.r0.c0"), switched: "sp_w.r0.c0"},
	"one id, documented with a trailing slash":      {path: "sp_w.r1.c1/", body: stringOff, want: one("sp_command/sp_w.r1.c1", "sp_w.r1.c1"), switched: "sp_w.r1.c1"},
	"an id of a place without row and column":       {path: "sp_g3/", body: stringOff, want: one("sp_command/sp_g3", "sp_g3"), switched: "sp_g3"},
	"an id without sp_, as in older examples":       {path: "g3", body: stringOff, want: one("sp_command/g3", "sp_g3"), switched: "sp_g3"},
	"an id with the default floor, here":            {path: "sp_f1.g3", body: stringOff, want: one("sp_command/sp_f1.g3", "sp_f1.g3"), switched: "sp_g3"},
	"a row, counted from 0":                         {path: "row/0", body: stringOff, want: one("sp_command/row/0", "sp_w.r0.c0", "sp_w.r0.c1"), switched: "sp_w.r0.c0 sp_w.r0.c1"},
	"a row with a trailing slash":                   {path: "row/1/", body: stringOff, want: one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1"), switched: "sp_w.r1.c0 sp_w.r1.c1"},
	"a column":                                      {path: "column/1/", body: objectOn, on: true, want: one("sp_command/column/1", "sp_w.r0.c1", "sp_w.r1.c1"), switched: "sp_w.r0.c1 sp_w.r1.c1"},
	"no subtopics listed means the URL's own topic": {path: "sp_g3", body: `{"subtopics": null, "payload": {"status": 0}}`, want: one("sp_command/sp_g3", "sp_g3"), switched: "sp_g3"},
	"rows by subtopics, with the slash that the original could not take": {
		path: "row/", body: `{"subtopics": ["0", "1"], "payload": "{\"status\": 0}"}`,
		want:     merge(one("sp_command/row/0", "sp_w.r0.c0", "sp_w.r0.c1"), one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1")),
		switched: "sp_w.r0.c0 sp_w.r0.c1 sp_w.r1.c0 sp_w.r1.c1",
	},
	"columns by subtopics, without a slash": {
		path: "column", body: `{"payload": {"status": 0}, "subtopics": ["0"]}`, want: one("sp_command/column/0", "sp_w.r0.c0", "sp_w.r1.c0"), switched: "sp_w.r0.c0 sp_w.r1.c0",
	},
	"mixed subtopics below the bare agent, with the slash": {
		path: "", body: `{"subtopics": ["sp_g3", "row/1", "column/0"], "payload": {"status": 0}}`,
		want:     merge(one("sp_command/sp_g3", "sp_g3"), one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1"), one("sp_command/column/0", "sp_w.r0.c0", "sp_w.r1.c0")),
		switched: "sp_g3 sp_w.r1.c0 sp_w.r1.c1 sp_w.r0.c0",
	},
	"an unknown id is an error for that id, here": {
		path: "sp_g77", body: stringOff, words: []string{`"successful":[]`, `"error":{"sp_g77":"no such place"}`},
	},
	"known and unknown ids in one request: each has its fate": {
		path: "", body: `{"subtopics": ["sp_g3", "sp_g77"], "payload": "{\"status\": 0}"}`, words: []string{`"sp_command/sp_g3":{"data":{"successful":["sp_g3"]}}`, `"sp_g77":"no such place"`}, switched: "sp_g3",
	},
	"a row that is not there":                        {path: "row/99", body: stringOff, words: []string{`"error":`, "no such place"}},
	"a row that is no number":                        {path: "row/x", body: stringOff, words: []string{`"error":`, "row"}},
	"a missing status is an error, never off, here":  {path: "sp_g3", body: `{"payload": {}}`, words: []string{`"error":`, "status"}},
	"another status is an error":                     {path: "sp_g3", body: `{"payload": "{\"status\": 2}"}`, words: []string{`"error":`, "status"}},
	"a payload that is no JSON":                      {path: "sp_g3", body: `{"payload": "off"}`, words: []string{`"error":`, "JSON"}},
	"an empty list of subtopics is an error, here":   {path: "sp_g3", body: `{"subtopics": [], "payload": {"status": 0}}`, status: http.StatusBadRequest, words: []string{"/subtopics"}},
	"payload is required":                            {path: "sp_g3", body: `{"subtopics": ["sp_g3"]}`, status: http.StatusBadRequest, words: []string{"/payload"}},
	"the second key can only be subtopics":           {path: "sp_g3", body: `{"payload": {"status": 0}, "topics": ["x"]}`, status: http.StatusBadRequest, words: []string{"/topics"}},
	"at most two keys, every mistake named":          {path: "sp_g3", body: `{"payloads": 1, "subtopics": 3, "x": 1}`, status: http.StatusBadRequest, words: []string{"/payload", "/payloads", "/subtopics", "/x"}},
	"a body that is no JSON":                         {path: "sp_g3", body: `payload=off`, status: http.StatusBadRequest, words: []string{"JSON"}},
	"neither in nor out is an unknown route":         {path: "/api/inn/sp_command/sp_g3", body: stringOff, status: http.StatusNotFound},
	"in takes PUT only":                              {method: http.MethodPost, path: "sp_g3", body: stringOff, status: http.StatusMethodNotAllowed},
	"a wildcard does not become part of a topic":     {path: "%23", body: stringOff, status: http.StatusBadRequest},
	"an empty level does not become part of a topic": {path: "/m1", body: stringOff, status: http.StatusBadRequest},
}

func merge(objects ...string) string { return strings.ReplaceAll(strings.Join(objects, ""), "}{", ",") }

func testSwitching(t *testing.T, s *site, plugs office) {
	for name, c := range switchings {
		t.Run(name, func(t *testing.T) {
			plugs.press(!c.on)
			path, method, status := "/api/in/sp_command/"+c.path, c.method, c.status
			switch {
			case strings.HasPrefix(c.path, "/api"):
				path = c.path
			case c.path == "column" || c.path == "row":
				path = "/api/in/sp_command/" + c.path
			}
			if method == "" {
				method = http.MethodPut
			}
			if status == 0 {
				status = http.StatusOK
			}
			got := s.do(method, path, c.body)
			if got.status != status {
				t.Errorf("%s %s gives %v, want %d", method, path, got, status)
			}
			sameJSON(t, got.body, c.want)
			for _, w := range c.words {
				if !strings.Contains(got.body, w) {
					t.Errorf("%s is not in %s", w, got.body)
				}
			}
			want := map[string]bool{}
			for id := range strings.FieldsSeq(c.switched) {
				want[id] = true
			}
			if diff := cmp.Diff(want, plugs.are(c.on)); diff != "" {
				t.Errorf("switched (-want +got):\n%s", diff)
			}
		})
	}
}

// sameJSON compares two texts as JSON; an empty want is not compared.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	if want == "" {
		return
	}
	var g, w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("the test's own %s: %v", want, err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("%s: %v", got, err)
		return
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("answer %s (-want +got):\n%s", got, diff)
	}
}
