package influxquery

import (
	"sort"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// weekOffset lets weeks start on Mondays; 1970 began on a Thursday. Of the two
// offsets that do, the negative one stays right in weeks in which clocks are
// changed on a Friday, Saturday or Sunday: InfluxDB 1.8.10 looks the zone up at
// the time minus the offset.
const weekOffset = -3 * 24 * time.Hour

func (w Window) offset() time.Duration {
	if w.Unit == 'w' {
		return weekOffset
	}
	return 0
}

// grid is how InfluxDB cuts time into windows: at whole multiples of the width
// in local time. Where clocks change inside of a window it is longer or
// shorter, unless it is no wider than the change.
type grid struct {
	width, offset int64 // microseconds
	zone          *time.Location
}

func (q Query) grid() grid {
	g := grid{width: q.Every.Duration().Microseconds(), offset: q.Every.offset().Microseconds(), zone: time.UTC}
	if zone, err := time.LoadLocation(q.Zone); err == nil { // Parse found it
		g.zone = zone
	}
	return g
}

// ahead is how far local time is ahead of UTC.
func (g grid) ahead(t int64) int64 {
	_, seconds := time.UnixMicro(t).In(g.zone).Zone()
	return int64(seconds) * 1e6
}

// start is the start of the window that t lies in.
func (g grid) start(t int64) int64 {
	t -= g.offset
	ahead := g.ahead(t)
	into := (t + ahead) % g.width
	if into < 0 {
		into += g.width
	}
	start := t - into + g.offset
	if change := ahead - g.ahead(start); max(change, -change) < g.width {
		start += change
	}
	return start
}

// starts are the windows that from and to span, in order.
func (g grid) starts(from, to device.Micros) []device.Micros {
	const least = int64(15 * 60 * 1e6) // no clock is changed by less
	var starts []device.Micros
	for at := g.start(int64(from)); at <= int64(to); {
		starts = append(starts, device.Micros(at))
		next := at + g.width
		for g.start(next) <= at { // a longer window
			next += min(g.width, least)
		}
		at = g.start(next)
	}
	return starts
}

// indexOf is the window that the time lies in; the first for earlier ones.
func indexOf(starts []device.Micros, at device.Micros) int {
	return max(0, sort.Search(len(starts), func(i int) bool { return starts[i] > at })-1)
}
