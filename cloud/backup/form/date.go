package form

import (
	"fmt"
	"time"
)

// Date is a day of UTC, such as 2026-11-24.
type Date string

// DateOf gives the day of a time.
func DateOf(t time.Time) Date { return Date(t.UTC().Format(time.DateOnly)) }

// Bounds gives the first moment of the day, and that of the next.
func (d Date) Bounds() (from, to time.Time, err error) {
	from, err = time.Parse(time.DateOnly, string(d))
	if err != nil {
		return from, to, fmt.Errorf("%.40q is no date: want one such as 2026-11-24", string(d))
	}
	return from, from.AddDate(0, 0, 1), nil
}

// Dates lists the days from that of one time to that of another, both included,
// and none where the order is wrong.
func Dates(from, to time.Time) (days []Date) {
	last := DateOf(to)
	for at := from.UTC().Truncate(24 * time.Hour); DateOf(at) <= last; at = at.AddDate(0, 0, 1) {
		days = append(days, DateOf(at))
	}
	return days
}
