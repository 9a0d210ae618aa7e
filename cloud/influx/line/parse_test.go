package line_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/wattline/wattline/cloud/influx/line"
)

// point is a line as a reader understands it.
type point struct {
	measurement string
	tags        []line.Tag
	fields      []string // key=value, the value as written, strings unquoted
	micros      int64
}

// parse reads line protocol by the rules that InfluxDB 1.8.10 was seen to
// follow: a backslash before a byte hides it from whoever looks for an end,
// and is taken away only before the characters that need it.
func parse(lines []byte) ([]point, error) {
	var points []point
	for len(lines) > 0 {
		end := endOfLine(lines)
		if end == len(lines) {
			return nil, fmt.Errorf("last line %q has no end", lines)
		}
		p, err := parseLine(lines[:end])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines[:end], err)
		}
		points = append(points, p)
		lines = lines[end+1:]
	}
	return points, nil
}

func endOfLine(buf []byte) int {
	quoted, fields, equals, commas := false, false, 0, 0
	for i := 0; i < len(buf); i++ {
		c := buf[i]
		if c == '\\' && i+2 < len(buf) {
			i++
			continue
		}
		fields = fields || c == ' '
		if fields && !quoted && c == '=' {
			equals++
		} else if fields && !quoted && c == ',' {
			commas++
		} else if fields && c == '"' && equals > commas {
			quoted = !quoted
		} else if c == '\n' && !quoted {
			return i
		}
	}
	return len(buf)
}

func parseLine(l []byte) (point, error) {
	if l[0] == '#' {
		return point{}, fmt.Errorf("a comment")
	}
	key, rest := cut(l, ' ')
	values, stamp := cutFields(rest)
	parts := splitAll(key, ',')
	p := point{measurement: unescape(parts[0], ", ")}
	for _, part := range parts[1:] {
		k, v := cut(part, '=')
		if len(k) == 0 || len(v) == 0 {
			return point{}, fmt.Errorf("tag %q", part)
		}
		if bytes.HasSuffix(v, []byte(`\`)) {
			return point{}, fmt.Errorf("tag value %q ends in a backslash", v)
		}
		p.tags = append(p.tags, line.Tag{Key: unescape(k, ",= "), Value: unescape(v, ",= ")})
	}
	for _, f := range values {
		k, v := cut(f, '=')
		value := string(v)
		if strings.HasPrefix(value, `"`) {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
		}
		p.fields = append(p.fields, unescape(k, ",= ")+"="+value)
	}
	var err error
	p.micros, err = strconv.ParseInt(string(stamp), 10, 64)
	return p, err
}

// cut splits at the first bare sep: one that no backslash stands before.
func cut(b []byte, sep byte) (before, after []byte) {
	for i := range b {
		if b[i] == sep && (i == 0 || b[i-1] != '\\') {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

func splitAll(b []byte, sep byte) [][]byte {
	var parts [][]byte
	for {
		before, after := cut(b, sep)
		parts = append(parts, before)
		if after == nil {
			return parts
		}
		b = after
	}
}

// cutFields splits the field section and what follows it.
func cutFields(b []byte) (fields [][]byte, stamp []byte) {
	quoted, start := false, 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\':
			i++
		case c == '"' && (quoted || i > 0 && b[i-1] == '=' && (i < 2 || b[i-2] != '\\')):
			quoted = !quoted
		case c == ',' && !quoted:
			fields = append(fields, b[start:i])
			start = i + 1
		case c == ' ' && !quoted:
			return append(fields, b[start:i]), b[i+1:]
		}
	}
	return append(fields, b[start:]), nil
}

func unescape(b []byte, special string) string {
	var s strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && strings.IndexByte(special, b[i+1]) >= 0 {
			i++
		}
		s.WriteByte(b[i])
	}
	return s.String()
}
