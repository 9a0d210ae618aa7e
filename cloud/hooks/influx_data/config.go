package influxdata

import (
	"errors"
	"fmt"
)

// Config is what an operator may set.
type Config struct {
	Limits Limits `yaml:"limits"`
}

// Limits are what one source may use of the storage, so that one that has gone
// wrong harms no other. They have no say in what a record becomes, only in
// whether it is taken now, later, or into the quarantine.
type Limits struct {
	// RecordsPerSecond is what a source may hand in for a long time, and
	// BurstRecords at once. Numbered batches that ask for receipts, which is what
	// gateways send, are not counted: a backlog of days drains as fast as it can.
	RecordsPerSecond int `yaml:"records_per_second"`
	BurstRecords     int `yaml:"burst_records"`
	// Series is how many different things a source may measure: measurement,
	// device id and unit, in each database. Databases is into how many it may write.
	Series    int `yaml:"series"`
	Databases int `yaml:"databases"`
	// Sources is how many are known at once: so many that number their batches,
	// and as many that do not.
	Sources int `yaml:"sources"`
	// QuarantineBytesPerHour is what of a source's refused messages is kept.
	QuarantineBytesPerHour int `yaml:"quarantine_bytes_per_hour"`
}

// DefaultConfig holds every default: far beyond what a floor of plugs needs.
func DefaultConfig() Config {
	return Config{Limits{
		RecordsPerSecond: 10_000, BurstRecords: 200_000, Series: 10_000, Databases: 10, Sources: 1_000, QuarantineBytesPerHour: 64 << 20,
	}}
}

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	l := c.Limits
	var errs []error
	for _, one := range []struct {
		key                string
		value, least, most int
	}{
		{"records_per_second", l.RecordsPerSecond, 1, 100_000_000},
		{"burst_records", l.BurstRecords, 1, 1_000_000_000},
		{"series", l.Series, 1, 1_000_000},
		{"databases", l.Databases, 1, 1_000},
		{"sources", l.Sources, 1, 100_000},
		{"quarantine_bytes_per_hour", l.QuarantineBytesPerHour, 1 << 20, 1 << 40},
	} {
		if one.value < one.least || one.value > one.most {
			errs = append(errs, fmt.Errorf("limits.%s: %d is not from %d to %d", one.key, one.value, one.least, one.most))
		}
	}
	return errors.Join(errs...)
}
