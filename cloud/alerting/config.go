package alerting

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/alerting/alertmanager"
	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

// Config is what an operator says of alerting. Rules are no part of it: they are
// changed while it runs.
type Config struct {
	// Rules is a YAML file with the rules to begin with; without it those of the
	// program. It is read once, when there are no rules yet.
	Rules string `yaml:"rules"`
	// Link is where people can look at the alerts, in messages.
	Link string `yaml:"link"`
	// Receivers are who is told.
	Receivers []Receiver `yaml:"receivers"`
}

// Receiver is one of those who are told.
type Receiver struct {
	Name string `yaml:"name"`
	// Kind is email, webhook or alertmanager, and says which of the blocks below
	// counts.
	Kind string `yaml:"kind"`
	// Least is the least severity that is told: info, warning (the default) or
	// critical.
	Least contract.Severity `yaml:"from"`
	// Wait is how long to wait for what comes together: 30s for email, else 0.
	Wait *time.Duration `yaml:"wait"`
	// MostPerHour are messages an hour, twice as many when something is critical:
	// 12 for email, else 0, which is no limit.
	MostPerHour *int `yaml:"most_per_hour"`
	// Digest is the time of day at which information is told.
	Digest *rule.Clock `yaml:"digest"`
	// Over is whether to tell what is over; yes unless it says no.
	Over *bool `yaml:"over"`

	Email        *mail.Config         `yaml:"email"`
	Webhook      *post.Config         `yaml:"webhook"`
	Alertmanager *alertmanager.Config `yaml:"alertmanager"`
}

// The kinds of receivers.
const (
	kindEmail        = "email"
	kindWebhook      = "webhook"
	kindAlertmanager = "alertmanager"
)

const maxReceivers = 100

var receiverName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// DefaultConfig tells nobody.
func DefaultConfig() Config { return Config{} }

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Link != "" {
		if u, err := url.Parse(c.Link); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, errors.New("link: want http:// or https:// and where people look"))
		}
	}
	if len(c.Receivers) > maxReceivers {
		errs = append(errs, fmt.Errorf("receivers: %d, more than %d", len(c.Receivers), maxReceivers))
	}
	for i := range c.Receivers {
		r := &c.Receivers[i]
		key := fmt.Sprintf("receivers[%d]", i)
		if slices.Contains(c.names()[:i], r.Name) {
			errs = append(errs, fmt.Errorf("%s.name: %q is that of another one too", key, r.Name))
		}
		errs = append(errs, config.Key(key, r.validate()))
	}
	return errors.Join(errs...)
}

func (c *Config) names() []string {
	names := make([]string, 0, len(c.Receivers))
	for _, r := range c.Receivers {
		names = append(names, r.Name)
	}
	return names
}

func (r *Receiver) validate() error {
	var errs []error
	if !receiverName.MatchString(r.Name) {
		errs = append(errs, fmt.Errorf("name: %.64q, want a lower-case letter, then up to 62 lower-case letters, digits and -", r.Name))
	}
	if !slices.Contains([]contract.Severity{"", contract.Info, contract.Warning, contract.Critical}, r.Least) {
		errs = append(errs, fmt.Errorf("from: %.20q is none of info, warning, critical", r.Least))
	}
	if r.Wait != nil && (*r.Wait < 0 || *r.Wait > time.Hour) {
		errs = append(errs, fmt.Errorf("wait: %v, want 0s to 1h", *r.Wait))
	}
	if r.MostPerHour != nil && (*r.MostPerHour < 0 || *r.MostPerHour > 3600) {
		errs = append(errs, fmt.Errorf("most_per_hour: %d, want 0 to 3600", *r.MostPerHour))
	}
	return errors.Join(append(errs, r.validateKind())...)
}

// validateKind checks that there is the block of the kind, and no other.
func (r *Receiver) validateKind() error {
	if !slices.Contains([]string{kindEmail, kindWebhook, kindAlertmanager}, r.Kind) {
		return fmt.Errorf("kind: %.20q is none of email, webhook, alertmanager", r.Kind)
	}
	blocks := map[string]error{}
	if r.Email != nil {
		blocks[kindEmail] = config.Key(kindEmail, r.Email.Validate())
	}
	if r.Webhook != nil {
		blocks[kindWebhook] = config.Key(kindWebhook, r.Webhook.Validate())
	}
	if r.Alertmanager != nil {
		blocks[kindAlertmanager] = config.Key(kindAlertmanager, r.Alertmanager.Validate())
	}
	mistakes, there := blocks[r.Kind]
	if !there {
		mistakes = fmt.Errorf("%s: missing; a receiver of this kind needs it", r.Kind)
	}
	if len(blocks) > 1 || len(blocks) == 1 && !there {
		mistakes = errors.Join(mistakes, fmt.Errorf("kind: %s, so that the block of another kind says nothing", r.Kind))
	}
	return mistakes
}
