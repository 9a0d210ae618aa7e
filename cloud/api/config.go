package api

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	// Tokens says who must show one: "required" everybody, "auto" everybody
	// unless the api listens on loopback.
	Tokens string `yaml:"tokens"`
	TLS    TLS    `yaml:"tls"`
}

// TLS is the server's certificate. Without files, a site that has an authority
// of its own issues one.
type TLS struct {
	// Cert and Key are PEM files; they are read again when they change.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Hosts are the names and addresses in a certificate that the site issues;
	// without any, those of this machine.
	Hosts []string `yaml:"hosts"`
}

// The settings of HTTP.Tokens.
const (
	TokensAuto     = "auto"
	TokensRequired = "required"
)

// TokensNeeded tells whether clients must show a token.
func (h HTTP) TokensNeeded() bool { return h.Tokens == TokensRequired || !h.Loopback() }

// Loopback tells whether only this machine can connect.
func (h HTTP) Loopback() bool {
	host, _, err := net.SplitHostPort(h.Listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// IoToad holds what clients of the predecessor may need.
type IoToad struct {
	// Nanoseconds gives the times of /api/out in nanoseconds instead of seconds.
	Nanoseconds bool      `yaml:"nanoseconds"`
	Anonymous   Anonymous `yaml:"anonymous"`
}

// Anonymous lets clients without a token use the relay, and nothing else.
type Anonymous struct {
	// Networks are those from which they may come, as 192.0.2.0/24 or as one
	// address; none means that nobody may.
	Networks []string `yaml:"networks"`
	// Allow is "read", /api/out, or "control", /api/in as well.
	Allow string `yaml:"allow"`
}

// What Anonymous.Allow may be.
const (
	AllowRead    = "read"
	AllowControl = "control"
)

// Validate names every setting that cannot work, by its key.
func (i IoToad) Validate() error {
	_, err := i.Anonymous.prefixes()
	errs := []error{err}
	switch a := i.Anonymous; {
	case a.Allow != "" && a.Allow != AllowRead && a.Allow != AllowControl:
		errs = append(errs, fmt.Errorf("anonymous.allow: %.40q is neither read nor control", a.Allow))
	case a.Allow == "" && len(a.Networks) > 0:
		errs = append(errs, errors.New("anonymous.allow: required with networks: read or control"))
	case a.Allow != "" && len(a.Networks) == 0:
		errs = append(errs, errors.New("anonymous.networks: required with allow, as in [192.0.2.0/24]"))
	}
	return errors.Join(errs...)
}

// prefixes reads the networks.
func (a Anonymous) prefixes() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	var errs []error
	for _, text := range a.Networks {
		prefix, err := netip.ParsePrefix(text)
		if ip, single := netip.ParseAddr(text); single == nil {
			prefix, err = netip.PrefixFrom(ip.WithZone(""), ip.BitLen()), nil
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("anonymous.networks: %.60q is neither a network such as 192.0.2.0/24 nor an address", text))
		case prefix != prefix.Masked():
			errs = append(errs, fmt.Errorf("anonymous.networks: %s has bits behind its length; %v is meant, or a shorter one", text, prefix.Masked()))
		}
		networks = append(networks, prefix)
	}
	return networks, errors.Join(errs...)
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
		Tokens:        TokensAuto,
	}}
}

// Validate names every setting that cannot work.
func (c Config) Validate() error {
	return errors.Join(config.Key("http", c.HTTP.Validate()), config.Key("iotoad", c.IoToad.Validate()))
}

// Validate is [Config.Validate] without the section's name before the keys.
func (h HTTP) Validate() error {
	var errs []error
	if err := checkAddress(h.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	if h.Tokens != TokensAuto && h.Tokens != TokensRequired {
		errs = append(errs, fmt.Errorf("tokens: %.40q is neither auto nor required", h.Tokens))
	}
	if (h.TLS.Cert == "") != (h.TLS.Key == "") {
		errs = append(errs, errors.New("tls: cert and key go together"))
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
