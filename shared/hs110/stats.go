package hs110

import (
	"fmt"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// DayEnergy is what a plug counted on one day, or in one month, of its own
// calendar.
type DayEnergy struct {
	Year   int
	Month  time.Month
	Day    int // 0 in an entry about a month
	Energy device.WattHours
}

// Stat is the plug's own statistics: only days or months that it has data for,
// in its order. An entry that cannot be true is in Suspects instead.
type Stat struct {
	Entries  []DayEnergy
	Suspects []device.Suspect
}

type wireStat struct {
	errCode
	Days   []wireEntry `json:"day_list"`
	Months []wireEntry `json:"month_list"`
}

type wireEntry struct {
	Year     number `json:"year"`
	Month    number `json:"month"`
	Day      number `json:"day"`
	Energy   number `json:"energy"`    // kWh, hardware version 1
	EnergyWH number `json:"energy_wh"` // Wh
}

func (w *wireStat) stat(list []wireEntry, l limits, daily bool) Stat {
	longest := 31 * 24 * time.Hour
	if daily {
		longest = 25 * time.Hour // a day on which the clock is set back
	}
	highest := l.power * longest.Hours()
	var s Stat
	var taken Realtime // for its suspects
	for i := range list {
		e := &list[i]
		x, ok := taken.take(device.Energy, e.EnergyWH, "energy_wh", e.Energy, "energy", 1, 1e3, 0, highest)
		if !ok {
			continue
		}
		d := DayEnergy{Energy: device.WattHours(x)}
		var okYear, okMonth bool
		d.Year, okYear = e.Year.integer()
		month, okMonth := e.Month.integer()
		d.Month = time.Month(month)
		okDay := true
		if daily {
			d.Day, okDay = e.Day.integer()
			okDay = okDay && d.Day >= 1 && d.Day <= 31
		}
		if !okYear || !okMonth || !okDay || month < 1 || month > 12 {
			continue // an entry without a date says nothing
		}
		s.Entries = append(s.Entries, d)
	}
	s.Suspects = taken.Suspects
	return s
}

type wireTime struct {
	errCode
	Year  number `json:"year"`
	Month number `json:"month"`
	Day   number `json:"mday"`
	Hour  number `json:"hour"`
	Min   number `json:"min"`
	Sec   number `json:"sec"`
}

// in reads the plug's clock, which tells no zone, as one in loc.
func (w *wireTime) in(loc *time.Location) (time.Time, error) {
	var v [6]int
	for i, f := range []struct {
		n               number
		name            string
		lowest, highest int
	}{
		{w.Year, "year", 1970, 9999},
		{w.Month, "month", 1, 12},
		{w.Day, "mday", 1, 31},
		{w.Hour, "hour", 0, 23},
		{w.Min, "min", 0, 59},
		{w.Sec, "sec", 0, 60},
	} {
		x, ok := f.n.integer()
		if !ok || x < f.lowest || x > f.highest {
			return time.Time{}, fmt.Errorf("time.get_time: %s is %q, want %d to %d", f.name, f.n.raw(), f.lowest, f.highest)
		}
		v[i] = x
	}
	return time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, loc), nil
}
