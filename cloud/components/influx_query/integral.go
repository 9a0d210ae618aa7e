package influxquery

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/wattline/wattline/shared/device"
)

// maxCells bounds the windows of all groups of an integral, 8 bytes each.
const maxCells = 1_000_000

// sums adds the integrals of several devices, window by window, and hands the
// result on in the form that every other operation has.
//
// InfluxQL could do it in no statement: its integral runs one line through the
// points of all devices unless it is grouped by them; grouped, InfluxDB 1.8.10
// gives the windows of several series out of order and in pieces, so that a sum
// over a subquery has some windows twice; and in descending order integrals are
// negative and in the wrong window. One device at a time and in ascending order
// each number is right, so that is what is asked, and the rest is done here.
type sums struct {
	query  Query
	to     writer
	starts []device.Micros // one without windows
	groups map[string]*sum
}

type sum struct {
	group map[string]string
	cells []float64 // one for each window; NaN where no device has any
}

func newSums(q Query, to writer) *sums {
	s := &sums{query: q, to: to, groups: make(map[string]*sum), starts: make([]device.Micros, 1)}
	switch {
	case q.windowed():
		s.starts = q.grid().starts(*q.From, *q.To)
	case q.From != nil:
		s.starts[0] = *q.From
	}
	return s
}

func (s *sums) row(group map[string]string, r row) error {
	if r.value == nil {
		return nil
	}
	value, err := number(r.value)
	if err != nil {
		return err
	}
	key := labelOf(group, "")
	g := s.groups[key]
	if g == nil {
		if n := len(s.starts) * (len(s.groups) + 1); n > maxCells {
			return mistakes{fmt.Sprintf("every: more than %d windows in all series together; ask for fewer at once", maxCells)}
		}
		g = &sum{group: group, cells: make([]float64, len(s.starts))}
		for i := range g.cells {
			g.cells[i] = math.NaN()
		}
		s.groups[key] = g
	}
	cell := &g.cells[indexOf(s.starts, r.at)]
	if math.IsNaN(*cell) {
		*cell = 0
	}
	*cell += value
	return nil
}

func number(v any) (float64, error) {
	switch v := v.(type) {
	case json.Number:
		return v.Float64()
	case float64:
		return v, nil
	default:
		return 0, fmt.Errorf("an integral of type %T", v)
	}
}

func (s *sums) end() error {
	for _, key := range slices.Sorted(maps.Keys(s.groups)) {
		if err := s.hand(s.groups[key]); err != nil {
			return err
		}
	}
	return s.to.end()
}

// hand passes one group on, filled, ordered and limited as was asked.
func (s *sums) hand(g *sum) error {
	s.fill(g.cells)
	handed := 0
	for i := range g.cells {
		if s.query.Descending {
			i = len(g.cells) - 1 - i
		}
		r := row{at: s.starts[i]}
		switch v := g.cells[i]; {
		case !math.IsNaN(v):
			r.value = v
		case s.query.Fill == "none":
			continue
		}
		if err := s.to.row(g.group, r); err != nil {
			return err
		}
		if handed++; handed == s.query.Limit {
			return nil
		}
	}
	return nil
}

// fill gives empty windows what was asked for them; null and none leave them.
func (s *sums) fill(cells []float64) {
	constant, err := strconv.ParseFloat(s.query.Fill, 64)
	last := -1 // the last cell that was not empty
	for i, v := range cells {
		empty := math.IsNaN(v)
		switch {
		case empty && err == nil:
			cells[i] = constant
		case empty && s.query.Fill == "previous" && last >= 0:
			cells[i] = cells[last]
		case !empty && s.query.Fill == "linear" && last >= 0:
			for k := last + 1; k < i; k++ {
				cells[k] = cells[last] + (v-cells[last])*float64(k-last)/float64(i-last)
			}
		}
		if !empty {
			last = i
		}
	}
}
