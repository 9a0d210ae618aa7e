package influxquery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// endless is a store whose answer has as many rows as wanted, in chunks as the
// real one hands them over.
type endless struct {
	chunks, rows int
	handed       int // chunks
}

func (s *endless) Query(_ context.Context, _, text string, each func(string, map[string]string, []string, [][]any) error) error {
	columns := []string{"time", "value"}
	if strings.Contains(text, `"id", "unit"`) {
		columns = append(columns, "id", "unit")
	}
	for c := range s.chunks {
		rows := make([][]any, s.rows)
		for i := range rows {
			at := json.Number(fmt.Sprint((t0 + c*s.rows + i) * 1_000_000))
			rows[i] = []any{at, json.Number("1.25"), "sp_f2.w.r1.c1", "W"}[:len(columns)]
		}
		s.handed++
		if err := each("power", nil, columns, rows); err != nil {
			return err
		}
	}
	return nil
}

// meter is an asker that looks at the memory at each part and keeps none.
type meter struct {
	t             *testing.T
	parts, points int
	first, most   uint64
}

func (m *meter) Part(_ context.Context, data json.RawMessage) error {
	if len(data) > 1<<20 {
		m.t.Errorf("a part of %d bytes", len(data))
	}
	m.parts++
	m.points += strings.Count(string(data), `"t":`)
	if m.parts%4 == 1 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		if m.most = max(m.most, stats.HeapAlloc); m.first == 0 {
			m.first = stats.HeapAlloc
		}
	}
	return nil
}

func TestLongAnswersTakeBoundedMemory(t *testing.T) {
	for _, format := range []string{"senml", "series"} {
		t.Run(format, func(t *testing.T) {
			const chunks, rows = 200, 10_000
			m := &meter{t: t}
			r := hook.Request{Subpath: "sp/power", Data: parameters("format=" + format)}
			if err := newComponent(&endless{chunks: chunks, rows: rows}, 1).Handle(t.Context(), r, m); err != nil {
				t.Fatal(err)
			}
			if m.points != chunks*rows {
				t.Errorf("%d points, want %d", m.points, chunks*rows)
			}
			if grown := int64(m.most) - int64(m.first); grown > 8<<20 {
				t.Errorf("memory grew by %d bytes over %d parts", grown, m.parts)
			}
			t.Logf("%d points in %d parts, heap %d to %d kB", m.points, m.parts, m.first>>10, m.most>>10)
		})
	}
}

func TestAHundredThousandPointsOfARealStore(t *testing.T) {
	s := newStand(t)
	const points = 100_000
	var lines []string
	for i := range points {
		lines = append(lines, point("power", "id=sp_f2.w.r1.c1,floor=2,type=w,unit=W", float64(t0+i), float64(i)))
	}
	s.write(lines...)
	for _, format := range []string{"senml", "series"} {
		m := &meter{t: t}
		r := hook.Request{Subpath: s.database + "/power", Data: parameters("format=" + format)}
		if err := s.component.Handle(t.Context(), r, m); err != nil {
			t.Fatal(err)
		}
		if grown := int64(m.most) - int64(m.first); m.points != points || m.parts < 3 || grown > 8<<20 {
			t.Errorf("%s: %d points in %d parts, memory grew by %d bytes", format, m.points, m.parts, grown)
		}
	}
	var g gathered
	r := hook.Request{Subpath: s.database + "/power", Data: parameters("format=series")}
	if err := s.component.Handle(t.Context(), r, &g); err != nil {
		t.Fatal(err)
	}
	next := 0.0
	for _, part := range g.parts {
		var series []contract.Series
		if err := json.Unmarshal(part, &series); err != nil || len(series) != 1 || series[0].Measurement != "power" || series[0].Unit != "W" {
			t.Fatalf("%v, %.200s", err, part)
		}
		for _, p := range series[0].Points {
			if *p.Value != next || p.ID != "sp_f2.w.r1.c1" {
				t.Fatalf("point %v of %s, want %v", *p.Value, p.ID, next)
			}
			next++
		}
	}
	if next != points {
		t.Errorf("%v points, want %d", next, points)
	}
}

// gone is an asker that stops asking after a part.
type gone struct{ parts int }

func (g *gone) Part(context.Context, json.RawMessage) error {
	if g.parts++; g.parts > 1 {
		return fmt.Errorf("the asker stopped asking")
	}
	return nil
}

func TestTheStoreIsReadNoFurtherThanIsAsked(t *testing.T) {
	store := &endless{chunks: 1000, rows: 10_000}
	err := newComponent(store, 1).Handle(t.Context(), hook.Request{Subpath: "sp/power"}, &gone{})
	if err == nil || err.Error() != "the asker stopped asking" {
		t.Errorf("got %v", err)
	}
	if store.handed > 5 { // 10,000 records are more than half a part
		t.Errorf("%d chunks were read for two parts", store.handed)
	}
}

func TestIntegralOfTooManyWindowsIsAMistake(t *testing.T) {
	s := newStand(t)
	for i := range 12 {
		s.write(point("power", fmt.Sprintf("id=sp_g%d", i), t0, 1), point("power", fmt.Sprintf("id=sp_g%d", i), t0+60, 1))
	}
	var g gathered
	r := hook.Request{Subpath: s.database + "/power", Data: parameters("operation=integral", "every=1s", "from=1705276800", "to=1705376799", "group_by=device")}
	err := s.component.Handle(t.Context(), r, &g)
	if err == nil || !strings.HasPrefix(err.Error(), "every: more than 1000000 windows") {
		t.Errorf("got %v", err)
	}
}
