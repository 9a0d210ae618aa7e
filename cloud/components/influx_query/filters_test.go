package influxquery_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// One point each; the value tells which points an answer has.
var places = map[float64]string{
	1:  "id=sp_w.r0.c0,type=w,row=0,column=0", // the default floor, as IoToad wrote it
	2:  "id=sp_f1.w.r0.c0,floor=1,type=w,row=0,column=0",
	4:  "id=sp_f1.w.r0.c1,floor=1,type=w,row=0,column=1",
	8:  "id=sp_f2.w.r0.c1,floor=2,type=w,row=0,column=1",
	16: "id=sp_f2.w.r1.c0,floor=2,type=w,row=1,column=0",
	32: "id=sp_f-1.g3,floor=-1,type=g",
	64: "id=sp_p0,type=p",
}

func (s *stand) writePlaces() {
	s.t.Helper()
	for value, tags := range places {
		s.write(point("power", tags+",unit=W", t0, value))
	}
}

// Sums of powers of two name the points they are of.
func TestFilters(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	for name, test := range map[string]struct {
		pairs []string
		floor int
		want  string
	}{
		"none":                                 {nil, 1, "127"},
		"an id":                                {[]string{"id=sp_f2.w.r1.c0"}, 1, "16"},
		"an id without floor":                  {[]string{"id=sp_w.r0.c0"}, 1, "3"},
		"an id on the default floor":           {[]string{"id=sp_f1.w.r0.c0"}, 1, "3"},
		"an id without kind":                   {[]string{"id=w.r0.c0"}, 1, "3"},
		"an id without kind, with floor":       {[]string{"id=f2.w.r0.c1"}, 1, "8"},
		"both spellings":                       {[]string{"id=sp_w.r0.c0,sp_f1.w.r0.c0"}, 1, "3"},
		"ids":                                  {[]string{"id=sp_f2.w.r1.c0, sp_p0"}, 1, "80"},
		"an id elsewhere":                      {[]string{"id=sp_w.r0.c1"}, 1, "4"},
		"an id, other default floor":           {[]string{"id=sp_w.r0.c1"}, 2, "8"},
		"an id, default floor unknown":         {[]string{"id=sp_w.r0.c0"}, unknownFloor, "1"},
		"an id nobody has":                     {[]string{"id=sp_g77"}, 1, ""},
		"a type":                               {[]string{"type=g"}, 1, "32"},
		"types":                                {[]string{"type=g,p"}, 1, "96"},
		"a floor":                              {[]string{"floor=2"}, 1, "24"},
		"the default floor":                    {[]string{"floor=1"}, 1, "71"},
		"a floor below":                        {[]string{"floor=-1"}, 1, "32"},
		"floors":                               {[]string{"floor=-1,1"}, 1, "103"},
		"the default floor, unknown":           {[]string{"floor=1"}, unknownFloor, "6"},
		"a row":                                {[]string{"row=0"}, 1, "15"},
		"rows":                                 {[]string{"row=0,1"}, 1, "31"},
		"a column":                             {[]string{"column=0"}, 1, "19"},
		"a row and a column":                   {[]string{"row=0", "column=1"}, 1, "12"},
		"a row of a floor":                     {[]string{"row=0", "floor=2"}, 1, "8"},
		"rows, columns, floors, types":         {[]string{"row=0,1", "column=0,1", "floor=1,2", "type=w,g"}, 1, "31"},
		"alternatives stay in their brackets":  {[]string{"type=p,w", "to=1"}, 1, ""},
		"an id on another floor":               {[]string{"id=sp_f2.w.r0.c1", "floor=1"}, 1, ""},
		"an id on its floor":                   {[]string{"id=sp_w.r0.c0", "floor=1"}, 1, "3"},
		"numbers instead of texts are allowed": {[]string{"row=1"}, 1, "16"},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t, s.component = t, newComponent(s.store, test.floor)
			series := s.series(t, append(test.pairs, "operation=sum")...)
			got := ""
			if len(series) > 0 {
				got = strings.TrimPrefix(series[0].labels(t, "UTC", ""), "=")
			}
			if got != test.want {
				t.Errorf("sum %s, want %s", got, test.want)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	for name, test := range map[string]struct {
		pairs []string
		floor int
		want  string
	}{
		"by device": {
			[]string{"group_by=device"},
			1,
			"id:sp_f-1.g3=32 id:sp_f1.w.r0.c0=2 id:sp_f1.w.r0.c1=4 id:sp_f2.w.r0.c1=8 id:sp_f2.w.r1.c0=16 id:sp_p0=64 id:sp_w.r0.c0=1",
		},
		"by type":                          {[]string{"group_by=type"}, 1, "type:g=32 type:p=64 type:w=31"},
		"by row":                           {[]string{"group_by=row"}, 1, "=96 row:0=15 row:1=16"},
		"by row and column":                {[]string{"group_by=row,column", "type=w"}, 1, "column:0 row:0=3 column:0 row:1=16 column:1 row:0=12"},
		"by floor":                         {[]string{"group_by=floor"}, 1, "floor:-1=32 floor:1=71 floor:2=24"},
		"by floor, one of them":            {[]string{"group_by=floor", "floor=1"}, 1, "floor:1=71"},
		"by floor, another":                {[]string{"group_by=floor", "floor=2"}, 1, "floor:2=24"},
		"by floor, two of them":            {[]string{"group_by=floor", "floor=1,-1"}, 1, "floor:-1=32 floor:1=71"},
		"by floor and type":                {[]string{"group_by=floor,type"}, 1, "floor:-1 type:g=32 floor:1 type:p=64 floor:1 type:w=7 floor:2 type:w=24"},
		"by floor, default unknown":        {[]string{"group_by=floor"}, unknownFloor, "=65 floor:-1=32 floor:1=6 floor:2=24"},
		"by floor where nothing is":        {[]string{"group_by=floor"}, 9, "floor:-1=32 floor:1=6 floor:2=24 floor:9=65"},
		"by floor, of windows":             {[]string{"group_by=floor", "every=1h", "from=1705276800", "to=1705280399"}, 1, "floor:-1=32 floor:1=71 floor:2=24"},
		"by floor, of integrals of points": {[]string{"group_by=floor", "operation=integral"}, 1, "floor:-1=0 floor:1=0 floor:2=0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t, s.component = t, newComponent(s.store, test.floor)
			pairs := test.pairs
			if !slices.Contains(pairs, "operation=integral") {
				pairs = append(pairs, "operation=sum")
			}
			var got []string
			for _, a := range s.series(t, pairs...) {
				var tags []string
				for _, key := range []string{"column", "floor", "id", "row", "type"} {
					if v, ok := a.Group[key]; ok {
						tags = append(tags, key+":"+v)
					}
				}
				got = append(got, strings.Join(tags, " ")+a.labels(t, "UTC", ""))
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNamesOfGroupsInSenML(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	for name, test := range map[string]struct {
		pairs []string
		want  string
	}{
		"by type": {
			[]string{"operation=sum", "group_by=type"},
			`[{"bn":"","bu":"W"},{"n":"type:g/power","t":0,"v":32},{"n":"type:p/power","t":0,"v":64},{"n":"type:w/power","t":0,"v":31}]`,
		},
		"by floor and row, workplaces of floor 1": {
			[]string{"operation=sum", "group_by=row,floor", "floor=1", "type=w"},
			`[{"bn":"","bu":"W"},{"n":"floor:1/row:0/power","t":0,"v":7}]`,
		},
		"by device": {
			[]string{"operation=mean", "group_by=device", "floor=2", "from=1705276800"},
			`[{"bn":"","bu":"W"},{"n":"sp_f2.w.r0.c1/power",+0,"v":8},{"n":"sp_f2.w.r1.c0/power",+0,"v":16}]`,
		},
		"by type, of points": {
			[]string{"operation=max", "group_by=type", "floor=2"},
			`[{"bn":"","bu":"W"},{"n":"sp_f2.w.r1.c0/power",+0,"v":16}]`,
		},
		"none of them": {[]string{"operation=max", "group_by=type", "floor=7"}, `[{"bn":"","bu":"W"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := form(s.ask("power", test.pairs...)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestManyIDs(t *testing.T) {
	s := newStand(t)
	s.writePlaces()
	// A dot is no other letter, and an end is an end.
	s.write(point("power", "id=sp_f2xw.r1.c0", t0, 1024), point("power", "id=sp_f2.w.r1.c00", t0, 1024))
	ids := []string{"sp_f2.w.r1.c0"}
	for n := range 999 {
		ids = append(ids, "sp_g"+strconv.Itoa(n))
	}
	if got := s.series(t, "operation=sum", "id="+strings.Join(ids, ",")); len(got) != 1 || *got[0].Points[0].V != 16 {
		t.Errorf("got %+v", got)
	}
}
