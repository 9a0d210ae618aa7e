package influxquery_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// answer is a series as an asker reads it.
type answer struct {
	Group  map[string]string
	Unit   string
	Points []struct {
		T float64
		V *float64
	}
}

// series asks for power as series.
func (s *stand) series(t *testing.T, pairs ...string) []answer {
	t.Helper()
	var answers []answer
	text := s.ask("power", append(pairs, "format=series")...)
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return answers
}

// labels writes the windows of a series as local times and values.
func (a answer) labels(t *testing.T, zone, layout string) string {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range a.Points {
		value := "-"
		if p.V != nil {
			value = fmt.Sprint(*p.V)
		}
		fmt.Fprintf(&b, "%s=%s ", time.Unix(int64(p.T), 0).In(location).Format(layout), value)
	}
	return strings.TrimSpace(b.String())
}

// In Berlin the clocks went forward on 2024-03-31 and back on 2024-10-27. With a
// point of 1 W every half hour, counts are twice the hours and the integral in
// hours is the hours, short of the half hour after the last point.
func TestWindowsFollowLocalTimeWhenClocksChange(t *testing.T) {
	s := newStand(t)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, day := range []time.Time{
		time.Date(2024, 3, 18, 0, 0, 0, 0, berlin), time.Date(2024, 10, 14, 0, 0, 0, 0, berlin),
	} {
		for at := day; at.Before(day.AddDate(0, 0, 28)); at = at.Add(30 * time.Minute) {
			lines = append(lines,
				point("power", "id=sp_g1,type=g", float64(at.Unix()), 1),
				point("power", "id=sp_g2,type=g", float64(at.Unix()+600), 1))
		}
	}
	s.write(lines...)
	for name, test := range map[string]struct {
		zone, every, from, to, layout, want string
	}{
		"days, forward": {
			"Europe/Berlin", "1d", "2024-03-30T00:00:00+01:00", "2024-04-01T23:59:59+02:00", "Mon15:04",
			"Sat00:00=48 Sun00:00=46 Mon00:00=48",
		},
		"days, back": {
			"Europe/Berlin", "1d", "2024-10-26T00:00:00+02:00", "2024-10-28T23:59:59+01:00", "Mon15:04",
			"Sat00:00=48 Sun00:00=50 Mon00:00=48",
		},
		"days in UTC": {
			"UTC", "1d", "2024-03-30T00:00:00Z", "2024-03-31T23:59:59Z", "Mon15:04", "Sat00:00=48 Sun00:00=48",
		},
		"weeks, forward": {
			"Europe/Berlin", "1w", "2024-03-18T00:00:00+01:00", "2024-04-14T23:59:59+02:00", "Mon 02 15:04",
			"Mon 18 00:00=336 Mon 25 00:00=334 Mon 01 00:00=336 Mon 08 00:00=336",
		},
		"weeks, back": {
			"Europe/Berlin", "1w", "2024-10-14T00:00:00+02:00", "2024-11-10T23:59:59+01:00", "Mon 02 15:04",
			"Mon 14 00:00=336 Mon 21 00:00=338 Mon 28 00:00=336 Mon 04 00:00=336",
		},
		"six hours, forward": {
			"Europe/Berlin", "6h", "2024-03-31T00:00:00+01:00", "2024-03-31T23:59:59+02:00", "15:04",
			"00:00=10 06:00=12 12:00=12 18:00=12",
		},
		"six hours, back": {
			"Europe/Berlin", "6h", "2024-10-27T00:00:00+02:00", "2024-10-27T23:59:59+01:00", "15:04",
			"00:00=14 06:00=12 12:00=12 18:00=12",
		},
		"hours, back: one o'clock, two, two again, three": {
			"Europe/Berlin", "1h", "2024-10-27T01:00:00+02:00", "2024-10-27T03:59:59+01:00", "15:04MST",
			"01:00CEST=2 02:00CEST=2 02:00CET=2 03:00CET=2",
		},
		"a window that begins before from": {
			"Europe/Berlin", "1d", "2024-03-30T12:00:00+01:00", "2024-03-31T11:59:59+02:00", "Mon15:04", "Sat00:00=24 Sun00:00=22",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := []string{"id=sp_g1", "every=" + test.every, "from=" + test.from, "to=" + test.to, "tz=" + test.zone}
			counted := s.series(t, append(pairs, "operation=count")...)
			if len(counted) != 1 {
				t.Fatalf("%d series, want 1", len(counted))
			}
			if got := counted[0].labels(t, test.zone, test.layout); got != test.want {
				t.Errorf("count\n got %s\nwant %s", got, test.want)
			}
			// Two devices, ten minutes apart: 1 W each, all the time.
			pairs[0] = "type=g"
			summed := s.series(t, append(pairs, "operation=integral", "unit=1h")...)
			if len(summed) != 1 || len(summed[0].Points) != len(counted[0].Points) {
				t.Fatalf("integral has other windows: %+v", summed)
			}
			for i, p := range counted[0].Points {
				got, want := summed[0].Points[i], *p.V // half hours, of two devices
				// The first and last windows lack what lies before and after.
				if edge := i == 0 || i == len(counted[0].Points)-1; got.T != p.T || math.Abs(*got.V-want) > 1e-6 && !edge {
					t.Errorf("integral of window %d: %v at %v, want %v at %v", i, *got.V, got.T, want, p.T)
				}
			}
		})
	}
}

