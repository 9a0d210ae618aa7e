package influxquery

import (
	"context"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// partLimit is the size of a part, in bytes.
const partLimit = 1 << 20

// parts gathers the pieces of a JSON array and hands them over in arrays of at
// most partLimit bytes. It holds one part; the answer may hold another.
type parts struct {
	ctx context.Context //nolint:containedctx // lives as long as one request
	to  Answer
	buf []byte
}

// hand passes on what was gathered, a whole JSON array.
func (p *parts) hand() error {
	part := p.buf
	p.buf = make([]byte, 0, min(2*len(part), partLimit)) // the answer keeps the other
	return p.to.Part(p.ctx, part)
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			text, err := json.Marshal(s)
			if err != nil { // a string always marshals
				text = []byte(`""`)
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendNumber appends what InfluxDB gave for a value as a JSON number; false
// when it is none.
func appendNumber(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case json.Number:
		return append(b, v...), true
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64), true
	case bool: // of a field that is not ours
		if v {
			return append(b, '1'), true
		}
		return append(b, '0'), true
	default:
		return b, false
	}
}
