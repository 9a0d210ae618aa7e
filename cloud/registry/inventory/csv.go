package inventory

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// columns are those of CSV; the first is the key of the others.
var columns = names(placeFields, "device")

// parseCSV reads a table of places: RFC 4180 as spreadsheets write it, with or
// without a byte order mark, with any line ends, commas, semicolons or tabs
// between the cells.
func parseCSV(text []byte) (*File, *contract.Problem) {
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return nil, whole("the file is UTF-16; save it as CSV UTF-8")
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if !bytes.ContainsRune(text, '\n') {
		text = bytes.ReplaceAll(text, []byte{'\r'}, []byte{'\n'}) // of an old Macintosh
	}
	t := &table{}
	if t.unreadable(text) {
		return nil, t.problem()
	}
	comma, skip := delimiter(text)
	t.skipped = bytes.Count(text[:skip], []byte{'\n'})
	t.r = csv.NewReader(bytes.NewReader(text[skip:]))
	t.r.Comma, t.r.FieldsPerRecord, t.r.ReuseRecord = comma, -1, true
	if !t.header() {
		return nil, t.problem()
	}
	f := &File{places: make([]entry, 0, min(bytes.Count(text, []byte{'\n'}), MaxPlaces))}
	for t.row(f) {
	}
	return t.found(f)
}

// table is a CSV file that is being read.
type table struct {
	mistakes
	r       *csv.Reader
	skipped int      // lines before those that r reads
	columns []string // of the file, in its order
}

// unreadable notes text that is no UTF-8, which only the line can be told of.
func (t *table) unreadable(text []byte) bool {
	if utf8.Valid(text) && bytes.IndexByte(text, 0) < 0 {
		return false
	}
	line := 0
	for s := range bytes.Lines(text) {
		line++
		if !utf8.Valid(s) || bytes.IndexByte(s, 0) >= 0 {
			t.addAt(line, "", "not UTF-8: save the file as CSV UTF-8")
		}
	}
	return true
}

// delimiter finds what stands between the cells of the first line that has any,
// and where the table begins: spreadsheets may say it in a line sep=;.
func delimiter(text []byte) (comma rune, begin int) {
	first := ""
	for s := range bytes.Lines(text) {
		first = strings.TrimSpace(string(s))
		if first != "" {
			begin += len(s)
			break
		}
		begin += len(s)
	}
	if said, ok := strings.CutPrefix(strings.ToLower(first), "sep="); ok && len(said) == 1 && strings.Contains(";,\t", said) {
		return rune(said[0]), begin
	} else if ok && said == "" {
		return '\t', begin
	}
	comma, most := ',', 0
	for _, c := range ",;\t" {
		if n := strings.Count(first, string(c)); n > most {
			comma, most = c, n
		}
	}
	return comma, 0
}

// next is the next line that has something in it, and where it begins; nil at
// the end. Lines that are no CSV are noted and passed over.
func (t *table) next() (cells []string, line int) {
	for {
		cells, err := t.r.Read()
		if errors.Is(err, io.EOF) {
			return nil, 0
		}
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			t.quotes(wrong)
			continue
		}
		if err != nil { // reading from memory gives no other
			t.addAt(0, "", "%v", err)
			return nil, 0
		}
		if slices.ContainsFunc(cells, func(s string) bool { return strings.TrimSpace(s) != "" }) {
			line, _ = t.r.FieldPos(0)
			return cells, t.skipped + line
		}
	}
}

func (t *table) quotes(wrong *csv.ParseError) {
	what := `a quote inside a cell: put the cell in quotes and write each quote in it twice`
	if errors.Is(wrong.Err, csv.ErrQuote) {
		what = `a cell in quotes that does not end, or goes on behind them`
	}
	t.addAt(t.skipped+wrong.StartLine, "", "line %d, character %d: %s", t.skipped+wrong.Line, wrong.Column, what)
}

