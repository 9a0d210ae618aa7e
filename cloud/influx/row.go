package influx

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// row reads an array of at most cap(row) values into row[:0].
func (s *scanner) row(row []any) ([]any, error) {
	raw, err := s.raw()
	if err != nil {
		return nil, err
	}
	// The values share one copy of the text.
	if plain, ok := plainRow(string(raw), row[:0]); ok {
		return plain, nil
	}
	var values []any
	if err := unmarshal(raw, &values); err != nil {
		return nil, err
	}
	return values, nil
}

// plainRow reads a row of numbers, words and strings without escapes; ok is
// false for anything else, valid or not.
func plainRow(text string, row []any) (values []any, ok bool) {
	rest, ok := strings.CutPrefix(text, "[")
	for ok && len(row) < cap(row) {
		var value any
		if value, rest, ok = plainValue(rest); !ok {
			break
		}
		row = append(row, value)
		switch {
		case rest == "]":
			return row, true
		case strings.HasPrefix(rest, ","):
			rest = rest[1:]
		default:
			ok = false
		}
	}
	return nil, false
}

func plainValue(text string) (value any, rest string, ok bool) {
	switch {
	case text == "":
		return nil, "", false
	case text[0] == '"':
		return plainString(text[1:])
	case strings.HasPrefix(text, "null"):
		return nil, text[len("null"):], true
	case strings.HasPrefix(text, "true"):
		return true, text[len("true"):], true
	case strings.HasPrefix(text, "false"):
		return false, text[len("false"):], true
	default:
		n := numberLength(text)
		return json.Number(text[:n]), text[n:], n > 0
	}
}

func plainString(text string) (value any, rest string, ok bool) {
	s, rest, ok := strings.Cut(text, `"`)
	if !ok {
		return nil, "", false
	}
	for i := range len(s) {
		if s[i] == '\\' || s[i] < ' ' {
			return nil, "", false
		}
	}
	return s, rest, utf8.ValidString(s)
}

// numberLength gives the length of the number that text starts with (RFC 8259
// section 6), 0 for none.
func numberLength(text string) int {
	n := 0
	if strings.HasPrefix(text, "-") {
		n = 1
	}
	whole := digits(text[n:])
	if whole == 0 || whole > 1 && text[n] == '0' {
		return 0
	}
	n += whole
	if n < len(text) && text[n] == '.' {
		fraction := digits(text[n+1:])
		if fraction == 0 {
			return 0
		}
		n += 1 + fraction
	}
	if n < len(text) && (text[n] == 'e' || text[n] == 'E') {
		sign := n + 1
		if sign < len(text) && (text[sign] == '+' || text[sign] == '-') {
			sign++
		}
		exponent := digits(text[sign:])
		if exponent == 0 {
			return 0
		}
		n = sign + exponent
	}
	return n
}

func digits(text string) int {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return i
		}
	}
	return len(text)
}
