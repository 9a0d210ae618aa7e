// Package config reads the one YAML file of a program, strictly: a key that
// nobody asked for, a value of the wrong kind, a key written twice, are
// mistakes, and all of them are told at once, by full key and line, together
// with what Validate finds. A program that starts has understood every line of
// its file.
//
// The settings of a part are a struct in that part's package, its keys given by
// yaml:"snake_case" tags; what the struct holds before Load is the default.
// Fields may be structs, pointers, slices, maps with text keys, text, booleans,
// whole and floating numbers, time.Duration (as "10s"), Secret, and any type
// that implements encoding.TextUnmarshaler. The package owns the YAML library.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxBytes bounds a configuration file.
const MaxBytes = 1 << 20

var (
	// ErrEmpty says that a file holds no settings at all. It is a mistake
	// because a file cut short by a full disk looks the same.
	ErrEmpty = errors.New("no settings in it")
	// ErrTooLarge says that a file is larger than MaxBytes.
	ErrTooLarge = errors.New("larger than 1 MiB")
)

// validator is implemented by settings that can judge themselves; each error
// of Validate begins with the key that it is about ("url: required").
type validator interface{ Validate() error }

// Error is everything that is wrong with one file.
type Error struct {
	Name     string  // of the file, as given to Load or Decode
	Mistakes []error // in the order of the file, Validate's behind them
}

// Error gives a line for each mistake.
func (e *Error) Error() string {
	if len(e.Mistakes) == 1 {
		return e.Name + ": " + e.Mistakes[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %d mistakes:", e.Name, len(e.Mistakes))
	for _, m := range e.Mistakes {
		b.WriteString("\n  ")
		b.WriteString(m.Error())
	}
	return b.String()
}

// Unwrap lets errors.Is and errors.AsType find any of the mistakes.
func (e *Error) Unwrap() []error { return e.Mistakes }

// Load reads the file at filename into into, a pointer to a struct, as Decode
// does. A file that cannot be read gives the error of the operating system, any
// other trouble an *Error.
func Load(filename string, into any) error {
	f, err := os.Open(filename)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	return Decode(f, filename, into)
}

// Decode reads one YAML document from r into into, a pointer to a struct whose
// present values are the defaults, and then calls its Validate method if it has
// one. Lists and maps replace their default, structs are merged into it. Name
// stands in front of the errors. All mistakes come back in one *Error; into is
// then filled as far as the file could be understood and must not be used.
func Decode(r io.Reader, name string, into any) error {
	root, err := parse(r, MaxBytes)
	if err != nil {
		return &Error{Name: name, Mistakes: []error{err}}
	}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("config: Decode needs a pointer to a struct, got %T", into)
	}
	d := decoder{lines: map[string]int{}, maxNodes: maxNodes}
	d.value("", root, target.Elem())
	mistakes := d.mistakes
	if v, ok := into.(validator); ok {
		for _, err := range flatten(v.Validate()) {
			mistakes = append(mistakes, d.locate(err))
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return &Error{Name: name, Mistakes: mistakes}
}

// parse reads the one document of r, at most limit bytes of it.
func parse(r io.Reader, limit int64) (*yaml.Node, error) {
	text, err := readAll(r, limit)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, ErrEmpty
	} else if err != nil {
		return nil, syntax(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, ErrEmpty
	}
	if err := dec.Decode(&next); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins here, there may be one only", next.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, syntax(err)
	}
	return doc.Content[0], nil
}

// syntax makes a sentence of an error of the YAML library, which quotes an
// unknown alias: that may be a password beginning with an asterisk.
func syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(text, "unknown anchor") {
		return errors.New("not YAML: a value begins with * but names no anchor; put it in quotes")
	}
	return errors.New("not YAML: " + text)
}

// Key puts name in front of the key of each error in err, so that a struct can
// pass on what the Validate of a part has found: Key("influx", err) makes
// "influx.url: required" of "url: required". It gives nil for nil.
func Key(name string, err error) error {
	var errs []error
	for _, e := range flatten(err) {
		errs = append(errs, &mistake{text: name + "." + e.Error(), err: e})
	}
	return errors.Join(errs...)
}

// mistake is an error told in other words.
type mistake struct {
	text string
	err  error
}

func (m *mistake) Error() string { return m.text }
func (m *mistake) Unwrap() error { return m.err }

// flatten gives the single errors of what errors.Join has joined.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) // not errors.As: what is inside a wrapped error belongs to it
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
