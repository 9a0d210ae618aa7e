// Package inventory is the client side of importing and exporting the records of
// a site: which format a file has, whether it can be sent at all, and what the
// server's answer says to people.
//
// It never judges a line: the registry does, which knows the site. What it
// refuses is what no server takes, before it is read into memory.
package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MaxBytes is the largest file that a server takes.
const MaxBytes = 3 << 20

// Formats are those that can be imported; the last is IoToad's and cannot be
// exported.
var Formats = []string{"csv", "yaml", "etcd"}

// File is what is to be imported.
type File struct {
	Name   string
	Format string
	Text   []byte
}

// Read reads a file, - for in, and finds out its format where none is given. A
// file that is larger than MaxBytes is not read.
func Read(name, format string, in io.Reader) (*File, error) {
	if format != "" && !slices.Contains(Formats, format) {
		return nil, fmt.Errorf("no format %q; there are %s", format, strings.Join(Formats, ", "))
	}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the inventory: %w", err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > MaxBytes {
			return nil, tooLarge(name, fmt.Sprintf("%.1f MiB", float64(info.Size())/(1<<20)))
		}
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	switch {
	case len(text) > MaxBytes:
		return nil, tooLarge(name, "more than 3 MiB")
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%s is empty", title(name))
	}
	if format == "" {
		if format = Detect(name, text); format == "" {
			return nil, fmt.Errorf("%s: cannot tell its format; give --format csv, yaml or etcd", title(name))
		}
	}
	return &File{Name: title(name), Format: format, Text: text}, nil
}

func tooLarge(name, size string) error {
	return fmt.Errorf("%s has %s and a server takes 3 MiB at most, some ten thousand places: import it in parts, floor by floor", title(name), size)
}

func title(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// Detect tells the format by what is in the file, and by its name where that
// does not say; "" where neither does.
func Detect(name string, text []byte) string {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	ext := strings.ToLower(filepath.Ext(name))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		return "etcd"
	case ext == ".csv" || ext == ".tsv" || ext == ".txt":
		return "csv"
	case ext == ".yaml" || ext == ".yml":
		return "yaml"
	case bytes.ContainsAny(first, ",;\t") && !bytes.Contains(first, []byte(":")), bytes.EqualFold(bytes.TrimSpace(first), []byte("device")):
		return "csv"
	case bytes.Contains(text, []byte(":")):
		return "yaml"
	default:
		return ""
	}
}

// Difference is what an import changes, or would: the server's answer.
type Difference struct {
	Added   []Change `json:"added"`
	Changed []Change `json:"changed"`
	Removed []Change `json:"removed"`
	// Counts are of all changes; More are not listed.
	Counts *struct {
		Added   int `json:"added"`
		Changed int `json:"changed"`
		Removed int `json:"removed"`
	} `json:"counts"`
	More      int      `json:"more"`
	Unchanged int      `json:"unchanged"`
	Notes     []string `json:"notes"`
}

// Change is what becomes of one record.
type Change struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Fields []struct {
		Field string `json:"field"`
		From  string `json:"from"`
		To    string `json:"to"`
	} `json:"fields"`
}

// IsEmpty reports whether nothing changes.
func (d *Difference) IsEmpty() bool {
	return len(d.Added)+len(d.Changed)+len(d.Removed)+d.More == 0
}

// maxListed bounds how many changes are written out.
const maxListed = 1000

// Write writes the difference for people: + added, ~ changed, - removed, ! left
// out. clean takes what a terminal might obey out of a text.
func (d *Difference) Write(w io.Writer, clean func(string) string) error {
	var errs []error
	say := func(format string, args ...any) {
		if len(errs) == 0 {
			if _, err := fmt.Fprintf(w, format, args...); err != nil {
				errs = append(errs, err)
			}
		}
	}
	listed := 0
	for _, part := range []struct {
		mark    string
		changes []Change
	}{{"-", d.Removed}, {"~", d.Changed}, {"+", d.Added}} {
		for _, c := range part.changes {
			if listed++; listed > maxListed {
				continue
			}
			say("%s %s\n", part.mark, clean(strings.TrimSpace(c.Kind+" "+c.ID)))
			for _, f := range c.Fields {
				switch {
				case part.mark == "+" || f.From == "":
					say("    %s: %s\n", f.Field, clean(f.To))
				case f.To == "":
					say("    %s: %s -> (none)\n", f.Field, clean(f.From))
				default:
					say("    %s: %s -> %s\n", f.Field, clean(f.From), clean(f.To))
				}
			}
		}
	}
	if more := d.More + max(0, listed-maxListed); more > 0 {
		say("and %d more\n", more)
	}
	for _, note := range d.Notes {
		say("! %s\n", clean(note))
	}
	return errors.Join(errs...)
}

// Summary is the difference in a line.
func (d *Difference) Summary() string {
	added, changed, removed := len(d.Added), len(d.Changed), len(d.Removed)
	if c := d.Counts; c != nil {
		added, changed, removed = c.Added, c.Changed, c.Removed
	}
	return fmt.Sprintf("%d added, %d changed, %d removed, %d unchanged", added, changed, removed, d.Unchanged)
}
