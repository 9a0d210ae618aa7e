package api

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wattline/wattline/shared/config"
)

// Config is what an operator sets.
type Config struct {
	HTTP   HTTP   `yaml:"http"`
	IoToad IoToad `yaml:"iotoad"`
}

// HTTP is how the api listens.
type HTTP struct {
	// Listen is host:port; an empty host means all addresses, port 0 a free one.
	Listen string `yaml:"listen"`
	// BodyLimit and HeaderLimit bound a request, in bytes.
	BodyLimit   int `yaml:"body_limit"`
	HeaderLimit int `yaml:"header_limit"`
	// ReadTimeout is the time to send a whole request, IdleTimeout that between
	// two requests of a connection, WriteTimeout that without any progress in
	// taking an answer.
	ReadTimeout  time.Duration `yaml:"read_timeout"`
	IdleTimeout  time.Duration `yaml:"idle_timeout"`
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// AnswerTimeout is how long an agent or component may take to answer.
	AnswerTimeout time.Duration `yaml:"answer_timeout"`
	// Connections is how many clients are served at once, Questions how many
	// messages may wait for their answer at once; beyond them clients get 503.
	Connections int `yaml:"connections"`
	Questions   int `yaml:"questions"`
}

// IoToad holds what clients of the predecessor may need.
type IoToad struct {
	// Nanoseconds gives the times of /api/out in nanoseconds instead of seconds.
	Nanoseconds bool `yaml:"nanoseconds"`
}

// DefaultConfig listens on loopback, port 8080.
func DefaultConfig() Config {
	return Config{HTTP: HTTP{
		Listen:        "127.0.0.1:8080",
		BodyLimit:     1 << 20,
		HeaderLimit:   16 << 10,
		ReadTimeout:   10 * time.Second,
		IdleTimeout:   60 * time.Second,
		WriteTimeout:  15 * time.Second,
		AnswerTimeout: 12 * time.Second, // as long as IoToad's clients are used to wait
		Connections:   512,
		Questions:     2048,
	}}
}

// Validate names every setting that cannot work.
func (c Config) Validate() error { return config.Key("http", c.HTTP.Validate()) }

// Validate is [Config.Validate] without the section's name before the keys.
func (h HTTP) Validate() error {
	var errs []error
	if err := checkAddress(h.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	for _, n := range []struct {
		key              string
		value, low, high int
	}{
		{"body_limit", h.BodyLimit, 1 << 10, 16 << 20},
		{"header_limit", h.HeaderLimit, 1 << 10, 1 << 20},
		{"connections", h.Connections, 1, 100_000},
		{"questions", h.Questions, 1, 100_000},
	} {
		if n.value < n.low || n.value > n.high {
			errs = append(errs, fmt.Errorf("%s: %d is not from %d to %d", n.key, n.value, n.low, n.high))
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"read_timeout", h.ReadTimeout},
		{"idle_timeout", h.IdleTimeout},
		{"write_timeout", h.WriteTimeout},
		{"answer_timeout", h.AnswerTimeout},
	} {
		if d.value < 100*time.Millisecond || d.value > 10*time.Minute {
			errs = append(errs, fmt.Errorf("%s: %v is not from 100ms to 10m", d.key, d.value))
		}
	}
	return errors.Join(errs...)
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port, as in 127.0.0.1:8080", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: the port is a number up to 65535", address)
	}
	return nil
}
