package hs110

import (
	"math"

	"github.com/wattline/wattline/shared/device"
)

// What a reading may be. Plugs now and then report a sample of tens of kilowatts
// or megawatts; the HS110 is rated for 16 A.
const (
	// MaxPower is the highest plausible power by default: a fifth above 16 A at
	// 240 V.
	MaxPower   device.Watts     = 4600
	MaxCurrent device.Amperes   = 20
	MinVoltage device.Volts     = 80
	MaxVoltage device.Volts     = 300
	MaxEnergy  device.WattHours = 1e9 // three hundred years at full load

	ratedCurrent = 16  // A
	margin       = 1.2 // above the rating
)

// Realtime is one answer of the meter (get_realtime). A nil field was not sent,
// or is listed in Suspects, with the plug's own key and value as Raw.
type Realtime struct {
	Power   *device.Watts
	Voltage *device.Volts
	Current *device.Amperes
	// Energy is the plug's counter since it last started: it falls back to 0 at
	// each power cut.
	Energy   *device.WattHours
	Suspects []device.Suspect
}

// limits is what differs between installations.
type limits struct{ power float64 }

// wireRealtime is get_realtime of every hardware version: version 1 sends V, A,
// W and kWh, the later ones mV, mA, mW and Wh. The key of each field decides,
// never the version that the plug claims.
type wireRealtime struct {
	errCode
	Voltage   number `json:"voltage"`
	VoltageMV number `json:"voltage_mv"`
	Current   number `json:"current"`
	CurrentMA number `json:"current_ma"`
	Power     number `json:"power"`
	PowerMW   number `json:"power_mw"`
	Total     number `json:"total"`
	TotalWH   number `json:"total_wh"`
}

func (w *wireRealtime) realtime(l limits) Realtime {
	// One block for the four values that the answer points into.
	v := new(struct {
		watts device.Watts
		volts device.Volts
		amps  device.Amperes
		wh    device.WattHours
	})
	var r Realtime
	maxPower := l.power
	if x, ok := r.take(device.Voltage, w.VoltageMV, "voltage_mv", w.Voltage, "voltage", 1e-3, 1, float64(MinVoltage), float64(MaxVoltage)); ok {
		v.volts = device.Volts(x)
		r.Voltage = &v.volts
		maxPower = min(maxPower, margin*ratedCurrent*x)
	}
	if x, ok := r.take(device.Current, w.CurrentMA, "current_ma", w.Current, "current", 1e-3, 1, 0, float64(MaxCurrent)); ok {
		v.amps = device.Amperes(x)
		r.Current = &v.amps
	}
	if x, ok := r.take(device.Power, w.PowerMW, "power_mw", w.Power, "power", 1e-3, 1, 0, maxPower); ok {
		v.watts = device.Watts(x)
		r.Power = &v.watts
	}
	if x, ok := r.take(device.Energy, w.TotalWH, "total_wh", w.Total, "total", 1, 1e3, 0, float64(MaxEnergy)); ok {
		v.wh = device.WattHours(x)
		r.Energy = &v.wh
	}
	return r
}

// take gives the field in its base unit, or notes it as a suspect. Where a plug
// sent both keys the later hardware's counts.
func (r *Realtime) take(field string, n number, key string, old number, oldKey string, scale, oldScale, lowest, highest float64) (float64, bool) {
	if !n.present {
		n, key, scale = old, oldKey, oldScale
	}
	if !n.present {
		return 0, false
	}
	x := convert(n.value, scale)
	if !n.valid || x < lowest || x > highest {
		r.Suspects = append(r.Suspects, device.Suspect{Field: field, Raw: key + "=" + n.raw()})
		return 0, false
	}
	return x, true
}

// convert scales v to the base unit without adding digits that the plug did not
// send: 55.139 kWh is 55139 Wh, not 55139.00000000001.
func convert(v, scale float64) float64 {
	switch {
	case scale < 1:
		return v / math.Round(1/scale)
	case scale > 1 && math.Abs(v) < 1e6:
		return math.Round(v*scale*1e6) / 1e6
	}
	return v*scale + 0 // + 0 makes a zero of a negative zero
}
