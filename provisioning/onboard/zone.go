package onboard

import (
	"fmt"
	"time"
)

// zones are those of the plug's numbered zones whose rules still are what the
// firmware takes them for, by a place of each. The numbers are those that
// python-kasa names (kasa/iot/iottimezone.py); zones that have changed their rules
// since the firmware was written are left out.
var zones = []struct {
	name  string
	index int
}{
	{"UTC", 38},
	{"Europe/London", 39},
	{"Atlantic/Reykjavik", 40},
	{"Europe/Berlin", 41},
	{"Europe/Prague", 42},
	{"Europe/Paris", 43},
	{"Europe/Warsaw", 44},
	{"Africa/Lagos", 45},
	{"Europe/Athens", 48},
	{"Africa/Johannesburg", 53},
	{"Europe/Helsinki", 54},
	{"Asia/Jerusalem", 56},
	{"Europe/Kaliningrad", 57},
	{"Asia/Baghdad", 59},
	{"Asia/Riyadh", 60},
	{"Europe/Moscow", 62},
	{"Africa/Nairobi", 63},
	{"Asia/Dubai", 65},
	{"Asia/Kabul", 71},
	{"Asia/Karachi", 74},
	{"Asia/Kolkata", 75},
	{"Asia/Kathmandu", 77},
	{"Asia/Dhaka", 79},
	{"Asia/Yangon", 81},
	{"Asia/Bangkok", 82},
	{"Asia/Shanghai", 84},
	{"Asia/Singapore", 86},
	{"Australia/Perth", 87},
	{"Asia/Tokyo", 90},
	{"Asia/Seoul", 91},
	{"Australia/Adelaide", 93},
	{"Australia/Darwin", 94},
	{"Australia/Brisbane", 95},
	{"Australia/Sydney", 96},
	{"Pacific/Guam", 97},
	{"Pacific/Guadalcanal", 102},
	{"Pacific/Auckland", 104},
	{"Pacific/Honolulu", 2},
	{"America/Anchorage", 3},
	{"America/Los_Angeles", 6},
	{"America/Phoenix", 7},
	{"America/Denver", 10},
	{"America/Guatemala", 11},
	{"America/Chicago", 13},
	{"America/Regina", 15},
	{"America/Bogota", 16},
	{"America/New_York", 18},
	{"America/Halifax", 23},
	{"America/La_Paz", 25},
	{"America/St_Johns", 27},
	{"America/Argentina/Buenos_Aires", 29},
	{"Atlantic/Azores", 35},
	{"Atlantic/Cape_Verde", 36},
}

// zoneIndex is the number of the plug's zone in which clocks show what they show
// in the IANA zone, throughout the year of now.
func zoneIndex(name string, now time.Time) (int, *time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return 0, nil, fmt.Errorf("time zone %q: not a name such as Europe/Prague", name)
	}
	for _, z := range zones {
		if z.name == name {
			return z.index, loc, nil
		}
	}
	for _, z := range zones {
		if other, err := time.LoadLocation(z.name); err == nil && same(loc, other, now) {
			return z.index, loc, nil
		}
	}
	return 0, nil, fmt.Errorf("time zone %s: plugs have none with these rules; readings do not need it, so leave it out or choose one that comes near", name)
}

// same compares the clocks of two zones on each day of a year, at noon.
func same(a, b *time.Location, now time.Time) bool {
	for day := range 366 {
		t := time.Date(now.Year(), time.January, 1+day, 12, 0, 0, 0, time.UTC)
		_, x := t.In(a).Zone()
		_, y := t.In(b).Zone()
		if x != y {
			return false
		}
	}
	return true
}
