package shelly

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/device"
)

// What a reading may be.
const (
	maxCurrent   = 20  // A
	minVoltage   = 80  // V
	maxVoltage   = 300 // V
	maxEnergy    = 1e9 // Wh: three hundred years at full load
	ratedCurrent = 16  // A, of the largest single switch
	margin       = 1.2 // above the rating

	// maxRaw bounds what is kept of a value that makes no sense, in bytes.
	maxRaw = 64
)

// Info is what a plug tells about itself (Shelly.GetDeviceInfo).
type Info struct {
	DeviceID string // such as "shellyplusplugs-a8032abe54dc"
	MAC      string // as "A8:03:2A:BE:54:DC"
	Model    string // such as "SNPL-00112EU"; may be empty
	Firmware string // such as "1.4.4"; may be empty
	// Protected tells of a password, which everything but this question needs.
	Protected bool
}

var errIdentity = errors.New("no id and mac of a Shelly of the second generation or later")

// parseInfo reads what a plug tells about itself. One that does not say who it is
// can't be told from another, so it is of no use.
func parseInfo(result []byte) (Info, error) {
	var w struct {
		ID     text   `json:"id"`
		MAC    text   `json:"mac"`
		Model  text   `json:"model"`
		Ver    text   `json:"ver"`
		Gen    number `json:"gen"`
		AuthEn bool   `json:"auth_en"`
	}
	if err := json.Unmarshal(result, &w); err != nil {
		return Info{}, fmt.Errorf("%w: %q", errIdentity, clip(result))
	}
	mac, ok := canonicalMAC(string(w.MAC))
	if !ok || !isName(string(w.ID)) || !w.Gen.valid || w.Gen.value < 2 {
		return Info{}, fmt.Errorf("%w: id %q, mac %q, gen %s", errIdentity, clip([]byte(w.ID)), clip([]byte(w.MAC)), w.Gen.raw())
	}
	return Info{DeviceID: string(w.ID), MAC: mac, Model: clip([]byte(w.Model)), Firmware: clip([]byte(w.Ver)), Protected: w.AuthEn}, nil
}

// isName reports whether s is what the id of a device looks like.
func isName(s string) bool {
	return s != "" && len(s) <= maxRaw && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// canonicalMAC writes an address of 12 hexadecimal digits, with or without colons
// or hyphens between pairs, as the inventory does.
func canonicalMAC(s string) (mac string, ok bool) {
	const digits, withSigns = 12, 17
	bare := s
	if len(s) == withSigns {
		bare = strings.ReplaceAll(s, s[2:3], "")
		if s[2] != ':' && s[2] != '-' {
			return "", false
		}
	}
	if _, err := strconv.ParseUint(bare, 16, 64); err != nil || len(bare) != digits {
		return "", false
	}
	bare = strings.ToUpper(bare)
	for i := 0; i < digits; i += 2 {
		mac += ":" + bare[i:i+2]
	}
	return mac[1:], true
}

// wireStatus is Switch.GetStatus. A switch without a meter lacks all of it but
// output; further keys (pf, freq, temperature) depend on the model.
type wireStatus struct {
	ID      number          `json:"id"`
	Output  json.RawMessage `json:"output"`
	Power   number          `json:"apower"`
	Voltage number          `json:"voltage"`
	Current number          `json:"current"`
	Energy  json.RawMessage `json:"aenergy"`
}

var errStatusForm = errors.New("not the status of switch 0")

// parseStatus reads a state of the switch. What stands in one field never spoils
// another.
func parseStatus(result []byte, maxPower device.Watts) (device.Measurement, error) {
	var w wireStatus
	if err := json.Unmarshal(result, &w); err != nil || w.ID.present && !w.ID.is(0) {
		return device.Measurement{}, fmt.Errorf("%w: %q", errStatusForm, clip(result))
	}
	var m device.Measurement
	highest := float64(maxPower)
	if x, ok := take(&m, device.Voltage, "voltage", w.Voltage, minVoltage, maxVoltage); ok {
		m.Voltage = new(device.Volts(x))
		highest = min(highest, margin*ratedCurrent*x)
	}
	if x, ok := take(&m, device.Current, "current", w.Current, 0, maxCurrent); ok {
		m.Current = new(device.Amperes(x))
	}
	if x, ok := take(&m, device.Power, "apower", w.Power, 0, highest); ok {
		m.Power = new(device.Watts(x))
	}
	if x, ok := take(&m, device.Energy, "aenergy.total", total(w.Energy), 0, maxEnergy); ok {
		m.Energy = new(device.WattHours(x))
	}
	switch string(w.Output) {
	case "true", "false":
		m.On = new(string(w.Output) == "true")
	case "", "null":
	default:
		m.Suspects = append(m.Suspects, device.Suspect{Field: device.Status, Raw: "output=" + clip(w.Output)})
	}
	if m.On == nil && m.Power == nil && m.Voltage == nil && m.Current == nil && m.Energy == nil && len(m.Suspects) == 0 {
		return device.Measurement{}, fmt.Errorf("%w: %q", errStatusForm, clip(result))
	}
	return m, nil
}

// take gives a field, or notes it as a suspect.
func take(m *device.Measurement, field, key string, n number, lowest, highest float64) (float64, bool) {
	if !n.present {
		return 0, false
	}
	if !n.valid || n.value < lowest || n.value > highest {
		m.Suspects = append(m.Suspects, device.Suspect{Field: field, Raw: key + "=" + n.raw()})
		return 0, false
	}
	return n.value + 0, true // + 0 makes a zero of a negative zero
}

// total is the counter inside aenergy. Something else than an object there is a
// counter that makes no sense.
func total(aenergy json.RawMessage) number {
	var w struct {
		Total number `json:"total"`
	}
	if len(aenergy) == 0 {
		return number{}
	}
	if json.Unmarshal(aenergy, &w) != nil {
		return number{present: true, text: clip(aenergy)}
	}
	return w.Total
}

// number is a JSON value that should be a number; whatever else stands there
// decodes without an error and keeps its text. null counts as absent.
type number struct {
	value          float64
	text           string // where it is no finite number
	present, valid bool
}

// UnmarshalJSON implements json.Unmarshaler; it never fails.
func (n *number) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		*n = number{}
		return nil
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		*n = number{present: true, text: clip(raw)}
		return nil //nolint:nilerr // not a number is an answer here: valid stays false
	}
	*n = number{value: v, present: true, valid: true}
	return nil
}

func (n number) is(v float64) bool { return n.valid && n.value == v }

// raw is the number as text, for people.
func (n number) raw() string {
	if n.valid {
		return strconv.FormatFloat(n.value, 'g', -1, 64)
	}
	return n.text
}

// text is a JSON value that should be a string; anything else is none.
type text string

// UnmarshalJSON implements json.Unmarshaler; it never fails.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = ""
	}
	*t = text(s)
	return nil
}

// clip makes bytes from outside fit to be shown: short, and valid UTF-8.
func clip(b []byte) string {
	if len(b) > maxRaw {
		b = b[:maxRaw]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
