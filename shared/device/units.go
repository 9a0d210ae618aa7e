package device

// Watts is active power in W. Negative values mean power fed back.
type Watts float64

// Volts is RMS voltage in V.
type Volts float64

// Amperes is RMS current in A.
type Amperes float64

// WattHours is energy in Wh. The counter of a plug restarts at a power cut, so
// a WattHours of a reading is a counter's state, not a lifetime total.
type WattHours float64
