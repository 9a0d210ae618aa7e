package device

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Measurements, as they are named on the bus, in storage and in the API.
const (
	Power   = "power"   // active power, W
	Voltage = "voltage" // V
	Current = "current" // A
	Energy  = "energy"  // the plug's counter, Wh
	Status  = "status"  // the relay: 1 on, 0 off

	// SuspectField names the record that carries an implausible field instead
	// of a value.
	SuspectField = "suspect"
	// Switched names the record of a gateway about a command it carried out.
	Switched = "switched"
)

// Measurement is what one poll of a device yielded. A nil field was not
// reported, or was implausible and is listed in Suspects; absent is not zero.
type Measurement struct {
	Power   *Watts
	Voltage *Volts
	Current *Amperes
	Energy  *WattHours
	On      *bool
	// Suspects are the fields left out because no such value can be true.
	Suspects []Suspect
}

// Suspect is a field that a device reported with an implausible value.
type Suspect struct {
	Field string `json:"field"` // the measurement's name
	Raw   string `json:"raw"`   // as the device reported it
}

// Reading is one measurement of one device at one time. Time is set once, when
// the device was polled, and counts in whole microseconds.
type Reading struct {
	Device ID
	Time   Micros
	Measurement
	// Notes are texts measured beside the values, by record name; the record of
	// a switch ([Switched]) is one.
	Notes map[string]string
}

// Micros is a point in time: microseconds since 1970-01-01 UTC, the resolution
// of everything on the bus and in storage.
type Micros int64

// MicrosOf rounds t half up to microseconds.
func MicrosOf(t time.Time) Micros { return Micros(t.Add(500 * time.Nanosecond).UnixMicro()) }

// Time is the same instant as a time.Time in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// Add moves m by d, rounded down to microseconds.
func (m Micros) Add(d time.Duration) Micros { return m + Micros(d.Microseconds()) }

// MarshalJSON writes POSIX seconds with at most six decimals, the form of times
// on the bus.
func (m Micros) MarshalJSON() ([]byte, error) { return m.AppendSeconds(nil), nil }

// UnmarshalJSON reads POSIX seconds as a plain decimal; digits beyond the sixth
// decimal are rounded half up.
func (m *Micros) UnmarshalJSON(text []byte) error {
	negative := len(text) > 0 && text[0] == '-'
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(string(text), "-"), ".")
	digits := (fraction + "0000000")[:7]
	seconds, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || seconds > 1<<38 {
		return fmt.Errorf("time %.40q: want POSIX seconds", text)
	}
	tenths, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || strings.ContainsFunc(fraction, func(c rune) bool { return c < '0' || c > '9' }) {
		return fmt.Errorf("time %.40q: want POSIX seconds", text)
	}
	n := int64(seconds)*10_000_000 + int64(tenths) //nolint:gosec // at most 2^38 and seven digits
	if negative {
		n = -n
	}
	*m = Micros((n + 5) / 10)
	if (n+5)%10 < 0 {
		*m--
	}
	return nil
}

// AppendSeconds appends m to b as decimal POSIX seconds without trailing zeros.
func (m Micros) AppendSeconds(b []byte) []byte {
	if m < 0 {
		b, m = append(b, '-'), -m
	}
	b = strconv.AppendInt(b, int64(m/1e6), 10)
	fraction := int64(m % 1e6)
	if fraction == 0 {
		return b
	}
	text := strconv.AppendInt(nil, 1e6+fraction, 10) // 1 and six digits
	text[0] = '.'
	return append(b, strings.TrimRight(string(text), "0")...)
}
