package influxquery_test

import (
	"strings"
	"testing"
)

// InfluxQL gives a value of no point, over a range without beginning, the time
// of 1970.
func TestAValueWithoutABeginningIsOfTheEnd(t *testing.T) {
	s := newStand(t)
	for i, v := range []float64{1, 2, 6} {
		s.write(point("power", "id=sp_g0,type=g,unit=W", t0+float64(10*i), v))
	}
	for _, operation := range []string{"mean", "integral", "sum", "distinct"} {
		got := s.ask("power", "operation="+operation, "to=1705280000", "format=series")
		if !strings.Contains(got, `"t":1705280000,`) || strings.Contains(got, `"t":0`) {
			t.Errorf("%s: %s", operation, got)
		}
		if got := s.ask("power", "operation="+operation, "from=1705270000", "format=series"); !strings.Contains(got, `"t":1705270000,`) {
			t.Errorf("%s with a beginning: %s", operation, got)
		}
		if got := s.ask("power", "operation="+operation, "format=series"); strings.Contains(got, `"t":0`) {
			t.Errorf("%s of all: %s", operation, got)
		}
	}
	// What is of a point keeps its time.
	if got := s.ask("power", "operation=max", "to=1705280000", "format=series"); !strings.Contains(got, `"t":1705276820,`) {
		t.Errorf("max: %s", got)
	}
}
