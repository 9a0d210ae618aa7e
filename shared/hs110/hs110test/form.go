package hs110test

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// Identity is a deviceId and MAC made from text, the same for the same text.
func Identity(text string) (deviceID, mac string) {
	sum := sha256.Sum256([]byte(text))
	maker := [...]string{"50:C7:BF", "B0:95:75", "70:4F:57", "68:FF:7B"}[sum[31]%4]
	return fmt.Sprintf("8006%X", sum[:18]), fmt.Sprintf("%s:%02X:%02X:%02X", maker, sum[18], sum[19], sum[20])
}

const zeros = "00000000000000000000000000000000"

// appendSysinfo appends get_sysinfo in the hardware's form; p.mu is held.
func (p *Plug) appendSysinfo(dst []byte) []byte {
	s := &p.state
	now := s.advance()
	firmware, name, nodeType, place := "1.2.5 Build 171213 Rel.101523", "Wi-Fi Smart Plug With Energy Monitoring", "type", `"latitude":50.07,"longitude":14.43`
	extra := `,"fwId":"` + zeros + `"`
	hardware := "1.0"
	switch p.opts.Hardware {
	case HW2:
		hardware, firmware, name = "2.0", "1.5.4 Build 180815 Rel.121440", "Smart Wi-Fi Plug With Energy Monitoring"
		place = `"latitude_i":500700,"longitude_i":144300`
	case HW4:
		hardware, firmware, name = "4.0", "1.0.4 Build 191111 Rel.143500", "Smart Wi-Fi Plug With Energy Monitoring"
		nodeType, place = "mic_type", `"latitude_i":500700,"longitude_i":144300`
		extra = `,"status":"new","next_action":{"type":-1}`
	case HW1:
	}
	model, feature := "HS110(EU)", "TIM:ENE"
	if p.opts.NoMeter {
		model, feature, name = "HS100(EU)", "TIM", "Wi-Fi Smart Plug"
	}
	dst = append(dst, `{"sw_ver":"`...)
	dst = append(dst, cmp.Or(p.opts.Firmware, firmware)...)
	dst = append(dst, `","hw_ver":"`...)
	dst = append(dst, hardware...)
	dst = append(dst, `","model":"`...)
	dst = append(dst, model...)
	dst = append(dst, `","deviceId":"`...)
	dst = append(dst, p.opts.DeviceID...)
	dst = append(dst, `","oemId":"`+zeros+`","hwId":"`+zeros+`"`...)
	dst = append(dst, extra...)
	dst = append(dst, `,"rssi":`...)
	dst = strconv.AppendInt(dst, p.rssi-int64(now.Minute()%3), 10)
	dst = append(dst, `,`...)
	dst = append(dst, place...)
	dst = append(dst, `,"alias":`...)
	dst = append(dst, s.alias...)
	dst = append(dst, `,"`...)
	dst = append(dst, nodeType...)
	dst = append(dst, `":"IOT.SMARTPLUGSWITCH","dev_name":"`...)
	dst = append(dst, name...)
	dst = append(dst, `","icon_hash":"","active_mode":"none","feature":"`...)
	dst = append(dst, feature...)
	dst = append(dst, `","mac":"`...)
	dst = append(dst, p.opts.MAC...)
	dst = append(dst, `","updating":0,"led_off":`...)
	dst = appendBool(dst, s.ledOff)
	dst = append(dst, `,"relay_state":`...)
	dst = appendBool(dst, s.on)
	dst = append(dst, `,"on_time":`...)
	dst = strconv.AppendInt(dst, int64(s.onTime(now)), 10)
	return append(dst, `,"err_code":0}`...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, '1')
	}
	return append(dst, '0')
}

