package gateway

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wattline/wattline/edge/enrolment"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// Config is the file of one gateway: what the box itself must know. Its plugs
// come from the cloud.
type Config struct {
	// Gateway is the id given at enrolment; it never changes.
	Gateway string `yaml:"gateway"`
	// Data is the directory of everything the gateway keeps.
	Data   string `yaml:"data"`
	Broker Broker `yaml:"broker"`
	// Enrolment is how the box becomes one that the site trusts.
	Enrolment enrolment.Config `yaml:"enrolment"`
	Outbox    outbox.Config    `yaml:"outbox"`
	Status    status.Config    `yaml:"status"`
	// Clock says when the system clock is to be trusted: system or ntp.
	Clock ClockMode `yaml:"clock"`
	// CatchUp limits the draining of a backlog, in readings per second; 0 is no
	// limit.
	CatchUp float64 `yaml:"catch_up_readings_per_second"`
}

// Broker is how to reach the cloud's broker.
type Broker struct {
	URL      string        `yaml:"url"`
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password"`
	// TLS is for a tls:// URL. A box that enrols needs none of it: it has its own
	// certificate, and CA is that of the enrolment unless it is set here.
	TLS pki.Files `yaml:"tls"`
}

func (b Broker) options(clientID string) bus.Options {
	return bus.Options{URL: b.URL, ClientID: clientID, Username: b.Username, Password: b.Password.Reveal()}
}

// DefaultConfig holds every default; the gateway's id has none.
func DefaultConfig() Config {
	return Config{
		Data: "var/edge", Broker: Broker{URL: "tcp://127.0.0.1:1883"}, Outbox: outbox.DefaultConfig(), Status: status.DefaultConfig(), Clock: ClockSystem,
	}
}

// Validate names every mistake by key.
func (c Config) Validate() error {
	var errs []error
	if !contract.IsGatewayID(c.Gateway) {
		errs = append(errs, fmt.Errorf("gateway: %q: a lower-case letter, then up to 62 lower-case letters, digits, _ or -, as in edge-f2", c.Gateway))
	}
	if c.Data == "" {
		errs = append(errs, errors.New("data: required"))
	}
	if err := (bus.Options{URL: c.Broker.URL}).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("broker.url: %w", err))
	}
	if c.Enrolment.Enabled() && c.Broker.TLS.Cert == "" && !strings.HasPrefix(c.Broker.URL, "tls://") {
		errs = append(errs, fmt.Errorf("broker.url: %q: a box that enrols shows its certificate to the broker: tls://host:8883", c.Broker.URL))
	}
	if c.CatchUp < 0 {
		errs = append(errs, fmt.Errorf("catch_up_readings_per_second: %v is negative; 0 means no limit", c.CatchUp))
	}
	errs = append(errs, config.Key("outbox", c.Outbox.Validate()), config.Key("status", c.Status.Validate()),
		config.Key("broker.tls", c.Broker.TLS.Validate()), config.Key("enrolment", c.Enrolment.Validate()))
	return errors.Join(errs...)
}
