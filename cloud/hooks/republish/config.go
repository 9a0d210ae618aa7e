package republish

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/bus"
)

// Config is what an operator may set.
type Config struct {
	Enabled bool `yaml:"enabled"`
	// Prefix is the beginning of the topics, one or more levels.
	Prefix string `yaml:"prefix"`
	// Rate is how many messages are published a second at most, 1 to 1,000,000, by
	// each replica, announcements before values. Where more is measured each topic
	// has its turn, with what is newest then.
	Rate          int           `yaml:"rate"`
	HomeAssistant HomeAssistant `yaml:"home_assistant"`
}

// HomeAssistant makes it find the plugs and lets it switch them. Whoever may
// publish below Prefix at the broker can then switch, as far as places are not
// protected.
type HomeAssistant struct {
	Enabled bool `yaml:"enabled"`
	// Prefix is the discovery prefix that Home Assistant is set to.
	Prefix string `yaml:"prefix"`
}

// DefaultConfig has every default: off.
func DefaultConfig() Config {
	return Config{Prefix: "wattline", Rate: 5000, HomeAssistant: HomeAssistant{Prefix: "homeassistant"}}
}

// taken are the families of the bus.
var taken = []string{"data", "query", "command", "responses", "state", "gateways", "registry", "alerts"}

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	var errs []error
	if err := checkPrefix(c.Prefix); err != nil {
		errs = append(errs, fmt.Errorf("prefix: %w", err))
	}
	if err := checkPrefix(c.HomeAssistant.Prefix); err != nil {
		errs = append(errs, fmt.Errorf("home_assistant.prefix: %w", err))
	}
	if c.Rate < 1 || c.Rate > 1_000_000 {
		errs = append(errs, fmt.Errorf("rate: %d is not between 1 and 1000000 messages a second", c.Rate))
	}
	within := func(a, b string) bool { return strings.HasPrefix(a+"/", b+"/") }
	if h := c.HomeAssistant.Prefix; within(h, c.Prefix) || within(c.Prefix, h) {
		errs = append(errs, errors.New("home_assistant.prefix: one prefix must not lie below the other"))
	}
	if c.HomeAssistant.Enabled && !c.Enabled {
		errs = append(errs, errors.New("home_assistant.enabled: it needs republish.enabled"))
	}
	return errors.Join(errs...)
}

func checkPrefix(prefix string) error {
	if err := bus.CheckTopic(prefix); err != nil {
		return err
	}
	if len(prefix) > 128 {
		return errors.New("it is longer than 128 bytes")
	}
	if first, _, _ := strings.Cut(prefix, "/"); slices.Contains(taken, first) {
		return fmt.Errorf("%s/ is a family of the bus: choose another, such as wattline", first)
	}
	return nil
}

func (c *Config) value(device, measurement string) string {
	return c.Prefix + "/" + device + "/" + measurement
}
func (c *Config) command(device string) string { return c.value(device, set) }
func (c *Config) online(gateway string) string {
	return c.Prefix + "/gateways/" + gateway + "/availability"
}
func (c *Config) own() string { return c.Prefix + "/availability" }

// discovery is the topic of a place's entities. A point must not be in it; the
// underscore cannot make two ids one, for an id has exactly one before its first
// point.
func (c *Config) discovery(device string) string {
	return c.HomeAssistant.Prefix + "/device/" + objectID(device) + "/config"
}

const objectPrefix = "wattline_"

func objectID(device string) string { return objectPrefix + strings.ReplaceAll(device, ".", "_") }
