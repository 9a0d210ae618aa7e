package device

import "time"

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
