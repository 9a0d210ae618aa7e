package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Calendar says when people work: on these days of the week, between these times
// of the wall clock, but not on holidays. It is read in the site's time zone, so
// that 07:00 is 07:00 in summer and in winter.
type Calendar struct {
	Days []string `yaml:"days" json:"days"` // mon, tue, wed, thu, fri, sat, sun
	From Clock    `yaml:"from" json:"from"`
	To   Clock    `yaml:"to" json:"to"` // 24:00 is the end of the day
	// Holidays are days (2026-12-25), or days of every year (12-25).
	Holidays []string `yaml:"holidays" json:"holidays,omitempty"`
}

// Clock is a time of day in minutes, written 07:30.
type Clock int

// MarshalText writes 07:30.
func (c Clock) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%02d:%02d", c/60, c%60), nil }

// UnmarshalText reads 07:30, from 00:00 to 24:00.
func (c *Clock) UnmarshalText(text []byte) error {
	if string(text) == "24:00" {
		*c = 24 * 60
		return nil
	}
	t, err := time.Parse("15:04", string(text))
	if err != nil {
		return fmt.Errorf("%.20q is no time of day such as 07:30", text)
	}
	*c = Clock(t.Hour()*60 + t.Minute())
	return nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Within reports whether people work at t, which is in the site's time zone. A
// calendar from 22:00 to 06:00 belongs to the day on which it begins.
func (c *Calendar) Within(t time.Time) bool {
	minute := Clock(t.Hour()*60 + t.Minute())
	if c.From < c.To {
		return minute >= c.From && minute < c.To && c.works(t)
	}
	return minute >= c.From && c.works(t) || minute < c.To && c.works(t.AddDate(0, 0, -1))
}

// works reports whether the day of t is a working day.
func (c *Calendar) works(t time.Time) bool {
	return slices.Contains(c.Days, weekdays[t.Weekday()]) &&
		!slices.Contains(c.Holidays, t.Format(time.DateOnly)) && !slices.Contains(c.Holidays, t.Format("01-02"))
}

// Validate reports all mistakes.
func (c *Calendar) Validate() error {
	var errs []error
	if len(c.Days) == 0 {
		errs = append(errs, errors.New("days: none; write for example [mon, tue, wed, thu, fri]"))
	}
	for _, d := range c.Days {
		if !slices.Contains(weekdays, d) {
			errs = append(errs, fmt.Errorf("days: %.20q is none of %s", d, strings.Join(weekdays, ", ")))
		}
	}
	if c.From == c.To {
		errs = append(errs, errors.New("from: the same time as to; write 00:00 and 24:00 for whole days"))
	}
	for _, h := range c.Holidays {
		_, year := time.Parse(time.DateOnly, h)
		_, every := time.Parse("2006-01-02", "2000-"+h) // 2000 has a February 29th
		if year != nil && every != nil {
			errs = append(errs, fmt.Errorf("holidays: %.20q is neither a day such as 2026-12-25 nor one of every year such as 12-25", h))
		}
	}
	return errors.Join(errs...)
}
