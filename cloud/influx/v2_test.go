package influx_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
)

// influx2 is the part of InfluxDB 2.7's API that the client uses, after its
// documentation and source: there is no binary of it to test with.
type influx2 struct {
	version  string            // header of /ping
	hideIt   bool              // a proxy takes the header away
	racing   bool              // another client makes the bucket meanwhile
	mu       sync.Mutex        // guards what follows
	buckets  map[string]string // name -> id
	mappings map[string]string // database -> bucket id
	written  []string
	asked    []string // method and path
}

func (f *influx2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	if !f.hideIt {
		w.Header().Set("X-Influxdb-Version", f.version)
	}
	say := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	fail := func(status int, code, message string) {
		w.Header().Set("X-Platform-Error-Code", code)
		say(status, map[string]string{"code": code, "message": message})
	}
	if r.URL.Path != "/ping" && r.URL.Path != "/health" && r.URL.Path != "/api/v2/setup" && r.Header.Get("Authorization") != "Token secret" {
		fail(http.StatusUnauthorized, "unauthorized", "unauthorized access")
		return
	}
	var in map[string]any
	if r.Header.Get("Content-Type") == "application/json" {
		_ = json.NewDecoder(r.Body).Decode(&in)
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /ping":
		w.WriteHeader(http.StatusNoContent)
	case "GET /health":
		say(http.StatusOK, map[string]string{"name": "influxdb", "version": f.version})
	case "GET /api/v2/setup":
		say(http.StatusOK, map[string]bool{"allowed": false})
	case "GET /api/v2/orgs":
		if r.URL.Query().Get("org") != "wattline" {
			fail(http.StatusNotFound, "not found", `organization name "x" not found`)
			return
		}
		say(http.StatusOK, map[string]any{"orgs": []any{map[string]string{"id": "org1", "name": "wattline"}}})
	case "GET /api/v2/buckets":
		id, ok := f.buckets[r.URL.Query().Get("name")]
		if !ok {
			fail(http.StatusNotFound, "not found", "bucket not found")
			return
		}
		say(http.StatusOK, map[string]any{"buckets": []any{map[string]string{"id": id, "name": r.URL.Query().Get("name")}}})
	case "POST /api/v2/buckets":
		name := in["name"].(string)
		f.buckets[name] = "id-" + name
		if f.racing {
			fail(http.StatusUnprocessableEntity, "conflict", "bucket with name "+name+" already exists")
			return
		}
		say(http.StatusCreated, map[string]string{"id": f.buckets[name], "name": name})
	case "GET /api/v2/dbrps":
		content := []any{}
		if id, ok := f.mappings[r.URL.Query().Get("db")]; ok {
			content = append(content, map[string]string{"id": "map1", "bucketID": id})
		}
		say(http.StatusOK, map[string]any{"content": content})
	case "POST /api/v2/dbrps":
		f.mappings[in["database"].(string)] = in["bucketID"].(string)
		say(http.StatusCreated, map[string]any{"id": "map1"})
	case "POST /api/v2/write":
		q := r.URL.Query()
		if _, ok := f.buckets[q.Get("bucket")]; !ok || q.Get("org") != "wattline" {
			fail(http.StatusNotFound, "not found", fmt.Sprintf("bucket %q not found", q.Get("bucket")))
			return
		}
		body, _ := io.ReadAll(r.Body)
		f.written = append(f.written, q.Get("precision")+" "+string(body))
		w.WriteHeader(http.StatusNoContent)
	case "POST /query":
		if _, ok := f.mappings[r.FormValue("db")]; !ok {
			fail(http.StatusNotFound, "not found", "no dbrp mapping found")
			return
		}
		say(http.StatusOK, map[string]any{"results": []any{map[string]any{"statement_id": 0, "series": []any{
			map[string]any{"name": "m", "columns": []string{"time", "v"}, "values": [][]any{{1, 2}}},
		}}}})
	default:
		fail(http.StatusNotFound, "not found", "path not found")
	}
}

