package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/contract"
)

const (
	// MaxBytes bounds a file: ten thousand places with everything that can be
	// said of them take two thirds of it.
	MaxBytes = 3 << 20
	// MaxPlaces bounds the places of a file, those of its series included.
	MaxPlaces = 50_000
	// MaxMistakes is how many mistakes of a file are told; the rest is counted.
	MaxMistakes = 100
)

// The formats of files. ETCD is read only.
const (
	CSV  = "csv"
	YAML = "yaml"
	ETCD = "etcd"
)

// File is what a file says. Its zero value says nothing.
type File struct {
	site     *entry
	gateways []entry
	places   []entry
	// wrong is what Parse has found; Make tells it with its own.
	wrong mistakes
	// whole tells that the file has a list of gateways too, so that one which is
	// not in it can be meant to go.
	whole bool
}

// entry is what a file says of one record, each value as text.
type entry struct {
	key    string // of the record: a gateway's or a device's id, as it is written
	values map[string]string
	at     origin
	// bare is a place of a series, to which a place by itself may add.
	bare bool
	// hints are values that hold only where the plug's identity is known.
	hints bool
}

// origin is where an entry stands in its file.
type origin struct {
	line  int               // of the entry, 0 where there are no lines
	path  string            // as in places[3]; empty in CSV
	lines map[string]int    // of single values: by full key in YAML, by column in CSV
	names map[string]string // of single values, where they stand elsewhere
}

// of is the line and the name of one value; "" means the entry itself.
func (o origin) of(name string) (line int, full string) {
	full = o.names[name]
	switch {
	case full != "":
	case o.path == "":
		full = name
	case name == "":
		full = o.path
	default:
		full = o.path + "." + name
	}
	if line = o.lines[full]; line == 0 {
		line = o.line
	}
	return line, full
}

// String names the place in the file for a mistake in another one.
func (o origin) String() string {
	switch {
	case o.path != "":
		return o.path
	case o.line > 0:
		return fmt.Sprintf("line %d", o.line)
	default:
		return "the registry"
	}
}

// mistakes gathers what is wrong with a file.
type mistakes struct {
	list  []contract.Mistake
	count int
	clash int // those that are wrong only beside what is registered
}

func (m *mistakes) add(o origin, name, format string, args ...any) {
	line, full := o.of(name)
	m.addAt(line, full, format, args...)
}

func (m *mistakes) addAt(line int, name, format string, args ...any) {
	m.count++
	if len(m.list) < MaxMistakes {
		m.list = append(m.list, contract.Mistake{Line: line, Field: name, Detail: fmt.Sprintf(format, args...)})
	}
}

// problem is nil when there are no mistakes.
func (m *mistakes) problem() *contract.Problem {
	if m.count == 0 {
		return nil
	}
	p := &contract.Problem{Kind: contract.Invalid, Mistakes: m.list}
	if m.clash == m.count {
		p.Kind = contract.Conflict
	}
	switch {
	case m.count == 1:
		p.Detail = "the file has a mistake, and nothing was changed"
	case m.count > len(m.list):
		p.Detail = fmt.Sprintf("the file has %d mistakes, the first %d are told, and nothing was changed", m.count, len(m.list))
	default:
		p.Detail = fmt.Sprintf("the file has %d mistakes, and nothing was changed", m.count)
	}
	return p
}

// clone is a copy that can be added to.
func (m *mistakes) clone() mistakes {
	return mistakes{list: slices.Clone(m.list), count: m.count, clash: m.clash}
}

// found is the file together with what is wrong with it so far.
func (m *mistakes) found(f *File) (*File, *contract.Problem) {
	f.wrong = *m
	return f, m.problem()
}

// whole is the problem of a file that cannot be read at all.
func whole(format string, args ...any) *contract.Problem {
	return &contract.Problem{Kind: contract.Invalid, Detail: fmt.Sprintf(format, args...)}
}

// Parse reads a file in one of the formats. What it says of single values is
// judged by [Make], which knows the site. Of a file whose mistakes leave
// something to judge, the rest comes with the problem, and [Make] tells them all.
func Parse(format string, text []byte) (*File, *contract.Problem) {
	if len(text) > MaxBytes {
		return nil, whole("the file has %d bytes, at most %d are taken: import it in parts", len(text), MaxBytes)
	}
	switch format {
	case CSV:
		return parseCSV(text)
	case YAML:
		return parseYAML(text)
	case ETCD:
		return parseETCD(text)
	default:
		return nil, whole("there is no format %.40q; there are csv, yaml and etcd", format)
	}
}

// Format writes records as CSV, which has the places only, or YAML.
func Format(format string, r Records) ([]byte, *contract.Problem) {
	switch r = r.sorted(); format {
	case CSV:
		return formatCSV(r), nil
	case YAML:
		return formatYAML(r), nil
	default:
		return nil, whole("there is no format %.40q to export; there are csv and yaml", format)
	}
}

// names lists the fields of a record.
func names[T any](fields []field[T], first ...string) []string {
	for _, f := range fields {
		first = append(first, f.name)
	}
	return first
}

// clean is a value as people mean it: without spaces around it, and a line break
// within is a space.
func clean(v string) string {
	if strings.ContainsAny(v, "\r\n") {
		v = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == '\r' || r == '\n' }), " ")
	}
	return strings.TrimSpace(v)
}
