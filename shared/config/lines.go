package config

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
)

// DecodeLines is [Decode] for files that are no configuration but written by the
// same rules, such as an inventory of a building: text may have any size that
// the caller takes, and the line of each full key ("places[3].label") comes back
// beside the mistakes, for those that are found later.
func DecodeLines(text []byte, name string, into any) (lines map[string]int, err error) {
	root, err := parse(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, &Error{Name: name, Mistakes: []error{err}}
	}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("config: DecodeLines needs a pointer to a struct, got %T", into)
	}
	// Each node takes a byte of the text at least, so this bounds aliases only.
	d := decoder{lines: map[string]int{}, maxNodes: max(maxNodes, len(text))}
	d.value("", root, target.Elem())
	if len(d.mistakes) > 0 {
		return d.lines, &Error{Name: name, Mistakes: d.mistakes}
	}
	return d.lines, nil
}

// readAll reads at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, ErrTooLarge
	}
	return text, nil
}