func TestFillOfEmptyWindows(t *testing.T) {
	s := newStand(t)
	for i, v := range map[int]float64{2: 10, 3: 20, 6: 50} { // minutes
		s.write(point("power", "id=sp_g1,type=g", t0+float64(60*i), v), point("power", "id=sp_g1,type=g", t0+float64(60*i+30), v))
	}
	bounds := []string{"every=1m", "from=1705276800", "to=1705277279"} // 8 minutes
	for name, test := range map[string]struct{ operation, fill, want string }{
		"mean by default":     {"mean", "", "00=- 01=- 02=10 03=20 04=- 05=- 06=50 07=-"},
		"mean null":           {"mean", "null", "00=- 01=- 02=10 03=20 04=- 05=- 06=50 07=-"},
		"mean none":           {"mean", "none", "02=10 03=20 06=50"},
		"mean previous":       {"mean", "previous", "00=- 01=- 02=10 03=20 04=20 05=20 06=50 07=50"},
		"mean linear":         {"mean", "linear", "00=- 01=- 02=10 03=20 04=30 05=40 06=50 07=-"},
		"mean zero":           {"mean", "0", "00=0 01=0 02=10 03=20 04=0 05=0 06=50 07=0"},
		"mean number":         {"mean", "-1.5", "00=-1.5 01=-1.5 02=10 03=20 04=-1.5 05=-1.5 06=50 07=-1.5"},
		"count by default":    {"count", "", "00=0 01=0 02=2 03=2 04=0 05=0 06=2 07=0"},
		"count none":          {"count", "none", "02=2 03=2 06=2"},
		"max number":          {"max", "-1", "00=-1 01=-1 02=10 03=20 04=-1 05=-1 06=50 07=-1"},
		"integral by default": {"integral", "", "00=- 01=- 02=750 03=1290 04=- 05=- 06=6060 07=-"},
		"integral null":       {"integral", "null", "00=- 01=- 02=750 03=1290 04=- 05=- 06=6060 07=-"},
		"integral none":       {"integral", "none", "02=750 03=1290 06=6060"},
		"integral previous":   {"integral", "previous", "00=- 01=- 02=750 03=1290 04=1290 05=1290 06=6060 07=6060"},
		"integral linear":     {"integral", "linear", "00=- 01=- 02=750 03=1290 04=2880 05=4470 06=6060 07=-"},
		"integral number":     {"integral", "-1.5", "00=-1.5 01=-1.5 02=750 03=1290 04=-1.5 05=-1.5 06=6060 07=-1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := append([]string{"operation=" + test.operation}, bounds...)
			if test.fill != "" {
				pairs = append(pairs, "fill="+test.fill)
			}
			got := s.series(t, pairs...)
			if len(got) != 1 {
				t.Fatalf("%d series, want 1", len(got))
			}
			if got := got[0].labels(t, "UTC", "04"); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestOrderAndLimit(t *testing.T) {
	s := newStand(t)
	s.writeOffice()
	bounds := []string{"from=1705276800", "to=1705277159", "every=2m"}
	for name, test := range map[string]struct {
		pairs []string
		want  string
	}{
		"mean, newest first":        {[]string{"operation=mean", "order=desc"}, "04=33 02=19 00=11.666666666666666"},
		"mean, the newest":          {[]string{"operation=mean", "order=desc", "limit=1"}, "04=33"},
		"integral, newest first":    {[]string{"operation=integral", "order=desc"}, "04=2962.5 02=4500 00=2617.5"},
		"integral, the newest":      {[]string{"operation=integral", "order=desc", "limit=1"}, "04=2962.5"},
		"integral, the oldest two":  {[]string{"operation=integral", "limit=2"}, "00=2617.5 02=4500"},
		"top, newest first, at own": {[]string{"operation=top", "n=1", "order=desc"}, "05=50 03=30 01=20"},
		"last, newest first":        {[]string{"operation=last", "order=desc", "limit=2"}, "04=50 02=30"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.series(t, append(test.pairs, bounds...)...)
			if len(got) != 1 {
				t.Fatalf("%d series, want 1", len(got))
			}
			if got := got[0].labels(t, "UTC", "04"); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// Sparse windows of many devices are where InfluxDB's own sum of integrals has
// windows twice.
func TestIntegralOfManyDevicesWithSparseWindows(t *testing.T) {
	s := newStand(t)
	var lines []string
	for d := range 7 {
		for i := range 20 {
			// Every 2.5 minutes, each device a little later, d+1 W.
			lines = append(lines, point("power", fmt.Sprintf("id=sp_f%d.g%d,type=g,floor=%d", d%2, d, d%2), float64(t0+150*i+d*20), float64(d+1)))
		}
	}
	s.write(lines...)
	bounds := []string{"operation=integral", "from=1705276800", "to=1705279800"}
	whole := s.series(t, bounds...)
	const want = (1 + 2 + 3 + 4 + 5 + 6 + 7) * 19 * 150
	if len(whole) != 1 || *whole[0].Points[0].V != want {
		t.Errorf("integral of all: %+v, want %d", whole, want)
	}
	for _, by := range []string{"", "floor", "device", "type"} {
		pairs := append([]string{"every=1m"}, bounds...)
		if by != "" {
			pairs = append(pairs, "group_by="+by)
		}
		var sum float64
		series := s.series(t, pairs...)
		for _, a := range series {
			last := 0.0
			for _, p := range a.Points {
				if p.T <= last {
					t.Errorf("by %q: window %v after %v", by, p.T, last)
				}
				if last = p.T; p.V != nil {
					sum += *p.V
				}
			}
		}
		if groups := map[string]int{"": 1, "floor": 2, "device": 7, "type": 1}[by]; len(series) != groups || math.Abs(sum-want) > 1e-6 {
			t.Errorf("by %q: %d series, want %d; windows add up to %v, want %v", by, len(series), groups, sum, float64(want))
		}
	}
}
