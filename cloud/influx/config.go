package influx

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/wattline/wattline/shared/config"
)

// Config says which InfluxDB to use and how hard. The zero value is not usable;
// start from DefaultConfig.
type Config struct {
	// URL is the root of the server, http or https, such as
	// http://influx.example:8086, with a path where a proxy puts it under one.
	URL string `yaml:"url"`
	// Token is an API token of InfluxDB 2, or user:password of InfluxDB 1.
	Token config.Secret `yaml:"token"`
	// Org is the organization that owns the buckets; InfluxDB 1 ignores it.
	Org string `yaml:"org"`
	// MaxConcurrentWrites and MaxConcurrentQueries bound what is under way at
	// once; further calls wait for their turn or for the end of their context.
	MaxConcurrentWrites  int `yaml:"max_concurrent_writes"`
	MaxConcurrentQueries int `yaml:"max_concurrent_queries"`
	// WriteTimeout bounds each write request, QueryTimeout each wait for the
	// first and for further rows of a query.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	QueryTimeout time.Duration `yaml:"query_timeout"`
}

// DefaultConfig has every default and no server.
func DefaultConfig() Config {
	return Config{
		Org:                  "wattline",
		MaxConcurrentWrites:  4,
		MaxConcurrentQueries: 16,
		WriteTimeout:         30 * time.Second,
		QueryTimeout:         time.Minute,
	}
}

// Validate reports all mistakes at once, by key. An empty URL is no mistake
// here: it asks for the embedded server.
func (c *Config) Validate() error {
	var errs []error
	if c.URL != "" {
		errs = append(errs, checkURL(c.URL))
	}
	if c.MaxConcurrentWrites < 1 || c.MaxConcurrentWrites > 256 {
		errs = append(errs, fmt.Errorf("max_concurrent_writes: %d, want 1 to 256", c.MaxConcurrentWrites))
	}
	if c.MaxConcurrentQueries < 1 || c.MaxConcurrentQueries > 1024 {
		errs = append(errs, fmt.Errorf("max_concurrent_queries: %d, want 1 to 1024", c.MaxConcurrentQueries))
	}
	if c.WriteTimeout < time.Second {
		errs = append(errs, fmt.Errorf("write_timeout: %v is under 1s", c.WriteTimeout))
	}
	if c.QueryTimeout < time.Second {
		errs = append(errs, fmt.Errorf("query_timeout: %v is under 1s", c.QueryTimeout))
	}
	return errors.Join(errs...)
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// url.Error repeats the text, which may hold a password.
		return errors.New("url: want http://host:port or https://host:port")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("url: want http://host:port or https://host:port")
	case u.User != nil:
		return errors.New("url: holds a user; put user:password into token")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("url: want no ? and no #")
	default:
		return nil
	}
}
