package main

import "testing"

func TestSourcesAreListed(t *testing.T) {
	const lab = `{"source":"lab","kind":"agent","ledger":"none","messages":9,"records":7,"quarantined":0,"limited":2,"malformed":0,"series":4,"first":"2026-03-01T00:00:00Z","heard":"2026-03-02T00:00:00Z","error":"more than 10000 records/s"}`
	c := newCloud(t, map[string]string{
		"GET /api/v1/sources": `200 {"items":[` + lab + `],"next":null}`, "GET /api/v1/sources/lab": "200 " + lab,
		"GET /api/v1/sources/nobody": `404 {"title":"Not Found","status":404,"detail":"nothing was heard from a source nobody"}`,
	})
	r := c.run(t, "sources", "--prefix", "la")
	r.wants(t, exitDone, "LIMITED", "")
	r.wants(t, exitDone, "more than 10000 records/s", "")
	if q := c.asked[len(c.asked)-1].Query; q != "prefix=la" && q != "limit=1000&prefix=la" {
		t.Errorf("asked with %q", q)
	}
	c.run(t, "sources", "lab").wants(t, exitDone, "agent", "")
	if r := c.run(t, "sources", "nobody"); r.code == exitDone {
		t.Errorf("a source that nobody knows is shown: %s", r.stdout)
	}
	c.run(t, "sources", "").wants(t, exitUsage, "", "want the name of one source, got an empty text")
	c.run(t, "sources", "--limit", "-1").wants(t, exitUsage, "", "--limit: -1")
	c.answers["GET /api/v1/sources"] = `200 {"items":[],"next":null}`
	c.run(t, "sources").wants(t, exitDone, "Nothing was heard", "")
}
