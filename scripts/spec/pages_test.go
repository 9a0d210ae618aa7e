package spec_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every example is shown on a page, and every page shows files that are there.
func TestPagesShowTheExamples(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(hooks, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			file, found := strings.CutPrefix(strings.TrimSpace(line), "```{literalinclude} ")
			if !found {
				continue
			}
			shown[file] = true
			if _, err := os.Stat(filepath.Join(hooks, file)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		if strings.Contains(string(text), "```json") {
			t.Errorf("%s has JSON of its own: make it a file of examples/, so that it is tried", page)
		}
	}
	for _, e := range examples(t) {
		if !shown["examples/"+e.name+".json"] {
			t.Errorf("no page shows examples/%s.json", e.name)
		}
	}
}
