package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// document is a JSON object of the server. Members that this version does not
// know are kept, so that an older wattline shows what a newer cloud says.
type document map[string]any

// UnmarshalJSON keeps numbers as they are written.
func (d *document) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode((*map[string]any)(d))
}

// at is the value at a path such as plug.mac; nil where there is none.
func (d document) at(path string) any {
	var v any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// text is the value at a path as people read it, "" where there is none.
func (d document) text(path string) string { return textOf(d.at(path)) }

// first is the text at the first of the paths that has one.
func (d document) first(paths ...string) string {
	for _, path := range paths {
		if t := d.text(path); t != "" {
			return t
		}
	}
	return ""
}

func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil && len(v) >= len("2026-01-01T00:00:00Z") {
			return at.Local().Format("2006-01-02 15:04:05")
		}
		return v
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case []any:
		parts := make([]string, 0, len(v))
		for _, one := range v {
			parts = append(parts, textOf(one))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		parts := make([]string, 0, len(v))
		for name, one := range v {
			parts = append(parts, name+" "+textOf(one))
		}
		slices.Sort(parts)
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}

// column is one column of a table: its title and the paths of its value, the
// first that has one.
type column struct {
	title string
	paths []string
	of    func(document) string // instead of the paths, if not nil
}

func col(title string, paths ...string) column { return column{title: title, paths: paths} }

func (c column) text(d document) string {
	if c.of != nil {
		return cleanLine(c.of(d))
	}
	return cleanLine(d.first(c.paths...))
}

// list prints a list of the server: as JSON for scripts, as a table for people.
// empty is what a person is told when there is nothing.
func (s *session) list(ctx context.Context, path string, query url.Values, columns []column, empty string, limit int) error {
	docs, raws, more, err := s.items(ctx, path, query, limit)
	if err != nil {
		return err
	}
	if s.json {
		text, err := json.Marshal(raws)
		if err != nil {
			return err
		}
		return s.raw(text)
	}
	if err := s.table(docs, columns, empty); err != nil {
		return err
	}
	if more {
		s.say("There are more; --limit %d shows as many again.", 2*limit)
	}
	return nil
}

// errEnough ends a list early.
var errEnough = &exit{}

// items reads a list, at most limit of it where that is not 0; a negative one is a mistake.
func (s *session) items(ctx context.Context, path string, query url.Values, limit int) (docs []document, raws []json.RawMessage, more bool, err error) {
	if limit < 0 {
		return nil, nil, false, usage("--limit: %d, want a number from 1 on, or 0 for all", limit)
	}
	c, err := s.client()
	if err != nil {
		return nil, nil, false, err
	}
	page := 1000
	if limit > 0 {
		page = min(limit+1, page)
	}
	values := url.Values{"limit": {fmt.Sprint(page)}}
	maps.Copy(values, query)
	raws = []json.RawMessage{}
	err = c.List(ctx, path, values, func(item json.RawMessage) error {
		if limit > 0 && len(raws) == limit {
			more = true
			return errEnough
		}
		var d document
		if err := json.Unmarshal(item, &d); err != nil {
			return fmt.Errorf("read the list %s: %w", path, err)
		}
		docs, raws = append(docs, d), append(raws, item)
		return nil
	})
	if more {
		err = nil
	}
	return docs, raws, more, err
}

// table prints documents in columns; a column with nothing in it is left out.
func (s *session) table(docs []document, columns []column, empty string) error {
	if len(docs) == 0 {
		s.say("%s", empty)
		return nil
	}
	rows := make([][]string, 0, len(docs)+1)
	var used []column
	for _, c := range columns {
		if slices.ContainsFunc(docs, func(d document) bool { return c.text(d) != "" }) {
			used = append(used, c)
		}
	}
	head := make([]string, 0, len(used))
	for _, c := range used {
		head = append(head, c.title)
	}
	rows = append(rows, head)
	for _, d := range docs {
		row := make([]string, 0, len(used))
		for _, c := range used {
			row = append(row, c.text(d))
		}
		rows = append(rows, row)
	}
	width, ok := window(s.stdout)
	if !ok {
		width = 0
	}
	return writeRows(s.stdout, rows, width)
}

const (
	gap       = 2
	narrowest = 8 // columns are not cut below that
)

// writeRows writes a table that fits into width characters, 0 for any: the
// widest columns are cut.
func writeRows(w io.Writer, rows [][]string, width int) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	total := gap * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	for width > 0 && total > width {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
		total--
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			cell = cut(cell, widths[i])
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap))
			}
		}
		b.WriteByte('\n')
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// show prints one document: as JSON, or a line for each member.
func (s *session) show(d document) error {
	if s.json {
		text, err := json.Marshal(map[string]any(d))
		if err != nil {
			return err
		}
		return s.raw(text)
	}
	var rows [][]string
	flatten("", map[string]any(d), &rows)
	if len(rows) == 0 {
		return nil
	}
	return writeRows(s.stdout, rows, 0)
}

// flatten makes lines of a document, its inner ones in place, in the order of
// their names with what identifies it first.
func flatten(before string, m map[string]any, rows *[][]string) {
	rank := func(name string) int {
		if i := slices.Index([]string{"id", "device", "gateway", "name", "label", "floor"}, name); i >= 0 {
			return i
		}
		return 100
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if inner, ok := m[name].(map[string]any); ok {
			flatten(before+name+".", inner, rows)
			continue
		}
		if t := textOf(m[name]); t != "" {
			*rows = append(*rows, []string{cleanLine(before + name), cleanLine(t)})
		}
	}
}
