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

// root is the checkout's.
const root = "../.."

// pages are the README and every page below docs.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// Every link of every page leads to a file or a folder, and to a heading in it
// where it names one. What is on the web is not looked at.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			if file == "" {
				file = filepath.Base(page)
			}
			to := filepath.Join(filepath.Dir(page), file)
			if info, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			} else if info.IsDir() {
				continue
			}
			found := anchor == ""
			for _, h := range heading.FindAllStringSubmatch(read(t, to), -1) {
				slug := strings.ReplaceAll(unslug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				found = found || slug == anchor
			}
			if !found {
				t.Errorf("%s: %s leads to no heading", page, m[1])
			}
		}
	}
}

// glob gives what a line of a table of contents means; one that means nothing
// stays, to be missed.
func glob(t *testing.T, dir, line string) (to []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, line))
	if err != nil {
		t.Error(err)
	}
	for _, name := range found {
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			t.Error(err)
		}
		to = append(to, relative)
	}
	if len(to) == 0 {
		return []string{line}
	}
	return to
}

var (
	toctree  = regexp.MustCompile("(?s)```\\{toctree\\}\n(.*?)\n```")
	included = regexp.MustCompile("```\\{literalinclude\\} (\\S+)\n((?::.*\n)*)")
	option   = regexp.MustCompile(`(?m)^:(start-at|start-after|end-at|end-before): (.*)$`)
)

// Every page can be reached from the first of the documentation, or from the
// README, by links and by tables of contents, and these name pages.
func TestEveryPageIsLinked(t *testing.T) {
	reached := map[string]bool{}
	next := []string{filepath.Join(root, "docs", "index.md"), filepath.Join(root, "README.md")}
	for len(next) > 0 {
		page := next[0]
		if next = next[1:]; reached[page] {
			continue
		}
		reached[page] = true
		text := read(t, page)
		var to []string
		for _, tree := range toctree.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(tree[1]) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ":") {
					to = append(to, glob(t, filepath.Dir(page), line+".md")...)
				}
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, _, _ := strings.Cut(m[1], "#")
			if !strings.Contains(file, "://") && filepath.Ext(file) == ".md" {
				to = append(to, file)
			}
		}
		for _, file := range to {
			next = append(next, filepath.Join(filepath.Dir(page), file))
		}
	}
	index := read(t, filepath.Join(hooks, "index.md"))
	for _, page := range pages(t) {
		if !reached[page] {
			t.Errorf("nothing leads to %s", page)
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if filepath.Dir(page) == filepath.Clean(hooks) && name != "index" && !strings.Contains(index, "\n"+name+"\n") {
			t.Errorf("%s is not in the table of contents of docs/hooks", page)
		}
	}
}

// What pages show of files is there.
func TestWhatIsIncludedIsThere(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range included.FindAllStringSubmatch(read(t, page), -1) {
			text := read(t, filepath.Join(filepath.Dir(page), m[1]))
			for _, o := range option.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(text, o[2]) {
					t.Errorf("%s: %s has no %q", page, m[1], o[2])
				}
			}
		}
	}
}
