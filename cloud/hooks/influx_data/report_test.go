package influxdata_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
)

func TestSourcesAreEnteredUntilTheyAre(t *testing.T) {
	s := newStrict(t, func(l *influxdata.Limits) { l.Sources = 100_000 })
	away := true
	s.onWrite = func(database, lines string) error {
		if away && strings.HasPrefix(lines, "source,") {
			return errNotNow
		}
		if database == influxdata.SystemDatabase && !strings.HasPrefix(lines, "source,") {
			return errors.New("nothing else is written here")
		}
		return nil
	}
	s.handle(pack("1", reading("g1")))
	s.Report(t.Context(), time.Minute)
	away = false
	s.Report(t.Context(), time.Minute)
	got := s.lines[influxdata.SystemDatabase]
	if !strings.Contains(got, `source=g name="g",messages=1i,records=1i,quarantined=0i,limited=0i,malformed=0i,entered=1i,numbered=0i,series=1i,`) || strings.Count(got, "\n") != 1 {
		t.Errorf("entered %s", got)
	}
	if !strings.HasSuffix(got, fmt.Sprintf(" %d\n", int64(noon)-int64(12*time.Hour/time.Microsecond))) {
		t.Errorf("the point is not that of the day: %s", got)
	}
	s.handle(pack("2", reading("g1")))
	s.Report(t.Context(), time.Minute) // too early
	s.pass(time.Minute)
	s.Report(t.Context(), time.Minute)
	if got := s.lines[influxdata.SystemDatabase]; strings.Count(got, "\n") != 2 || !strings.Contains(got, "messages=2i,records=2i") {
		t.Errorf("entered %s", got)
	}
	for i := range 5000 {
		s.handle(packOf(fmt.Sprint("invented", i), "1", reading("g1")))
	}
	if n := influxdata.Told(s.Hook); n > 2001 {
		t.Errorf("%d sources are told apart", n)
	}
}

func TestLimitsNameEveryMistake(t *testing.T) {
	c := influxdata.DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Limits = influxdata.Limits{RecordsPerSecond: -1, Series: 1 << 30}
	err := c.Validate()
	for _, key := range []string{"records_per_second", "burst_records", "series", "databases", "sources", "quarantine_bytes_per_hour"} {
		if err == nil || !strings.Contains(err.Error(), "limits."+key+": ") {
			t.Errorf("%s is not named: %v", key, err)
		}
	}
}
