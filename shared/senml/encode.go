package senml

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/device"
)

// Append appends records as a pack to dst. Times must be absolute and names
// valid; a name is written as a base name up to its last "/" and the rest, so
// that the records of one reading share name and time. The pack says version 26
// when it uses a secondary unit (Wh). NaN and infinite values are an error.
func Append(dst []byte, records []Record) ([]byte, error) {
	var baseName string
	var baseTime device.Micros
	dst = append(dst, '[')
	for i, r := range records {
		if err := check(r); err != nil {
			return nil, fmt.Errorf("encode record %d: %w", i, err)
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if i == 0 && secondary(records) {
			dst = append(dst, `"bver":26,`...)
		}
		cut := strings.LastIndexByte(r.Name, '/') + 1
		if i == 0 || r.Name[:cut] != baseName {
			baseName = r.Name[:cut]
			dst = append(append(append(dst, `"bn":"`...), baseName...), `",`...)
		}
		if i == 0 || r.Time != baseTime {
			baseTime = r.Time
			dst = append(r.Time.AppendSeconds(append(dst, `"bt":`...)), ',')
		}
		dst = append(append(append(dst, `"n":"`...), r.Name[cut:]...), '"')
		if r.Unit != "" {
			dst = appendString(append(dst, `,"u":`...), r.Unit)
		}
		dst = append(appendValue(dst, r), '}')
	}
	return append(dst, ']'), nil
}

func check(r Record) error {
	if !r.Absolute {
		return fmt.Errorf("%s: time is not absolute", r.Name)
	}
	if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		return fmt.Errorf("%s: value %v is no number", r.Name, r.Value)
	}
	return CheckName(r.Name)
}

// secondary reports whether a pack uses a unit of RFC 8798; Wh is the only one
// that Wattline writes.
func secondary(records []Record) bool {
	for _, r := range records {
		if r.Unit == "Wh" {
			return true
		}
	}
	return false
}

func appendValue(dst []byte, r Record) []byte {
	switch r.Kind {
	case Number:
		return appendNumber(append(dst, `,"v":`...), r.Value)
	case Bool:
		return strconv.AppendBool(append(dst, `,"vb":`...), r.Value != 0)
	case Text:
		return appendString(append(dst, `,"vs":`...), r.Text)
	case Data:
		return appendString(append(dst, `,"vd":`...), r.Text)
	default:
		return append(dst, `,"s":0`...)
	}
}

// appendNumber writes the shortest text that reads back as v.
func appendNumber(dst []byte, v float64) []byte {
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

func appendString(dst []byte, s string) []byte {
	text, err := json.Marshal(s) // of a string: never fails
	if err != nil {
		return append(dst, `""`...)
	}
	return append(dst, text...)
}
