package alertmanager

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
)

// Config is the block alertmanager of a receiver. What is left out has the value
// of [DefaultConfig].
type Config struct {
	// URLs of the instances of one Alertmanager, all of them and no load balancer:
	// http://host:9093, with the path prefix if there is one.
	URLs []string `yaml:"urls"`
	// Username and Password, or Token, go to every instance.
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password"`
	Token    config.Secret `yaml:"token"`
	// CA is a PEM file with the authorities that the instances may have their
	// certificates from; left out, those of the system.
	CA string `yaml:"ca"`
	// Timeout bounds one request.
	Timeout time.Duration `yaml:"timeout"`
}

const maxURLs = 16

// DefaultConfig holds the values of what is left out.
func DefaultConfig() Config { return Config{Timeout: 10 * time.Second} }

// Validate names every mistake by key. It reads the file ca.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	if len(c.URLs) == 0 || len(c.URLs) > maxURLs {
		wrong("urls", "%d, want 1 to %d", len(c.URLs), maxURLs)
	}
	seen := make(map[string]bool)
	for i, text := range c.URLs {
		key := fmt.Sprintf("urls[%d]", i)
		u, err := base(text)
		switch {
		case err != nil:
			wrong(key, "%w", err)
		case seen[u.String()]:
			wrong(key, "it is there twice")
		case c.secret() && u.Scheme == "http" && !loopback(u.Hostname()):
			wrong(key, "a password or token goes over https only")
		default:
			seen[u.String()] = true
		}
	}
	switch {
	case c.Token != "" && (c.Username != "" || c.Password != ""):
		wrong("token", "want either this or username and password")
	case c.Username == "" && c.Password != "":
		wrong("username", "there is a password, and nobody it belongs to")
	case c.Username != "" && c.Password == "":
		wrong("password", "required with a username")
	}
	if strings.Contains(c.Username, ":") || strings.ContainsAny(c.Username+c.Password.Reveal(), "\x00\r\n") {
		wrong("username", "it has a colon, or it or the password a line break") // RFC 7617 section 2
	}
	if strings.ContainsFunc(c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		wrong("token", "it has spaces or other characters that no token has")
	}
	if _, err := c.roots(); err != nil {
		wrong("ca", "%w", err)
	}
	if c.Timeout != 0 && (c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute) {
		wrong("timeout", "%v is not within 100ms to 1m", c.Timeout)
	}
	return errors.Join(errs...)
}

func (c *Config) secret() bool { return c.Username != "" || c.Password != "" || c.Token != "" }

func (c *Config) filled() Config {
	f := *c
	f.Timeout = cmp.Or(f.Timeout, DefaultConfig().Timeout)
	return f
}

// roots reads the authorities; nil are those of the system.
func (c *Config) roots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil //nolint:nilnil // crypto/tls takes nil for the system's
	}
	text, err := pki.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	pool, err := pki.Pool(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.CA, err)
	}
	return pool, nil
}

// base reads the address of an instance; its errors do not repeat it.
func base(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("want http://host:9093 or https://host/prefix")
	case u.User != nil:
		return nil, errors.New("it holds a user: write username and password instead")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("want no ? and no #")
	case strings.Contains(u.Path, "/api/"):
		return nil, errors.New("want the address that people open, without /api/")
	}
	return u, nil
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