func startInflux2(t *testing.T, f *influx2) *influx.Client {
	t.Helper()
	f.buckets, f.mappings = map[string]string{}, map[string]string{}
	if f.version == "" {
		f.version = "v2.7.9"
	}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return connect(t, &influxtest.Server{URL: s.URL, Token: "secret", Org: "wattline"})
}

func TestInflux2GetsBucketAndMapping(t *testing.T) {
	for name, f := range map[string]*influx2{
		"plain":                    {},
		"header taken away":        {hideIt: true},
		"built without a version":  {version: "dev"},
		"bucket made by two":       {racing: true},
		"built and hidden by some": {version: "dev", hideIt: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := startInflux2(t, f)
			mustWrite(t, c, "sp", "m v=1 1\n")
			if diff := cmp.Diff([]string{"us m v=1 1\n"}, f.written); diff != "" {
				t.Error(diff)
			}
			if got := fmt.Sprint(mustQuery(t, c, "sp", "SELECT v FROM m")); got != "[[1 2]]" {
				t.Errorf("got %s, want [[1 2]]", got)
			}
			if f.mappings["sp"] != "id-sp" {
				t.Errorf("mapped to %q, want id-sp", f.mappings["sp"])
			}
		})
	}
}

func TestInflux2MappingIsMadeWhenAQueryMissesIt(t *testing.T) {
	f := &influx2{}
	c := startInflux2(t, f)
	f.buckets["old"] = "id-old" // written by somebody else, never mapped
	if got := fmt.Sprint(mustQuery(t, c, "old", "SELECT v FROM m")); got != "[[1 2]]" {
		t.Errorf("got %s, want [[1 2]]", got)
	}
	if f.mappings["old"] != "id-old" {
		t.Errorf("mapped to %q, want id-old", f.mappings["old"])
	}
}

func TestInflux2QueryMakesNoBucket(t *testing.T) {
	f := &influx2{}
	c := startInflux2(t, f)
	err := c.Exec(t.Context(), "none", "SELECT v FROM m")
	qe, ok := err.(*influx.QueryError) //nolint:errorlint // the type is the promise
	if !ok || !qe.DatabaseMissing() || len(f.buckets) != 0 {
		t.Errorf("got %v and buckets %v, want a QueryError of a missing database and none", err, f.buckets)
	}
}

func TestInflux2ErrorsNameTheCause(t *testing.T) {
	c := startInflux2(t, &influx2{})
	if err := c.EnsureDatabase(t.Context(), "sp"); err != nil {
		t.Fatal(err)
	}
	f := &influx2{}
	f.buckets, f.mappings = map[string]string{}, map[string]string{}
	f.version = "v2.7.9"
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	server := &influxtest.Server{URL: s.URL, Token: "secret", Org: "wattline"}
	for name, change := range map[string]func(*influx.Config){
		"organization": func(cfg *influx.Config) { cfg.Org = "other" },
		"token":        func(cfg *influx.Config) { cfg.Token = config.Secret("wrong") },
	} {
		t.Run(name, func(t *testing.T) {
			err := connect(t, server, change).Write(t.Context(), "sp", []byte("m v=1 1\n"))
			if err == nil {
				t.Fatal("no error")
			}
			if got, want := verdictOf(t, err), (verdict{operator: true}); got != want {
				t.Errorf("got %+v, want %+v (%v)", got, want, err)
			}
		})
	}
}

func TestPingTellsTheVersion(t *testing.T) {
	c := startInflux2(t, &influx2{})
	if got, err := c.Ping(t.Context()); got != "v2.7.9" || err != nil {
		t.Errorf("got %q, %v; want v2.7.9", got, err)
	}
	if got, err := connect(t, influxtest.Start(t)).Ping(t.Context()); got == "" || err != nil {
		t.Errorf("got %q, %v; want a version", got, err)
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(stranger.Close)
	if got, err := connect(t, &influxtest.Server{URL: stranger.URL}).Ping(t.Context()); err == nil {
		t.Errorf("got %q of a server that is no InfluxDB", got)
	}
	if _, err := connect(t, &influxtest.Server{URL: "http://127.0.0.1:1"}).Ping(t.Context()); err == nil {
		t.Error("no error where nothing listens")
	}
}
