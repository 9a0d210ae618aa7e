package hs110test

import (
	"math"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Load is something plugged in: the power that it draws at t while the relay is
// on, and its power factor, above 0 and below 1. It depends on nothing but t,
// whose location is the plug's, and is called with whole seconds.
type Load func(t time.Time) (watts device.Watts, powerFactor float64)

// moment is what the loads want to know of a time.
type moment struct {
	hour    float64 // of the day
	date    uint64  // different each day
	second  uint64
	weekend bool
}

func momentOf(t time.Time) moment {
	h, m, s := t.Clock()
	wd := t.Weekday()
	return moment{
		hour:    float64(h) + float64(m)/60 + float64(s)/3600,
		date:    uint64(t.Year()*1000 + t.YearDay()),
		second:  uint64(t.Unix()),
		weekend: wd == time.Saturday || wd == time.Sunday,
	}
}

// Workplace is a computer with its screens: somebody comes in the morning, is
// away at lunch and leaves in the evening; some days nobody comes, and now and
// then the computer stays on overnight. Otherwise it stands by.
func Workplace(seed uint64) Load {
	standby := 1.5 + 2.5*chance(seed, 1)
	working := 60 + 70*chance(seed, 2)
	return func(t time.Time) (device.Watts, float64) {
		m := momentOf(t)
		day := mix(seed, m.date)
		arrives := 7.5 + 2*chance(day, 1)
		leaves := 16 + 2.5*chance(day, 2)
		lunch := 11.75 + 0.75*chance(day, 3)
		absent := chance(day, 4) < 0.15 || m.weekend && chance(day, 5) < 0.96
		forgotten := !absent && chance(day, 6) < 0.06
		switch {
		case absent || m.hour < arrives || m.hour >= leaves && !forgotten:
			return steady(standby, 0.03, seed, m), 0.45
		case m.hour >= leaves: // left on
			return steady(0.45*working, 0.02, seed, m), 0.85
		case m.hour >= lunch && m.hour < lunch+0.6:
			return steady(0.4*working, 0.02, seed, m), 0.83
		}
		// Work comes in spells of two minutes.
		spell := 0.85 + 0.4*math.Pow(chance(day, m.second/120), 3)
		return steady(working*spell, 0.06, seed, m), 0.93
	}
}

// MeetingRoom is a screen or projector with its conference system, used in
// meetings of an hour during office hours.
func MeetingRoom(seed uint64) Load {
	standby := 3 + 4*chance(seed, 1)
	meeting := 150 + 220*chance(seed, 2)
	return func(t time.Time) (device.Watts, float64) {
		m := momentOf(t)
		booked := 0.55
		switch {
		case m.weekend:
			booked = 0.01
		case m.hour < 8 || m.hour >= 19:
			booked = 0.02
		case m.hour >= 12 && m.hour < 13, m.hour >= 17:
			booked = 0.2
		}
		meets := mix(mix(seed, m.date), uint64(m.hour))
		overruns := m.hour-math.Floor(m.hour) < 0.05+0.9*chance(meets, 2)
		if chance(meets, 1) < booked && overruns {
			return steady(meeting, 0.04, seed, m), 0.95
		}
		return steady(standby, 0.02, seed, m), 0.5
	}
}

// Printer is a laser printer: asleep, ready in office hours, and for each job
// the fuser heats.
func Printer(seed uint64) Load {
	asleep := 4 + 4*chance(seed, 1)
	ready := 35 + 30*chance(seed, 2)
	fuser := 450 + 450*chance(seed, 3)
	return func(t time.Time) (device.Watts, float64) {
		m := momentOf(t)
		jobs := 0.3
		if m.weekend || m.hour < 7 || m.hour >= 19 {
			jobs = 0.004
		}
		const window = 300 // s, with at most one job
		job := mix(seed, m.second/window)
		into := float64(m.second % window)
		begins, lasts := 200*chance(job, 2), 12+60*chance(job, 3)
		switch {
		case chance(job, 1) >= jobs:
			// Ready for a while after the last job.
			if before := mix(seed, m.second/window-1); chance(before, 1) < jobs {
				return steady(ready, 0.04, seed, m), 0.7
			}
			return steady(asleep, 0.02, seed, m), 0.5
		case into < begins || into >= begins+lasts:
			return steady(ready, 0.04, seed, m), 0.7
		case uint64(into)%9 < 6: // the heater's thermostat
			return steady(fuser, 0.05, seed, m), 0.98
		}
		return steady(0.35*fuser, 0.05, seed, m), 0.9
	}
}

// steady is a value with a little noise that changes each second.
func steady(watts, noise float64, seed uint64, m moment) device.Watts {
	return device.Watts(watts * (1 + noise*(2*chance(seed, m.second)-1)))
}

// chance is a number from 0 to below 1, always the same for the same arguments.
func chance(seed, n uint64) float64 { return float64(mix(seed, n)>>11) / (1 << 53) }

// mix scatters its arguments over 64 bits (the finalizer of splitmix64).
func mix(seed, n uint64) uint64 {
	x := seed + (n+1)*0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
