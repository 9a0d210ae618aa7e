package export_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
)

func connect(t *testing.T, s *influxtest.Server) *influx.Client {
	t.Helper()
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = s.URL, config.Secret(s.Token), s.Org
	c, err := influx.New(cfg, influx.InNanoseconds())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// hostile are points as nobody should write them.
const hostile = `a,id=x value=1 1700000000000000001
a,id=x value=1.5e+21 1700000000000000002
a,id=x,floor=-1 value=0.1,text="say \"x\" \\ y,
z =" 1700000000000000001
a\,b\ c,t\=k=v\,1\ 2 f\ k=-0.000001 1700000000000000003
b whole=9007199254740993i,yes=true,no=false,value=3 1700000000123456789
b,value=tag whole=-1i 1700000000123456789
"q",t="x" f="" 1700000000000000005
grün,ort=Küche wert=2 1700000000000000006
`

func TestADayGoesOutAndComesBackAsTheSameBytes(t *testing.T) {
	s := influxtest.Start(t)
	c := connect(t, s)
	first, second := influxtest.Database(t), influxtest.Database(t)
	if err := c.Write(t.Context(), first, []byte(hostile)); err != nil {
		t.Fatal(err)
	}
	from, to, err := form.DateOf(time.Unix(1700000000, 0)).Bounds()
	if err != nil {
		t.Fatal(err)
	}
	read := func(database string) (string, []form.Part) {
		measurements, err := export.Schema(t.Context(), c, database)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		parts, err := export.Day(t.Context(), c, database, measurements, from, to, &out, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), parts
	}
	once, parts := read(first)
	if err := c.Write(t.Context(), second, []byte(once)); err != nil {
		t.Fatalf("%v, for\n%s", err, once)
	}
	again, partsAgain := read(second)
	if diff := cmp.Diff(once, again); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(parts, partsAgain); diff != "" {
		t.Error(diff)
	}
	points := int64(0)
	for _, p := range parts {
		points += p.Points
	}
	if points != 8 {
		t.Errorf("%d points, want 8: %+v", points, parts)
	}
	for _, want := range []string{"whole=9007199254740993i", "value=1.5e+21 ", `text="say \"x\" \\ y,` + "\nz =\"", "b,value=tag whole=-1i", "no=false,value=3,whole=9"} {
		if !strings.Contains(once, want) {
			t.Errorf("%q is missing in\n%s", want, once)
		}
	}
}

func TestADayEndsBeforeTheNext(t *testing.T) {
	s := influxtest.Start(t)
	c := connect(t, s)
	name := influxtest.Database(t)
	from, to, err := form.Date("2026-11-24").Bounds()
	if err != nil {
		t.Fatal(err)
	}
	var lines []byte
	for _, at := range []time.Time{from.Add(-1), from, to.Add(-1), to} {
		lines = append(lines, "m value=1 "...)
		lines = append(append(lines, strconv.FormatInt(at.UnixNano(), 10)...), '\n')
	}
	if err := c.Write(t.Context(), name, lines); err != nil {
		t.Fatal(err)
	}
	m, err := export.Schema(t.Context(), c, name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	parts, err := export.Day(t.Context(), c, name, m, from, to, &out, nil)
	if err != nil || len(parts) != 1 || parts[0].Points != 2 || parts[0].From != from.UnixNano() || parts[0].To != to.UnixNano()-1 {
		t.Errorf("%v, %+v", err, parts)
	}
	days, err := export.Survey(t.Context(), c, name, m[0].Name, from.AddDate(0, 0, -30), to.AddDate(0, 0, 5))
	want := map[form.Date]int64{"2026-11-23": 1, "2026-11-24": 2, "2026-11-25": 1}
	if diff := cmp.Diff(want, days); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if first, ok, err := export.First(t.Context(), c, name, m[0]); err != nil || !ok || !first.Equal(from.Add(-1)) {
		t.Errorf("the first is %v, %t, %v", first, ok, err)
	}
}

// A field may have another type in another week, and then what it was before is
// still there.
func TestAFieldOfSeveralTypesComesWhole(t *testing.T) {
	c := connect(t, influxtest.StartEmbedded(t, nil))
	name := influxtest.Database(t)
	if err := c.Write(t.Context(), name, []byte("m value=1.5 1700000000000000000\nm value=2i 1600000000000000000\nm value=\"x\" 1500000000000000000\nm value=true 1400000000000000000\n")); err != nil {
		t.Fatal(err)
	}
	m, err := export.Schema(t.Context(), c, name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := export.Day(t.Context(), c, name, m, time.Unix(0, 0), time.Unix(1800000000, 0), &out, nil); err != nil {
		t.Fatal(err)
	}
	want := "m value=true 1400000000000000000\nm value=\"x\" 1500000000000000000\nm value=2 1600000000000000000\nm value=1.5 1700000000000000000\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
