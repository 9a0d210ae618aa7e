package hs110test

import (
	"math"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Values are what the meter measures. Power is below Voltage times Current: a
// load has a power factor.
type Values struct {
	Power   device.Watts
	Voltage device.Volts
	Current device.Amperes
	Energy  device.WattHours // since the last start
}

// slot is how long a load keeps a value. The energy is the sum over the slots,
// and so does not depend on when anyone looks.
const slot = time.Second

// longest bounds what is added up after a jump of the clock.
const longest = 400 * 24 * time.Hour

type day struct {
	year  int
	month time.Month
	day   int
}

// state is everything about a plug that changes; its owner's mutex protects it.
type state struct {
	opts Options

	on      bool
	since   time.Time // on or off since
	ledOff  bool
	alias   []byte    // as JSON
	at      time.Time // integrated so far
	total   float64   // Wh since the last start
	days    map[day]float64
	minutes map[day]float64 // switched on
	polls   uint64
}

func newState(o Options) state {
	now := o.Now()
	s := state{
		opts: o, on: !o.Off, since: now, at: now,
		days: map[day]float64{}, minutes: map[day]float64{},
	}
	s.name(o.Alias)
	return s
}

func (s *state) name(alias string) { s.alias = appendText(nil, alias) }

// advance adds up the energy to the present and gives that time.
func (s *state) advance() time.Time {
	now := s.opts.Now()
	if now.Sub(s.at) > longest {
		s.at = now.Add(-longest)
	}
	for s.at.Before(now) {
		end := s.at.Truncate(slot).Add(slot)
		if end.After(now) {
			end = now
		}
		if s.on {
			local := s.at.In(s.opts.Location)
			d := day{local.Year(), local.Month(), local.Day()}
			watts, _ := s.opts.Load(local.Truncate(slot))
			wh := float64(watts) * end.Sub(s.at).Hours()
			s.total += wh
			s.days[d] += wh
			s.minutes[d] += end.Sub(s.at).Minutes()
		}
		s.at = end
	}
	s.at = now // also when the clock went back
	return now
}

func (s *state) setRelay(on bool) {
	now := s.advance()
	if s.on != on {
		s.on, s.since = on, now
	}
}

func (s *state) reboot() {
	now := s.advance()
	s.total, s.since = 0, now
}

func (s *state) onTime(now time.Time) int {
	if !s.on {
		return 0
	}
	return int(now.Sub(s.since) / time.Second)
}

// measure is one answer of the meter.
func (s *state) measure() Values {
	v := s.peek()
	s.polls++
	return v
}

func (s *state) peek() Values {
	now := s.advance()
	if s.opts.Generate != nil {
		return s.opts.Generate(s.polls+1, now)
	}
	local := now.In(s.opts.Location).Truncate(slot)
	v := Values{Voltage: mains(local), Energy: device.WattHours(s.total)}
	if s.on {
		watts, factor := s.opts.Load(local)
		v.Power = watts
		v.Current = device.Amperes(float64(watts) / (float64(v.Voltage) * factor))
	}
	return v
}

// mains is the voltage of the building: slowly up and down over the day, with a
// little noise.
func mains(t time.Time) device.Volts {
	hours := float64(t.Hour()) + float64(t.Minute())/60
	return device.Volts(230 + 2.5*math.Sin(hours/24*4*math.Pi) + 1.2*(chance(7, uint64(t.Unix()))-0.5))
}

// Numbered is a generator for tests that count readings: the n-th answer has
// the energy n Wh and the power n mod 3000 W at 230 V.
func Numbered(n uint64, _ time.Time) Values {
	const voltage, factor = 230, 0.95
	watts := float64(n % 3000)
	return Values{
		Power: device.Watts(watts), Voltage: voltage,
		Current: device.Amperes(watts / (voltage * factor)), Energy: device.WattHours(n),
	}
}
