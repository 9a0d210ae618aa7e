package influxquery

import (
	"slices"
	"strconv"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Query is a question that was found to make sense. Only [Parse] makes one;
// every text in it matches a pattern that leaves nothing to escape, and is
// escaped nevertheless where InfluxQL is built.
type Query struct {
	Database    string
	Measurement string
	// Operation is one of the seventeen; "" asks for the points themselves.
	Operation string
	// N is the argument of percentile (a decimal over 0, at most 100), top,
	// bottom and sample (a whole number); "" for the others.
	N string
	// Unit is the time that integral counts in, a second unless said otherwise.
	Unit time.Duration

	// Filters; an empty one matches everything, each other must match.
	IDs     []device.ID
	Types   []string
	Floors  []int
	Rows    []int
	Columns []int
	// From and To are inclusive; nil is unbounded. With windows both are set.
	From, To *device.Micros

	// Every is the width of the windows; the zero value asks for none.
	Every Window
	// Zone is the IANA time zone that windows are aligned in; "" is UTC.
	Zone string
	// Fill is what an empty window holds: null, none, previous, linear or a
	// decimal; "" is null (0 for count).
	Fill string
	// GroupBy are the tags that split the answer, in the order of [groupKeys].
	GroupBy []string

	// Limit is the largest number of points of each series; 0 is no limit.
	Limit      int
	Descending bool
	Format     Format
}

// Window is a width in time as it was written: a count of units.
type Window struct {
	Count int
	Unit  byte // s m h d w
}

// Duration is the width, days taken as 24 h.
func (w Window) Duration() time.Duration { return time.Duration(w.Count) * unitOf[w.Unit] }

var unitOf = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// Format is the form of an answer.
type Format string

// The formats: a SenML pack as IoToad gave it, or an array of contract.Series.
const (
	SenML  Format = "senml"
	Series Format = "series"
)

// kind sorts the operations by what InfluxQL does with them.
type kind uint8

const (
	aggregate kind = iota // one value, of no point in particular
	selector              // one point, with its own time outside of windows
	picker                // several points, always with their own times; no fill
	lister                // distinct: several values, alone in its statement; no fill
)

// operations are IoToad's seventeen, which are InfluxQL's own functions.
var operations = map[string]kind{
	"count": aggregate, "integral": aggregate, "mean": aggregate, "median": aggregate, "mode": aggregate,
	"spread": aggregate, "stddev": aggregate, "sum": aggregate,
	"first": selector, "last": selector, "max": selector, "min": selector, "percentile": selector,
	"bottom": picker, "sample": picker, "top": picker,
	"distinct": lister,
}

// groupKeys are what an answer can be split by, and the tags they stand for.
var groupKeys = []struct{ key, tag string }{
	{"device", "id"}, {"type", "type"}, {"floor", "floor"}, {"row", "row"}, {"column", "column"},
}

// single reports whether only one place can match, whatever its spelling.
func (q Query) single() bool { return len(q.IDs) == 1 }

// points reports whether each value of the answer is a point that some device
// measured, so that the device can be named.
func (q Query) points() bool {
	k, ok := operations[q.Operation]
	return !ok || k == selector || k == picker
}

func (q Query) windowed() bool { return q.Every.Count > 0 }

// grouped reports whether the answer is split by a tag.
func (q Query) grouped(tag string) bool { return slices.Contains(q.GroupBy, tag) }

// String is the width as it is written in InfluxQL too.
func (w Window) String() string { return strconv.Itoa(w.Count) + string(w.Unit) }
