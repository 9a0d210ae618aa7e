package world

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// entry is a line of line protocol, taken apart.
type entry struct {
	series      string // measurement and tags, as written
	measurement string
	columns     map[string]any // tags and fields
	at          int64
}

// parseLine reads what our own writer writes.
func parseLine(s string) (e entry, err error) {
	series, rest, ok := cut(s, ' ')
	fields, at, ok2 := cut(rest, ' ')
	if !ok || !ok2 {
		return e, fmt.Errorf("line %q has no fields or no time", s)
	}
	e = entry{series: series, columns: make(map[string]any)}
	if e.at, err = strconv.ParseInt(at, 10, 64); err != nil {
		return e, fmt.Errorf("line %q: %w", s, err)
	}
	name, tags, _ := cut(series, ',')
	e.measurement = plain(name)
	for tags != "" {
		var tag string
		tag, tags, _ = cut(tags, ',')
		key, value, _ := cut(tag, '=')
		e.columns[plain(key)] = plain(value)
	}
	for fields != "" {
		var field string
		field, fields, _ = cut(fields, ',')
		key, value, _ := cut(field, '=')
		e.columns[plain(key)] = valueOf(value)
	}
	return e, nil
}

// cut splits at the first separator that is neither escaped nor quoted.
func cut(s string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// plain takes the backslashes off.
func plain(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// valueOf is a field's value, as it is answered.
func valueOf(s string) any {
	switch {
	case strings.HasPrefix(s, `"`):
		return plain(strings.TrimSuffix(s[1:], `"`))
	case s == "true" || s == "false":
		return s == "true"
	default:
		return json.Number(strings.TrimSuffix(s, "i"))
	}
}
