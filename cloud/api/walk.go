package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// rawPoint is a point whose value (a number or null) and id (a string with its
// quotes, or nothing) are JSON still: they go out as they came in.
type rawPoint struct {
	at        device.Micros
	value, id []byte
}

// walk goes through an array of [contract.Series]: head for each series, without
// its points, and point for each of those. Answers have millions of points, so
// the form in which influx_query writes them is read without reflection, three
// times as fast as encoding/json (Go 1.26); at anything else undo takes back
// what was done and the slow way begins.
func walk(part json.RawMessage, head func(contract.Series) error, point func(rawPoint), undo func()) error {
	if ok, err := walkFast(part, head, point); ok || err != nil {
		return err
	}
	undo()
	var all []contract.Series
	if err := json.Unmarshal(part, &all); err != nil {
		return fmt.Errorf("%w: it has no series", errBadAnswer)
	}
	for _, one := range all {
		if err := head(one); err != nil {
			return err
		}
		for _, p := range one.Points {
			raw := rawPoint{at: p.Time, value: appendValue(nil, p.Value)}
			if p.ID != "" {
				id, err := json.Marshal(p.ID)
				if err != nil {
					return fmt.Errorf("%w: %w", errBadAnswer, err)
				}
				raw.id = id
			}
			point(raw)
		}
	}
	return nil
}

// pointsKey cannot stand inside a JSON string, where its quotes would be escaped.
var pointsKey = []byte(`"points":[`)

// walkFast is false when the text is not what it expects.
func walkFast(text []byte, head func(contract.Series) error, point func(rawPoint)) (ok bool, err error) {
	text, ok = bytes.CutPrefix(bytes.TrimSpace(text), []byte("["))
	if ok && string(text) == "]" {
		return true, nil
	}
	for ok {
		i := bytes.Index(text, pointsKey)
		if i < 0 {
			return false, nil
		}
		i += len(pointsKey)
		one, isHead := headOf(text[:i])
		if !isHead {
			return false, nil
		}
		if err := head(one); err != nil {
			return false, err
		}
		if text, ok = walkPoints(text[i:], point); !ok || string(text) == "]" {
			return ok, nil
		}
		text, ok = bytes.CutPrefix(text, []byte(","))
	}
	return false, nil
}

// headOf reads a series of which only the points are missing.
func headOf(text []byte) (one contract.Series, ok bool) {
	err := json.Unmarshal(append(bytes.Clone(text), "]}"...), &one)
	return one, err == nil
}

// walkPoints reads points up to and with the end of their series.
func walkPoints(text []byte, point func(rawPoint)) (rest []byte, ok bool) {
	if rest, ok := bytes.CutPrefix(text, []byte("]}")); ok {
		return rest, true
	}
	for {
		var p rawPoint
		if p, text, ok = readPoint(text); !ok || len(text) < 2 {
			return nil, false
		}
		point(p)
		switch {
		case text[0] == ',':
			text = text[1:]
		case text[0] == ']' && text[1] == '}':
			return text[2:], true
		default:
			return nil, false
		}
	}
}

// readPoint reads {"t":...,"v":...} with an optional "id" at the end.
func readPoint(text []byte) (p rawPoint, rest []byte, ok bool) {
	if text, ok = bytes.CutPrefix(text, []byte(`{"t":`)); !ok {
		return p, nil, false
	}
	number := numberAt(text)
	if p.at, ok = microsOf(number); !ok {
		return p, nil, false
	}
	if text, ok = bytes.CutPrefix(text[len(number):], []byte(`,"v":`)); !ok {
		return p, nil, false
	}
	if p.value = numberAt(text); len(p.value) == 0 {
		if !bytes.HasPrefix(text, []byte("null")) {
			return p, nil, false
		}
		p.value = text[:len("null")]
	}
	text = text[len(p.value):]
	if bytes.HasPrefix(text, []byte(`,"id":"`)) {
		text = text[len(`,"id":`):]
		end := bytes.IndexByte(text[1:], '"')
		if end < 0 || bytes.IndexByte(text[1:1+end], '\\') >= 0 {
			return p, nil, false
		}
		if end > 0 {
			p.id = text[:end+2]
		}
		text = text[end+2:]
	}
	rest, ok = bytes.CutPrefix(text, []byte("}"))
	return p, rest, ok
}

// numberAt is the number that the text begins with. The text is JSON, so that
// what consists of these characters is a number.
func numberAt(text []byte) []byte {
	for i, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return text[:i]
		}
	}
	return text
}

// microsOf reads POSIX seconds with at most six decimals.
func microsOf(number []byte) (device.Micros, bool) {
	var n, decimals int64
	negative, point := false, false
	for i, c := range number {
		switch {
		case c == '-' && i == 0:
			negative = true
		case c == '.' && !point:
			point = true
		case c < '0' || c > '9' || decimals == 6 || !point && n > 1<<36: // the year 20000 and more
			return 0, false
		default:
			n = n*10 + int64(c-'0')
			if point {
				decimals++
			}
		}
	}
	for ; decimals < 6; decimals++ {
		n *= 10
	}
	if negative {
		n = -n
	}
	return device.Micros(n), len(number) > 0
}

// appendValue writes a number as encoding/json does; null for none.
func appendValue(b []byte, v *float64) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	if size := math.Abs(*v); size != 0 && (size < 1e-6 || size >= 1e21) {
		return strconv.AppendFloat(b, *v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, *v, 'f', -1, 64)
}
