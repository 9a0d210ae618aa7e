package main

import (
	"net/url"
	"strings"
	"testing"
)

func TestReadingsWithoutValueAreNoRows(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /api/v1/readings": `200 {"series":[{"unit":"Wh","group":{"id":"sp_g1"},"points":[
		{"time":"2026-03-01T00:00:00Z","value":null},{"time":"2026-03-02T00:00:00Z","value":5},{"time":"2026-03-03T00:00:00Z","value":7}]}]}`})
	sent := func() url.Values {
		t.Helper()
		q, err := url.ParseQuery(c.asked[len(c.asked)-1].Query)
		must(t, err)
		return q
	}
	daily := []string{"readings", "energy", "--operation", "spread", "--every", "1d", "--from", "2026-03-01T00:00:00Z"}
	r := c.run(t, daily...)
	r.wants(t, exitDone, "7", "")
	if got := strings.Count(r.stdout, "\n"); got != 3 || strings.Contains(r.stdout, "There are more") {
		t.Errorf("%d lines, want the head and two values:\n%s", got, r.stdout)
	}
	if q := sent(); q.Get("fill") != "none" || q.Get("limit") != "21" {
		t.Errorf("asked %v", q)
	}
	r = c.run(t, append(daily, "--fill", "null", "--limit", "2")...)
	r.wants(t, exitDone, "There are more; --limit 4 ", "")
	if got := strings.Count(r.stdout, "\n"); got != 4 || sent().Get("fill") != "null" {
		t.Errorf("%d lines, want the head, two spans and the word that there are more:\n%s", got, r.stdout)
	}
	c.run(t, "readings", "power", "--operation", "top", "--n", "3", "--every", "1d")
	if q := sent(); q.Has("fill") {
		t.Errorf("top is asked with a fill: %v", q)
	}
	c.run(t, append(daily, "--csv")...)
	if q := sent(); q.Get("limit") != "20" {
		t.Errorf("CSV is asked for with %v", q)
	}
	c.run(t, "readings", "--limit", "0")
	if q := sent(); q.Get("limit") != "0" || q.Has("fill") {
		t.Errorf("asked %v", q)
	}
}
