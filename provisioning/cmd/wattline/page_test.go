package main

import (
	"strings"
	"testing"
)

func TestAPageIsAURLOrAHostAndPort(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /status.json": `200 {"status":{"gateway":"edge-f1"}}`})
	for _, page := range []string{c.URL, c.URL + "/", strings.TrimPrefix(c.URL, "http://")} {
		c.asked = nil
		r := c.run(t, "doctor", "gateway", "--page", page, "--data", t.TempDir())
		if len(c.asked) == 0 || c.asked[0].Path != "/status.json" || strings.Contains(r.stdout, "cannot be read") {
			t.Errorf("--page %s: asked %v\n%s", page, c.asked, r.stdout)
		}
	}
}
