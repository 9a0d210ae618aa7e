package webhook

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

// record is one reading on its way, in the one form that both ways give: as it is
// stored. A boolean is 1 or 0, binary data the text it came in.
type record struct {
	at    device.Micros
	name  string
	unit  string
	value string // a number as JSON; "" means text
	text  string
}

// size is about what a record takes in memory and in a request.
func (r *record) size() int { return 64 + len(r.name) + len(r.unit) + len(r.value) + len(r.text) }

// choice says what a receiver wants; nil maps want everything.
type choice struct{ devices, measurements map[string]bool }

func newChoice(r Receiver) choice {
	set := func(list []string) map[string]bool {
		if len(list) == 0 {
			return nil
		}
		m := make(map[string]bool, len(list))
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	return choice{set(r.Devices), set(r.Measurements)}
}

func (c choice) wants(id, measurement string) bool {
	return (c.devices == nil || c.devices[id]) && (c.measurements == nil || c.measurements[measurement])
}

// recordsOf gives the wanted records of a pack, as they are stored.
func recordsOf(pack []byte, most int, c choice) ([]record, error) {
	list, err := senml.Decode(pack, most)
	if err != nil {
		return nil, err
	}
	records := make([]record, 0, len(list))
	for _, r := range list {
		id, measurement, err := hook.SplitName(r.Name)
		if err != nil {
			return nil, err
		}
		if r.Kind == senml.None || !r.Absolute || !c.wants(id.String(), measurement) {
			continue
		}
		one := record{at: r.Time, name: id.String() + "/" + measurement, unit: r.Unit}
		if r.Kind == senml.Number || r.Kind == senml.Bool {
			one.value = number(r.Value)
		} else {
			one.text = r.Text
		}
		records = append(records, one)
	}
	return records, nil
}

// number is the shortest JSON that reads back as v, written as InfluxDB writes it.
func number(v float64) string {
	v += 0 // no zero is negative
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		text, err := json.Marshal(v)
		if err != nil { // infinite or no number, which SenML cannot say
			return "0"
		}
		return string(text)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// inOrder sorts records by time, name and unit (RFC 8428 section 4.6), and leaves out
// what is there twice.
func inOrder(records []record) []record {
	slices.SortFunc(records, func(a, b record) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		if c := cmp.Compare(a.name, b.name); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(a.value, b.value), cmp.Compare(a.text, b.text))
	})
	return slices.Compact(records)
}

// secondary is the unit for which a pack says version 26 (RFC 9100 section 3).
const secondary = "Wh"

// appendPack appends records as a resolved pack (RFC 8428 section 4.6): each says
// name, unit and time itself, and, where the pack uses a secondary unit, the
// version.
func appendPack(dst []byte, records []record) []byte {
	versioned := slices.ContainsFunc(records, func(r record) bool { return r.unit == secondary })
	dst = append(dst, '[')
	for i, r := range records {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if versioned {
			dst = append(dst, `"bver":26,`...)
		}
		dst = append(append(append(dst, `"n":"`...), r.name...), '"')
		if r.unit != "" {
			dst = appendText(append(dst, `,"u":`...), r.unit)
		}
		dst = r.at.AppendSeconds(append(dst, `,"t":`...))
		if r.value != "" {
			dst = append(append(dst, `,"v":`...), r.value...)
		} else {
			dst = appendText(append(dst, `,"vs":`...), r.text)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			text, _ := json.Marshal(s) // of a string: never fails
			return append(dst, text...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
