package influxquery_test

import (
	"fmt"
	"strings"
	"testing"
)

// Two workplaces of one row, one on the default floor in the spelling without
// it, and a meeting room. 1705276800 is 2024-01-15T00:00:00Z.
const t0 = 1705276800

func (s *stand) writeOffice() {
	s.t.Helper()
	for i, v := range []float64{10, 20, 20, 30, 40, 50} {
		s.write(point("power", "id=sp_w.r0.c0,type=w,row=0,column=0,unit=W", t0+float64(60*i), v))
	}
	for i, v := range []float64{5, 7, 9} {
		s.write(point("power", "id=sp_f2.w.r0.c1,floor=2,type=w,row=0,column=1,unit=W", t0+30+float64(120*i), v))
	}
}

// form shortens answers for comparison: t0 becomes T, and t0+n T+n.
func form(answer string) string {
	for n := 3600; n >= 0; n -= 10 {
		long := fmt.Sprintf(`"t":%d`, t0+n)
		if strings.Contains(answer, long) {
			answer = strings.ReplaceAll(answer, long, fmt.Sprintf("+%d", n))
		}
	}
	return answer
}

// The expected values are calculated by hand from the points of writeOffice.
func TestEveryOperation(t *testing.T) {
	s := newStand(t)
	s.writeOffice()
	const a, b = "sp_w.r0.c0/power", "sp_f2.w.r0.c1/power"
	for _, test := range []struct{ operation, all, one, windows string }{
		{
			"count", `[{"bn":"power"},{+0,"v":9}]`, `[{"bn":"sp_f2.w.r0.c1/power"},{+0,"v":3}]`,
			`[{"bn":"power"},{+0,"v":3},{+120,"v":3},{+240,"v":3}]`,
		}, {
			"sum", `[{"bn":"power","bu":"W"},{+0,"v":191}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":21}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":35},{+120,"v":57},{+240,"v":99}]`,
		}, {
			"mean", `[{"bn":"power","bu":"W"},{+0,"v":21.22222222222222}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":7}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":11.666666666666666},{+120,"v":19},{+240,"v":33}]`,
		}, {
			"median", `[{"bn":"power","bu":"W"},{+0,"v":20}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":7}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":10},{+120,"v":20},{+240,"v":40}]`,
		}, {
			"mode", `[{"bn":"power","bu":"W"},{+0,"v":20}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":5}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":5},{+120,"v":7},{+240,"v":9}]`,
		}, {
			"spread", `[{"bn":"power","bu":"W"},{+0,"v":45}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":4}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":15},{+120,"v":23},{+240,"v":41}]`,
		}, {
			"stddev", `[{"bn":"power","bu":"W"},{+0,"v":15.817535978920498}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":2}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":7.637626158259733},{+120,"v":11.532562594670797},{+240,"v":21.37755832643195}]`,
		}, {
			// By trapezoids: 60*(15+20+25+35+45) and 120*(6+8), in Ws.
			"integral", `[{"bn":"power","bu":"J"},{+0,"v":10080}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"J"},{+0,"v":1680}]`,
			`[{"bn":"power","bu":"J"},{+0,"v":2617.5},{+120,"v":4500},{+240,"v":2962.5}]`,
		}, {
			"distinct", `[{"bn":"power","bu":"W"},{+0,"v":10},{+0,"v":5},{+0,"v":20},{+0,"v":7},{+0,"v":30},{+0,"v":40},{+0,"v":9},{+0,"v":50}]`,
			`[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+0,"v":5},{+0,"v":7},{+0,"v":9}]`,
			`[{"bn":"power","bu":"W"},{+0,"v":10},{+0,"v":5},{+0,"v":20},{+120,"v":20},{+120,"v":7},{+120,"v":30},{+240,"v":40},{+240,"v":9},{+240,"v":50}]`,
		}, {
			"first", `[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":10}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+30,"v":5}]`,
			`[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":10},{"n":"` + a + `",+120,"v":20},{"n":"` + a + `",+240,"v":40}]`,
		}, {
			"last", `[{"bn":"","bu":"W"},{"n":"` + a + `",+300,"v":50}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+270,"v":9}]`,
			`[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":20},{"n":"` + a + `",+120,"v":30},{"n":"` + a + `",+240,"v":50}]`,
		}, {
			"max", `[{"bn":"","bu":"W"},{"n":"` + a + `",+300,"v":50}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+270,"v":9}]`,
			`[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":20},{"n":"` + a + `",+120,"v":30},{"n":"` + a + `",+240,"v":50}]`,
		}, {
			"min", `[{"bn":"","bu":"W"},{"n":"` + b + `",+30,"v":5}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+30,"v":5}]`,
			`[{"bn":"","bu":"W"},{"n":"` + b + `",+0,"v":5},{"n":"` + b + `",+120,"v":7},{"n":"` + b + `",+240,"v":9}]`,
		}, {
			"percentile 75", `[{"bn":"","bu":"W"},{"n":"` + a + `",+180,"v":30}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+150,"v":7}]`,
			`[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":10},{"n":"` + a + `",+120,"v":20},{"n":"` + a + `",+240,"v":40}]`,
		}, {
			"top 2", `[{"bn":"","bu":"W"},{"n":"` + a + `",+240,"v":40},{"n":"` + a + `",+300,"v":50}]`,
			`[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+150,"v":7},{+270,"v":9}]`,
			`[{"bn":"","bu":"W"},{"n":"` + a + `",+0,"v":10},{"n":"` + a + `",+60,"v":20},{"n":"` + a + `",+120,"v":20},{"n":"` + a + `",+180,"v":30},{"n":"` + a + `",+240,"v":40},{"n":"` + a + `",+300,"v":50}]`,
		}, {
			"bottom 1", `[{"bn":"","bu":"W"},{"n":"` + b + `",+30,"v":5}]`, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+30,"v":5}]`,
			`[{"bn":"","bu":"W"},{"n":"` + b + `",+30,"v":5},{"n":"` + b + `",+150,"v":7},{"n":"` + b + `",+270,"v":9}]`,
		}, {
			// All points of a device are as many as asked for, so chance has no choice.
			"sample 3", "", `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{+30,"v":5},{+150,"v":7},{+270,"v":9}]`, "",
		},
	} {
		t.Run(test.operation, func(t *testing.T) {
			name, n, takes := strings.Cut(test.operation, " ")
			pairs := []string{"operation=" + name, "from=1705276800", "to=1705277159"}
			if takes {
				pairs = append(pairs, "n="+n)
			}
			for _, ask := range []struct {
				want  string
				extra []string
			}{
				{test.all, nil},
				{test.one, []string{"id=sp_f2.w.r0.c1"}},
				{test.windows, []string{"every=2m"}},
			} {
				if ask.want == "" {
					continue
				}
				if got := form(s.ask("power", append(ask.extra, pairs...)...)); got != ask.want {
					t.Errorf("%v\n got %s\nwant %s", ask.extra, got, ask.want)
				}
			}
		})
	}
	t.Run("sample of many", func(t *testing.T) {
		s := &stand{t: t, store: s.store, database: s.database, component: s.component}
		got := s.ask("power", "operation=sample", "n=4", "format=series")
		if n := strings.Count(got, `"t":`); n != 4 {
			t.Errorf("%d points, want 4: %s", n, got)
		}
		if got := s.ask("power", "operation=sample", "n=1", "every=2m", "from=1705276800", "to=1705277159"); strings.Count(got, `"t":`) != 3 {
			t.Errorf("want one point of each window: %s", got)
		}
	})
}

func TestThePointsThemselves(t *testing.T) {
	s := newStand(t)
	s.writeOffice()
	s.write(
		point("power", "id=sp_w.r0.c0,type=w,row=0,column=0,unit=kW", t0+400.123456, 60),
		point("status", "id=sp_g1,type=g,unit=S", t0, 1),
		point("level", "id=sp_g1,type=g,unit=lx", t0, 3),
		point("level", "id=sp_g2,type=g,unit=lx", t0, 6),
		`note,id=sp_g1,type=g text="say \"hi\"" 1705276800000000`,
		`flag,id=sp_g1,type=g value=true 1705276800000000`,
		`odd,id=a"b\x\ <ü value=1 1705276800000000`,
		`odd,type=g value=2 1705276801000000`,
	)
	for name, test := range map[string]struct {
		measurement string
		pairs       []string
		want        string
	}{
		"of several devices": {
			"power",
			[]string{"to=1705276830"},
			`[{"bn":"","bu":"W"},{"n":"sp_w.r0.c0/power","u":"W",+0,"v":10},{"n":"sp_f2.w.r0.c1/power","u":"W",+30,"v":5}]`,
		},
		"of one device, its unit never splits it": {
			"power",
			[]string{"id=w.r0.c0", "from=1705277100"},
			`[{"bn":"sp_w.r0.c0/power","bu":"W"},{"u":"W",+300,"v":50},{"u":"kW",+400.123456,"v":60}]`,
		},
		"of one device asked for in the other spelling": {
			"power",
			[]string{"id=sp_f1.w.r0.c0", "to=1705276800"},
			`[{"bn":"sp_f1.w.r0.c0/power","bu":"W"},{"u":"W",+0,"v":10}]`,
		},
		"newest first":       {"power", []string{"order=desc", "limit=1", "id=sp_f2.w.r0.c1"}, `[{"bn":"sp_f2.w.r0.c1/power","bu":"W"},{"u":"W",+270,"v":9}]`},
		"both bounds belong": {"power", []string{"from=1705276950", "to=2024-01-15T00:03:00Z", "row=0"}, `[{"bn":"","bu":"W"},{"n":"sp_f2.w.r0.c1/power","u":"W",+150,"v":7},{"n":"sp_w.r0.c0/power","u":"W",+180,"v":30}]`},
		"a bound finer than storage": {
			"power",
			[]string{"from=1705277200.1234564", "to=1705277200.1234564"},
			`[{"bn":"","bu":"W"},{"n":"sp_w.r0.c0/power","u":"kW",+400.123456,"v":60}]`,
		},
		"the unit as it was stored": {"status", nil, `[{"bn":"","bu":"/"},{"n":"sp_g1/status","u":"S",+0,"v":1}]`},
		"a measurement not ours":    {"level", []string{"id=sp_g2"}, `[{"bn":"sp_g2/level"},{"u":"lx",+0,"v":6}]`},
		"its unit of an aggregate":  {"level", []string{"operation=mean"}, `[{"bn":"level","bu":"lx"},{"t":0,"v":4.5}]`},
		"a text":                    {"note", nil, `[{"bn":""},{"n":"sp_g1/note",+0,"vs":"say \"hi\""}]`},
		"a text is no point":        {"note", []string{"format=series"}, `[]`},
		"a boolean":                 {"flag", nil, `[{"bn":""},{"n":"sp_g1/flag",+0,"vb":true}]`},
		"ids that are none": {
			"odd", nil, `[{"bn":""},{"n":"a\"b\\x \u003cü/odd",+0,"v":1},{"n":"odd","t":1705276801,"v":2}]`,
		},
		"no match":                     {"power", []string{"id=sp_g9"}, `[{"bn":"sp_g9/power","bu":"W"}]`},
		"distinct without bounds":      {"level", []string{"operation=distinct"}, `[{"bn":"level","bu":"lx"},{"t":0,"v":3},{"t":0,"v":6}]`},
		"mean without lower bound":     {"level", []string{"operation=mean", "to=1705276800"}, `[{"bn":"level","bu":"lx"},{"t":0,"v":4.5}]`},
		"spread without bounds":        {"level", []string{"operation=spread", "group_by=type"}, `[{"bn":"","bu":"lx"},{"n":"type:g/level","t":0,"v":3}]`},
		"integral without bounds":      {"level", []string{"operation=integral"}, `[{"bn":"level"},{"t":0,"v":0}]`},
		"no match of an aggregate":     {"power", []string{"operation=sum", "type=p"}, `[{"bn":"power","bu":"W"}]`},
		"no such measurement":          {"nothing", nil, `[{"bn":""}]`},
		"no such measurement's series": {"nothing", []string{"format=series", "operation=mean"}, `[]`},
		"a series": {
			"power",
			[]string{"format=series", "to=1705276830"},
			`[{"measurement":"power","unit":"W","points":[{+0,"v":10,"id":"sp_w.r0.c0"},{+30,"v":5,"id":"sp_f2.w.r0.c1"}]}]`,
		},
		"a series of one device":                {"power", []string{"format=series", "to=1705276830", "id=sp_w.r0.c0"}, `[{"measurement":"power","unit":"W","points":[{+0,"v":10}]}]`},
		"a series takes its unit of its points": {"level", []string{"format=series", "id=sp_g2"}, `[{"measurement":"level","unit":"lx","points":[{+0,"v":6}]}]`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := form(s.ask(test.measurement, test.pairs...)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
