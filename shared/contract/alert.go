package contract

import "github.com/wattline/wattline/shared/device"

// Severity says how soon somebody must look.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // now: data is being lost, or somebody may be harmed
	Warning  Severity = "warning"  // today
	Info     Severity = "info"     // with the next digest
)

// AlertState is where an alert stands.
type AlertState string

// The states. An alert that is acknowledged still fires, but notifies nobody.
const (
	Firing       AlertState = "firing"
	Acknowledged AlertState = "acknowledged"
	Resolved     AlertState = "resolved"
)

// Alert is one thing that is wrong with one subject. While it fires it is
// retained on alerts/<rule>/<subject>; an empty payload says that it is over.
type Alert struct {
	// ID is of this alert alone: rule, subject and the time it began.
	ID       string   `json:"id"`
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// Subject is what it is about: a device id, a gateway, or "site". Device,
	// Gateway and Floor say where that is, as far as it is known.
	Subject string     `json:"subject"`
	Device  device.ID  `json:"device,omitzero"`
	Gateway string     `json:"gateway,omitempty"`
	Floor   *int       `json:"floor,omitempty"`
	Label   string     `json:"label,omitempty"` // of the place, for people
	State   AlertState `json:"state"`
	// Since is the measurement time at which it began, Fired when it was noticed,
	// Ended when it was over, 0 while it is not.
	Since device.Micros `json:"since"`
	Fired device.Micros `json:"fired"`
	Ended device.Micros `json:"ended,omitempty"`
	// Value is the last that was seen, in Unit; nil where there is none.
	Value *float64 `json:"value,omitempty"`
	Unit  string   `json:"unit,omitempty"`
	// Summary says what is wrong in a sentence, Advice what to do.
	Summary string `json:"summary"`
	Advice  string `json:"advice,omitempty"`
	// Covers names subjects whose own trouble this one explains, at most
	// MaxCovered of them; CoversMore counts the others.
	Covers     []string `json:"covers,omitempty"`
	CoversMore int      `json:"covers_more,omitempty"`
	// Flapping tells that it comes and goes, and is held until it stays away.
	Flapping bool `json:"flapping,omitempty"`
	// Late marks what was only learned from readings that came too late to raise
	// an alarm. It is history from the start.
	Late bool `json:"late,omitempty"`
	// Hushed is why it notifies nobody; nil when it does.
	Hushed *Hushed `json:"hushed,omitempty"`
}

// MaxCovered bounds the subjects that one alert names.
const MaxCovered = 100

// Hushed is who silenced an alert, why and until when.
type Hushed struct {
	Who    string        `json:"who"`
	Reason string        `json:"reason,omitempty"`
	At     device.Micros `json:"at"`
	// Until is when it notifies again; 0 for an acknowledgement, which lasts until
	// the alert is over.
	Until device.Micros `json:"until,omitempty"`
}