// header reads the names of the columns.
func (t *table) header() bool {
	cells, line := t.next()
	if cells == nil {
		t.addAt(0, "", "the file is empty; its first line must name the columns, such as device,address,mac,label")
		return false
	}
	if _, err := device.Parse(clean(cells[0])); err == nil {
		t.addAt(line, "", "the first line must name the columns, such as device,address,mac,label")
		return false
	}
	for i, cell := range cells {
		name := columnName(cell)
		switch {
		case name == "" && i >= len(cells)-1, name == "" && emptyFrom(cells, i):
			name = "" // a delimiter too many
		case !slices.Contains(columns, name):
			t.addAt(line, cell, "no such column; there are %s", strings.Join(columns, ", "))
		case slices.Contains(t.columns, name):
			t.addAt(line, cell, "the column is there twice")
		}
		t.columns = append(t.columns, name)
	}
	if !slices.Contains(t.columns, "device") {
		t.addAt(line, "device", "the column is required: the id of each place, such as sp_f1.w.r0.c0")
	}
	return t.count == 0
}

func emptyFrom(cells []string, i int) bool {
	return !slices.ContainsFunc(cells[i:], func(s string) bool { return strings.TrimSpace(s) != "" })
}

// columnName is a name as it is meant: in any case, with spaces or hyphens.
func columnName(cell string) string {
	name := strings.ToLower(strings.Join(strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(" \t\r\n-_", r) }), "_"))
	if name == "id" || name == "device" {
		return "device"
	}
	return name
}

// row reads one place into f; it gives false at the end.
func (t *table) row(f *File) bool {
	cells, line := t.next()
	if cells == nil {
		return false
	}
	if len(f.places) >= MaxPlaces {
		t.addAt(line, "", "more than %d places: import them in parts", MaxPlaces)
		return false
	}
	at := origin{line: line}
	switch {
	case len(cells) > len(t.columns) && !emptyFrom(cells, len(t.columns)):
		t.addAt(line, "", "%d cells, and the header names %d columns: a text with a delimiter in it must stand in quotes", len(cells), len(t.columns))
		return true
	case len(cells) < len(t.columns) && t.columns[len(cells)] != "":
		t.addAt(line, "", "%d cells, and the header names %d columns: is the line cut off?", len(cells), len(t.columns))
		return true
	}
	e := entry{values: make(map[string]string, len(t.columns))}
	for i, name := range t.columns {
		if name == "" || i >= len(cells) {
			continue
		}
		if l, _ := t.r.FieldPos(i); t.skipped+l != line {
			if at.lines == nil {
				at.lines = map[string]int{}
			}
			at.lines[name] = t.skipped + l
		}
		// The reader shares one text among the cells of a line.
		e.values[name] = uncloak(strings.Clone(clean(cells[i])))
	}
	e.key, e.at = e.values["device"], at
	delete(e.values, "device")
	f.places = append(f.places, e)
	return true
}

// uncloak takes the mark from a text that a spreadsheet would have calculated.
func uncloak(v string) string {
	if rest, ok := strings.CutPrefix(v, "'"); ok && calculated(rest) {
		return rest
	}
	return v
}

// calculated tells texts that spreadsheets take for formulas, marked ones too.
func calculated(v string) bool {
	v = strings.TrimLeft(v, "'")
	return v != "" && strings.IndexByte("=+-@", v[0]) >= 0
}

// formatCSV writes the places by RFC 4180.
func formatCSV(r Records) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	line := slices.Clone(columns)
	_ = w.Write(line) // into memory
	for i := range r.Places {
		p := &r.Places[i]
		line = append(line[:0], p.Device.String())
		for _, f := range placeFields {
			v := f.get(p)
			if calculated(v) {
				v = "'" + v
			}
			line = append(line, v)
		}
		_ = w.Write(line)
	}
	w.Flush()
	return b.Bytes()
}
