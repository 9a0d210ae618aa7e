package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/broker"
	spcommand "github.com/wattline/wattline/cloud/components/sp_command"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/hooks/republish"
	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
)

// Config gathers the settings of the parts; each is declared in its part's
// package.
type Config struct {
	// Data is the directory of everything the cloud keeps.
	Data string `yaml:"data"`
	// MQTT is an external broker; without a URL the embedded one, Broker, is used.
	MQTT   MQTT          `yaml:"mqtt"`
	Broker broker.Config `yaml:"broker"`
	// Influx is an external InfluxDB; without a URL the embedded one, InfluxD, is
	// used.
	Influx    influx.Config    `yaml:"influx"`
	InfluxD   influxd.Config   `yaml:"influxd"`
	Registry  registry.Config  `yaml:"registry"`
	SPCommand spcommand.Config `yaml:"sp_command"`
	HTTP      api.HTTP         `yaml:"http"`
	IoToad    api.IoToad       `yaml:"iotoad"`
	// InfluxData limits what one source may use of the storage.
	InfluxData influxdata.Config `yaml:"influx_data"`
	// Republish says what is measured in plain words, and to Home Assistant.
	Republish republish.Config `yaml:"republish"`
	// Webhook delivers what is stored to receivers over HTTP.
	Webhook webhook.Config `yaml:"webhook"`
	// Alerting tells people what is wrong.
	Alerting alerting.Config `yaml:"alerting"`
	// Backup copies all of it to where it can be brought back from.
	Backup backup.Config `yaml:"backup"`
	// Copies names further databases that get what goes into one.
	Copies map[string][]string `yaml:"copies"`
}

// MQTT is how to reach an external broker.
type MQTT struct {
	URL      string        `yaml:"url"`
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password"`
	// TLS is for a tls:// URL: the authority of the broker, and the certificate of
	// a role where the broker wants one.
	TLS pki.Files `yaml:"tls"`
}

// DefaultConfig holds every default: all embedded, all on loopback.
func DefaultConfig() Config {
	door := api.DefaultConfig()
	c := Config{
		Data: "var/cloud", Broker: broker.DefaultConfig(), Influx: influx.DefaultConfig(), InfluxD: influxd.DefaultConfig(),
		Registry: registry.DefaultConfig(), SPCommand: spcommand.DefaultConfig(), HTTP: door.HTTP, IoToad: door.IoToad,
		InfluxData: influxdata.DefaultConfig(), Republish: republish.DefaultConfig(), Webhook: webhook.DefaultConfig(),
		Alerting: alerting.DefaultConfig(), Backup: backup.DefaultConfig(),
	}
	if c.InfluxD.Dir == "" {
		c.InfluxD.Dir = "influxdb"
	}
	return c
}

// Validate names every mistake by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("data: required"))
	}
	if c.MQTT.URL != "" {
		if err := (bus.Options{URL: c.MQTT.URL}).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("mqtt.url: %w", err))
		}
	}
	errs = append(errs, config.Key("mqtt.tls", c.MQTT.TLS.Validate()), config.Key("broker", c.Broker.Validate()), config.Key("influxd", c.InfluxD.Validate()),
		config.Key("registry", c.Registry.Validate()), config.Key("sp_command", c.SPCommand.Validate()), config.Key("http", c.HTTP.Validate()),
		config.Key("iotoad", c.IoToad.Validate()), config.Key("influx_data", c.InfluxData.Validate()), config.Key("republish", c.Republish.Validate()),
		config.Key("webhook", c.Webhook.Validate()), config.Key("alerting", c.Alerting.Validate()),
		config.Key("backup", c.Backup.Validate()))
	if c.Influx.URL != "" {
		errs = append(errs, config.Key("influx", c.Influx.Validate()))
	}
	for from, list := range c.Copies {
		for _, name := range append([]string{from}, list...) {
			if _, err := influxdata.Database(name); err != nil {
				errs = append(errs, fmt.Errorf("copies.%s: %w", from, err))
			}
		}
		if slices.Contains(list, from) {
			errs = append(errs, fmt.Errorf("copies.%s: a copy of itself", from))
		}
	}
	return errors.Join(errs...)
}

// Check finds mistakes that the settings alone do not show: in the inventory,
// and in what the roles of a process need of each other. It opens nothing else.
// found says in words what is in the inventory, where one of the roles reads it.
func (c *Config) Check(roles []Role) (found string, err error) {
	has := func(role Role) bool { return slices.Contains(roles, role) }
	var errs []error
	if (has(RoleHooks) || has(RoleComponents)) && !has(RoleInflux) && c.Influx.URL == "" {
		errs = append(errs, errors.New("influx.url: the roles hooks and components need it where the role influx does not run"))
	}
	if has(RoleWebhook) && len(c.Webhook.Receivers) > 0 && !has(RoleInflux) && c.Influx.URL == "" {
		errs = append(errs, errors.New("influx.url: the role webhook needs it where the role influx does not run"))
	}
	if has(RoleBackup) && c.Backup.Directory != "" {
		if !has(RoleInflux) && c.Influx.URL == "" {
			errs = append(errs, errors.New("influx.url: the role backup needs it where the role influx does not run"))
		}
		_, _, err := c.backupTimes()
		errs = append(errs, err)
	}
	if has(RoleRegistry) && !registry.Exists(c.Data) {
		first, err := inventory.Load(c.Registry.Inventory)
		switch {
		case c.Registry.Inventory == "" || errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("registry.inventory: there is no site below %s yet: make one with wattline-cloud init, or name a first inventory here (%w)", c.Data, err))
		case err != nil:
			errs = append(errs, fmt.Errorf("registry.inventory: %w", err))
		default:
			found = fmt.Sprintf(", and so is %s: %d gateways", c.Registry.Inventory, len(first.Gateways))
		}
	}
	if has(RoleAPI) {
		errs = append(errs, c.checkDoor())
	}
	return found, errors.Join(errs...)
}

// path puts a relative path below the data directory.
func (c *Config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Data, name)
}

// RoleNames lists all roles as ParseRoles reads them.
func RoleNames() string {
	var names []string
	for _, role := range Roles() {
		names = append(names, string(role))
	}
	return strings.Join(names, ", ")
}

// ParseRoles reads a list such as "api,hooks"; "" and "all" mean all roles.
func ParseRoles(list string) ([]Role, error) {
	if list == "" || list == "all" {
		return Roles(), nil
	}
	var roles []Role
	for name := range strings.SplitSeq(list, ",") {
		role := Role(strings.TrimSpace(name))
		if !slices.Contains(Roles(), role) {
			return nil, fmt.Errorf("no role %q; there are %s", role, RoleNames())
		}
		roles = append(roles, role)
	}
	return roles, nil
}
