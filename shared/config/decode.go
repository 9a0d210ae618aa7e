package config

import (
	"encoding"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	// maxNodes bounds what aliases can blow a small file up to.
	maxNodes = 200_000
	// maxDepth stops an alias that contains itself.
	maxDepth = 64
	// maxMistakes keeps the answer to a file of another program readable.
	maxMistakes = 100
	// maxShown is how much of a wrong value is repeated in the message.
	maxShown = 60
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decoder walks the nodes of a document beside the Go value that they are for
// and goes on after a mistake.
type decoder struct {
	mistakes []error
	lines    map[string]int // by full key, for what Validate finds
	maxNodes int            // bounds nodes
	nodes    int            // seen so far, aliases followed
	depth    int
	spent    bool // one of the limits was reached
}

// add notes a mistake in the value of key.
func (d *decoder) add(key string, n *yaml.Node, format string, args ...any) {
	if key == "" {
		key = "the file"
	}
	d.note(fmt.Errorf("%s (line %d): %w", key, n.Line, fmt.Errorf(format, args...)))
}

func (d *decoder) note(err error) {
	if len(d.mistakes) == maxMistakes {
		err = errors.New("and more: only the first mistakes are listed")
	}
	if len(d.mistakes) <= maxMistakes {
		d.mistakes = append(d.mistakes, err)
	}
}

// locate adds the line to an error of Validate that begins with a key of the
// file.
func (d *decoder) locate(err error) error {
	key, rest, ok := strings.Cut(err.Error(), ":")
	line, known := d.lines[key]
	if !ok || !known {
		return err
	}
	return &mistake{text: fmt.Sprintf("%s (line %d):%s", key, line, rest), err: err}
}

// value decodes n, which stands at key, into v.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value) {
	d.nodes++
	if d.nodes > d.maxNodes || d.depth > maxDepth {
		if !d.spent {
			d.add(key, n, "aliases make the file too large or too deep")
		}
		d.spent, d.nodes = true, d.maxNodes // the rest of the walk is cheap
		return
	}
	d.depth++
	defer func() { d.depth-- }()
	if n.Kind == yaml.AliasNode {
		d.value(key, n.Alias, v)
		return
	}
	d.lines[key] = n.Line
	switch {
	case v.Type() == secretType:
		d.secret(key, n, v)
	case v.Type() == durationType:
		d.duration(key, n, v)
	case reflect.PointerTo(v.Type()).Implements(textType):
		d.text(key, n, v)
	case v.Kind() == reflect.Struct:
		d.structure(key, n, v)
	case v.Kind() == reflect.Map:
		d.mapping(key, n, v)
	case v.Kind() == reflect.Slice:
		d.list(key, n, v)
	case v.Kind() == reflect.Pointer:
		d.pointer(key, n, v)
	default:
		d.scalar(key, n, v)
	}
}

// pointer makes a new value for a nil pointer; an empty value leaves it as it
// is.
func (d *decoder) pointer(key string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	d.value(key, n, v.Elem())
}

// structure decodes the keys of a mapping into the fields with their tags. A
// key with nothing below it leaves the defaults alone: people comment out what
// stands under a key and keep the key.
func (d *decoder) structure(key string, n *yaml.Node, v reflect.Value) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		d.add(key, n, "%w", err)
		return
	}
	for name, val := range d.pairs(key, n, "keys: "+known(fields)) {
		full := join(key, name.Value)
		index, ok := fields[name.Value]
		if !ok {
			d.note(fmt.Errorf("unknown key %s (line %d); known here: %s", full, name.Line, known(fields)))
			continue
		}
		d.value(full, val, v.Field(index))
	}
}

// mapping decodes into a map, whose keys are text or parse themselves.
func (d *decoder) mapping(key string, n *yaml.Node, v reflect.Value) {
	fresh := reflect.MakeMap(v.Type())
	for name, val := range d.pairs(key, n, "names with a value each") {
		full := join(key, name.Value)
		k := reflect.New(v.Type().Key()).Elem()
		before := len(d.mistakes)
		d.value(full, name, k)
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(full, val, e)
		if len(d.mistakes) > before {
			continue
		}
		if fresh.MapIndex(k).IsValid() { // two spellings of one key
			d.add(full, name, "is there twice")
			continue
		}
		fresh.SetMapIndex(k, e)
	}
	if !isNull(n) {
		v.Set(fresh)
	}
}

// list decodes into a slice.
func (d *decoder) list(key string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.add(key, n, "want a list, got %s", what(n))
		return
	}
	fresh := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), 1024))
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(fmt.Sprintf("%s[%d]", key, i), item, e)
		fresh = reflect.Append(fresh, e)
	}
	v.Set(fresh)
}

// pairs gives the names and values of a mapping, without those that are there
// twice. Want says what belongs there instead of something else.
func (d *decoder) pairs(key string, n *yaml.Node, want string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(name, val *yaml.Node) bool) {
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			d.add(key, n, "want %s; got %s", want, what(n))
			return
		}
		lines := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, val := n.Content[i], n.Content[i+1]
			if name.Kind != yaml.ScalarNode {
				d.add(key, name, "a key must be plain text, got %s", what(name))
				continue
			}
			if name.ShortTag() == "!!merge" {
				d.add(key, name, "merge keys (<<) are not understood; write the keys out")
				continue
			}
			if first, twice := lines[name.Value]; twice {
				d.add(join(key, name.Value), name, "is there twice, first on line %d", first)
				continue
			}
			lines[name.Value] = name.Line
			if !yield(name, val) {
				return
			}
		}
	}
}

// fieldsOf gives the index of each field of t that can be configured, by its
// key. A field without a tag is a mistake of ours, told as such rather than
// left out of every file.
func fieldsOf(t reflect.Type) (map[string]int, error) {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "":
			return nil, fmt.Errorf("field %s of %s has no yaml tag (this is a bug of the program)", f.Name, t)
		default:
			fields[name] = i
		}
	}
	return fields, nil
}

func known(fields map[string]int) string {
	return strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
}

// join gives the full key of name below key; names that could be mistaken for
// a path are quoted.
func join(key, name string) string {
	plain := name != "" && len(name) <= maxShown && strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	switch {
	case !plain:
		return key + "[" + show(name) + "]"
	case key == "":
		return name
	default:
		return key + "." + name
	}
}

// what names the kind of a node for a message, never its text: a secret in the
// wrong place must not reach a log.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!bool":
			return "true or false"
		case "!!int", "!!float":
			return "a number"
		}
		return "text"
	default:
		return "an alias"
	}
}

// show quotes text of the file, shortened.
func show(text string) string {
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	return strconv.Quote(text)
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
