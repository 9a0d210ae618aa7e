package backup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
)

// Config says where backups go and what they may take.
type Config struct {
	// Directory is the store: a disk of its own, or a mounted share. Empty: there
	// are no backups.
	Directory string `yaml:"directory"`
	// Recipients are public keys of age. With any, all is encrypted, and secrets
	// are copied too; whoever has one of the secret keys can read it.
	Recipients []string `yaml:"recipients"`
	// PointsPerSecond is how fast InfluxDB is read at most; 0: as fast as it goes.
	PointsPerSecond int `yaml:"points_per_second"`
	// SurveyEvery is how often all days are counted, to find what changed without
	// being in the ledger.
	SurveyEvery time.Duration `yaml:"survey_every"`
	// At is when a backup is made, as a cron expression, TrialAt when the newest is
	// restored for trial; both by the clock of TimeZone, empty being UTC. Jitter is
	// how much later they begin at most, by chance.
	At       string        `yaml:"at"`
	TrialAt  string        `yaml:"trial_at"`
	TimeZone string        `yaml:"time_zone"`
	Jitter   time.Duration `yaml:"jitter"`
	// Identity is a file with a secret key of age, with which encrypted backups are
	// restored for trial. Without one there are no trials of them.
	Identity string `yaml:"identity"`
	// Roles are those whose files are copied; each must run somewhere.
	Roles []string `yaml:"roles"`
	// Keep is how many backups are kept, of the newest of each period.
	Keep shelf.Keep `yaml:"keep"`
}

// DefaultConfig has every default and no store.
func DefaultConfig() Config {
	return Config{
		Recipients: []string{}, PointsPerSecond: 200_000, SurveyEvery: 7 * 24 * time.Hour,
		At: "15 3 * * *", TrialAt: "15 4 * * 0", TimeZone: "UTC", Jitter: 10 * time.Minute, Roles: roles(),
		Keep: shelf.Keep{Last: 3, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 10},
	}
}

// roles are those that keep files.
func roles() []string { return []string{"registry", "alerting", "webhook"} }

// Validate names every mistake by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Directory != "" && !filepath.IsAbs(c.Directory) {
		errs = append(errs, fmt.Errorf("directory: %s is no absolute path", c.Directory))
	}
	if _, err := form.ParseRecipients(c.Recipients); err != nil {
		errs = append(errs, fmt.Errorf("recipients: %w", err))
	}
	if c.PointsPerSecond < 0 || c.PointsPerSecond > 0 && c.PointsPerSecond < 1000 {
		errs = append(errs, fmt.Errorf("points_per_second: %d, want 0 or at least 1000", c.PointsPerSecond))
	}
	if c.SurveyEvery < time.Hour {
		errs = append(errs, fmt.Errorf("survey_every: %v is under 1h", c.SurveyEvery))
	}
	if c.Jitter < 0 || c.Jitter > 12*time.Hour {
		errs = append(errs, fmt.Errorf("jitter: %v, want 0 to 12h", c.Jitter))
	}
	for _, role := range c.Roles {
		if !slices.Contains(roles(), role) {
			errs = append(errs, fmt.Errorf("roles: %.40q keeps no file; there are %s", role, strings.Join(roles(), ", ")))
		}
	}
	if err := c.Keep.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("keep: %w", err))
	}
	return errors.Join(errs...)
}