// appendRealtime appends get_realtime in the hardware's form; p.mu is held.
func (p *Plug) appendRealtime(dst []byte, f Fault) []byte {
	v := p.state.measure()
	v.Power = cmp.Or(f.Spike, v.Power)
	if p.opts.Hardware == HW1 {
		dst = append(dst, `{"current":`...)
		dst = strconv.AppendFloat(dst, float64(v.Current), 'f', 6, 64)
		dst = append(dst, `,"voltage":`...)
		dst = strconv.AppendFloat(dst, float64(v.Voltage), 'f', 6, 64)
		dst = append(dst, `,"power":`...)
		dst = strconv.AppendFloat(dst, float64(v.Power), 'f', 6, 64)
		dst = append(dst, `,"total":`...)
		dst = appendEnergy(dst, float64(v.Energy), HW1)
		return append(dst, `,"err_code":0}`...)
	}
	milli := func(x float64) int64 { return int64(math.Round(x * 1000)) }
	dst = append(dst, `{"voltage_mv":`...)
	dst = strconv.AppendInt(dst, milli(float64(v.Voltage)), 10)
	dst = append(dst, `,"current_ma":`...)
	dst = strconv.AppendInt(dst, int64(math.Ceil(float64(v.Current)*1000)), 10)
	dst = append(dst, `,"power_mw":`...)
	dst = strconv.AppendInt(dst, milli(float64(v.Power)), 10)
	dst = append(dst, `,"total_wh":`...)
	dst = appendEnergy(dst, float64(v.Energy), p.opts.Hardware)
	return append(dst, `,"err_code":0}`...)
}

// appendEnergy appends an energy as a counter shows it: whole Wh that are full,
// as kWh with six decimals on hardware version 1.
func appendEnergy(dst []byte, wh float64, h Hardware) []byte {
	full := math.Floor(wh + 1e-6)
	if h == HW1 {
		return strconv.AppendFloat(dst, full/1000, 'f', 6, 64)
	}
	return strconv.AppendInt(dst, int64(full), 10)
}

func (p *Plug) energyKey() string {
	if p.opts.Hardware == HW1 {
		return "energy"
	}
	return "energy_wh"
}

// appendDays appends the energy, or the minutes switched on, of the days of a
// month that have data; p.mu is held.
func (p *Plug) appendDays(dst []byte, args json.RawMessage, minutes bool) []byte {
	year, ok1 := intArg(args, "year")
	month, ok2 := intArg(args, "month")
	if !ok1 || !ok2 {
		return append(dst, badArg...)
	}
	s := &p.state
	s.advance()
	values := s.days
	if minutes {
		values = s.minutes
	}
	days := slices.DeleteFunc(sortedDays(values), func(d day) bool { return d.year != year || d.month != time.Month(month) })
	dst = append(dst, `{"day_list":[`...)
	for i, d := range days {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = fmt.Appendf(dst, `{"year":%d,"month":%d,"day":%d,`, d.year, d.month, d.day)
		if minutes {
			dst = fmt.Appendf(dst, `"time":%d}`, int(values[d]))
			continue
		}
		dst = append(appendEnergy(fmt.Appendf(dst, "%q:", p.energyKey()), values[d], p.opts.Hardware), '}')
	}
	return append(dst, `],"err_code":0}`...)
}

// appendMonths appends the energy of the months of a year that have data; p.mu
// is held.
func (p *Plug) appendMonths(dst []byte, args json.RawMessage) []byte {
	year, ok := intArg(args, "year")
	if !ok {
		return append(dst, badArg...)
	}
	p.state.advance()
	var sums [13]float64
	var has [13]bool
	for d, wh := range p.state.days {
		if d.year == year {
			sums[d.month] += wh
			has[d.month] = true
		}
	}
	dst = append(dst, `{"month_list":[`...)
	for m, first := 1, true; m <= 12; m++ {
		if !has[m] {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = fmt.Appendf(dst, `{"year":%d,"month":%d,%q:`, year, m, p.energyKey())
		dst = append(appendEnergy(dst, sums[m], p.opts.Hardware), '}')
	}
	return append(dst, `],"err_code":0}`...)
}

func sortedDays(m map[day]float64) []day {
	return slices.SortedFunc(maps.Keys(m), func(a, b day) int {
		return cmp.Or(cmp.Compare(a.year, b.year), cmp.Compare(a.month, b.month), cmp.Compare(a.day, b.day))
	})
}
