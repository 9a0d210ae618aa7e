package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/webhook"
)

// Config is what an operator may set; without receivers nothing runs.
type Config struct {
	Receivers []Receiver `yaml:"receivers"`
	// MemoryBytes bounds the batches that are kept in memory for all receivers.
	MemoryBytes int `yaml:"memory_bytes"`
}

// Receiver is one address that is told what is stored. What is empty or 0 takes
// the default that stands there.
type Receiver struct {
	// Name tells receivers apart, in logs, metrics and the file of positions: a
	// receiver with a new name is a new one. Lower-case letters, digits, - and _.
	Name string `yaml:"name"`
	// URL is http or https; Secret whsec_ and base64 of 24 to 64 bytes.
	URL    string        `yaml:"url"`
	Secret config.Secret `yaml:"secret"`
	// CA is a PEM file of authorities; empty means those of the system.
	CA string `yaml:"ca"`
	// Databases whose readings are delivered; empty means sp.
	Databases []string `yaml:"databases"`
	// Devices and Measurements, if there are any, are the only ones delivered.
	Devices      []string `yaml:"devices"`
	Measurements []string `yaml:"measurements"`
	// MaxReadings bounds the records of one request, 1 to 50,000; 0 means 5,000.
	MaxReadings int `yaml:"max_readings"`
	// Timeout bounds one attempt, 1 s to 5 min; 0 means 30 s.
	Timeout time.Duration `yaml:"timeout"`
	// Start is where a receiver begins that has no position yet: "now", the default,
	// or a time in RFC 3339, of which everything that was stored since is delivered.
	Start string `yaml:"start"`
}

const (
	start        = "now"
	maxReceivers = 32
	maxDevices   = 500
)

// DefaultConfig has every default and no receiver.
func DefaultConfig() Config { return Config{MemoryBytes: 32 << 20} }

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	var errs []error
	if c.MemoryBytes < 1<<20 || c.MemoryBytes > 4<<30 {
		errs = append(errs, fmt.Errorf("memory_bytes: %d, want 1 MiB to 4 GiB", c.MemoryBytes))
	}
	if len(c.Receivers) > maxReceivers {
		errs = append(errs, fmt.Errorf("receivers: %d, at most %d", len(c.Receivers), maxReceivers))
	}
	names := make(map[string]bool)
	for i, r := range c.Receivers {
		key := fmt.Sprintf("receivers[%d]", i)
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("%s.name: %q is there already", key, r.Name))
		}
		names[r.Name] = true
		errs = append(errs, config.Key(key, r.validate()))
	}
	return errors.Join(errs...)
}

var (
	validName        = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	validDatabase    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	validMeasurement = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,254}$`)
)

// systemDatabase holds ledger, quarantine and audit, which are no readings.
const systemDatabase = "wattline"

func (r *Receiver) validate() error {
	var errs []error
	mistake := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	mistake(!validName.MatchString(r.Name), "name: %.80q: a lower-case letter, then up to 62 lower-case letters, digits, - or _", r.Name)
	if err := webhook.CheckURL(r.URL); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	if _, err := webhook.ParseSecret(r.Secret.Reveal()); err != nil {
		errs = append(errs, fmt.Errorf("secret: %w", err))
	}
	for _, d := range r.Databases {
		mistake(!validDatabase.MatchString(d), "databases: %.80q: a lower-case letter, then up to 62 lower-case letters, digits or _", d)
		mistake(d == systemDatabase, "databases: %q belongs to the system", d)
	}
	mistake(len(r.Databases) > 16, "databases: %d, at most 16", len(r.Databases))
	for _, d := range r.Devices {
		if _, err := device.Parse(d); err != nil {
			errs = append(errs, fmt.Errorf("devices: %w", err))
		}
	}
	mistake(len(r.Devices) > maxDevices, "devices: %d, at most %d", len(r.Devices), maxDevices)
	for _, m := range r.Measurements {
		mistake(!validMeasurement.MatchString(m), "measurements: %.80q: want A-Z a-z 0-9 - : . _", m)
	}
	mistake(len(r.Measurements) > 100, "measurements: %d, at most 100", len(r.Measurements))
	mistake(r.MaxReadings < 0 || r.MaxReadings > 50_000, "max_readings: %d, want 1 to 50000, or 0 for 5000", r.MaxReadings)
	mistake(r.Timeout != 0 && (r.Timeout < time.Second || r.Timeout > 5*time.Minute), "timeout: %v, want 1s to 5m", r.Timeout)
	if _, err := r.from(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// from is when a new receiver begins, 0 for now.
func (r *Receiver) from() (device.Micros, error) {
	if r.Start == "" || r.Start == start {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, r.Start)
	if err != nil || at.Unix() <= 0 {
		return 0, fmt.Errorf("start: %.80q, want now or a time such as 2026-01-31T00:00:00Z", r.Start)
	}
	return device.MicrosOf(at), nil
}

// filled is r with its defaults.
func (r Receiver) filled() Receiver {
	r.MaxReadings = cmp.Or(r.MaxReadings, 5000)
	r.Timeout = cmp.Or(r.Timeout, 30*time.Second)
	if len(r.Databases) == 0 {
		r.Databases = []string{defaultDatabase}
	}
	r.Databases = slices.Compact(slices.Sorted(slices.Values(r.Databases)))
	return r
}
