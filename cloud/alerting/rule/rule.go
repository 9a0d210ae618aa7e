package rule

import (
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Duration is written as "10m" or "48h", in YAML and in JSON.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes as people do, 1h for 1h0m0s.
func (d Duration) MarshalText() ([]byte, error) {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return []byte(text), nil
}

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.40q is no time such as 30s, 10m or 48h", text)
	}
	*d = Duration(v)
	return nil
}

// Rule is one thing to watch for. The zero value watches for nothing; [Validate]
// says what is missing.
type Rule struct {
	// Name is unique, [a-z][a-z0-9-]{0,62}: part of topics and of keys for ever.
	Name string `yaml:"name" json:"name"`
	// Off keeps a rule without watching.
	Off      bool              `yaml:"off" json:"off,omitempty"`
	Severity contract.Severity `yaml:"severity" json:"severity"`
	// Signal is a measurement of devices or one of [Facts].
	Signal string `yaml:"signal" json:"signal"`
	// Select narrows the subjects; empty takes all that have the signal.
	Select Select `yaml:"select" json:"select,omitzero"`
	// Condition is what must hold; exactly one.
	Condition Condition `yaml:"when" json:"when"`
	// For is how long it must hold, in measurement time.
	For Duration `yaml:"for" json:"for,omitempty"`
	// Late is how old a reading may be when it comes and still raise an alarm;
	// DefaultLate when 0.
	Late Duration `yaml:"late" json:"late,omitempty"`
	// Hours is "inside <calendar>" or "outside <calendar>": the condition counts
	// only then. Empty is always.
	Hours string `yaml:"hours" json:"hours,omitempty"`
	// CoveredBy names rules that explain this one: while one of them fires for
	// the gateway of the subject or for the site, this alert is listed in that
	// one and notifies nobody.
	CoveredBy []string `yaml:"covered_by" json:"covered_by,omitempty"`
	// Summary is a sentence with {label}, {subject}, {gateway}, {floor}, {value},
	// {limit}, {for}; Advice says what to do.
	Summary string `yaml:"summary" json:"summary"`
	Advice  string `yaml:"advice" json:"advice,omitempty"`
	// Receivers are who is told; empty: all who take the severity.
	Receivers []string `yaml:"receivers" json:"receivers,omitempty"`
	// Remind tells again while it fires and nobody has acknowledged it; 0 never.
	Remind Duration `yaml:"remind" json:"remind,omitempty"`
}

// DefaultLate is how late a reading may come and still raise an alarm.
const DefaultLate = Duration(10 * time.Minute)

// Lateness is Late or its default.
func (r *Rule) Lateness() time.Duration {
	if r.Late == 0 {
		return time.Duration(DefaultLate)
	}
	return time.Duration(r.Late)
}

// Select says which subjects a rule is about: those that fit each list that is
// not empty.
type Select struct {
	Devices  []device.ID `yaml:"devices" json:"devices,omitempty"`
	Types    []string    `yaml:"types" json:"types,omitempty"` // of places: w, g, p
	Floors   []int       `yaml:"floors" json:"floors,omitempty"`
	Gateways []string    `yaml:"gateways" json:"gateways,omitempty"`
	// Except are devices that are left out.
	Except []device.ID `yaml:"except" json:"except,omitempty"`
}

// Condition is what is wrong. Exactly one of Above, AboveMaxPower, Below, Inside,
// Outside, Equals, Rising, Changed, Flat and Absent is set.
type Condition struct {
	Above *float64 `yaml:"above" json:"above,omitempty"`
	// AboveMaxPower is above this share of the place's plausible maximum power;
	// places without one are not watched.
	AboveMaxPower *float64 `yaml:"above_max_power" json:"above_max_power,omitempty"`
	Below         *float64 `yaml:"below" json:"below,omitempty"`
	// Clear is where Above, AboveMaxPower and Below are over again; the limit
	// itself when nil.
	Clear *float64 `yaml:"clear" json:"clear,omitempty"`
	// Inside and Outside are two numbers, the smaller first; the bounds belong to
	// the inside.
	Inside  []float64 `yaml:"inside" json:"inside,omitempty"`
	Outside []float64 `yaml:"outside" json:"outside,omitempty"`
	Equals  *float64  `yaml:"equals" json:"equals,omitempty"`
	// Rising is by how much per hour, over the time of For.
	Rising *float64 `yaml:"rising" json:"rising,omitempty"`
	// Changed fires at a change, and is over after For.
	Changed bool `yaml:"changed" json:"changed,omitempty"`
	// Flat fires when every reading for the time of For had the same value, which
	// is not 0.
	Flat bool `yaml:"flat" json:"flat,omitempty"`
	// Absent fires when nothing came for the time of For.
	Absent bool `yaml:"absent" json:"absent,omitempty"`
}

// File is the rules of a site, as YAML has them.
type File struct {
	Calendars map[string]Calendar `yaml:"calendars" json:"calendars,omitempty"`
	Rules     []Rule              `yaml:"rules" json:"rules"`
}
