package spec_test

import (
	"os"
	"path/filepath"
	"regexp"
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

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unslug  = regexp.MustCompile(`[^a-z0-9 -]`)
)

// Every link of the pages, and of what the example extensions say, leads to a
// file, and to a heading in it where it names one.
func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(hooks, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ranking-component", "shell-agent", "go-hook"} {
		pages = append(pages, filepath.Join(extensions, name, "README.md"))
	}
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(page), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if file == "" {
				file = filepath.Base(page)
			}
			text := read(filepath.Join(filepath.Dir(page), file))
			found := anchor == ""
			for _, h := range heading.FindAllStringSubmatch(text, -1) {
				slug := strings.ReplaceAll(unslug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				found = found || slug == anchor
			}
			if !found {
				t.Errorf("%s: %s leads to no heading", page, m[1])
			}
		}
	}
	index := read(filepath.Join(hooks, "index.md"))
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if filepath.Dir(page) == filepath.Clean(hooks) && name != "index" && !strings.Contains(index, "\n"+name+"\n") {
			t.Errorf("%s is not in the index", page)
		}
	}
}
