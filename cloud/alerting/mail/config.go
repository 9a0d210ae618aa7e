package mail

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
)

// Config is the block email of a receiver. What is left out has the value of
// [DefaultConfig].
type Config struct {
	// Server is host:port of the mail server.
	Server string `yaml:"server"`
	// Security is starttls, tls (from the first byte, usually port 465) or none.
	// Left out it is starttls, and none where Server is this machine by number or as
	// localhost.
	Security string `yaml:"security"`
	// Username and Password log in; without them nobody does. Auth is plain or
	// login; left out it is what the server offers of them, plain first.
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password"`
	Auth     string        `yaml:"auth"`
	// CA is a PEM file with the authorities that the server may have its
	// certificate from; left out, those of the system.
	CA string `yaml:"ca"`
	// From and To are addresses as in a mail program: "Wattline <w@example.org>".
	From string   `yaml:"from"`
	To   []string `yaml:"to"`
	// Hello is how this machine introduces itself (EHLO); a strict server wants a
	// name that resolves.
	Hello string `yaml:"hello"`
	// ConnectTimeout bounds connecting, CommandTimeout the answer to each command,
	// Timeout the whole conversation.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	CommandTimeout time.Duration `yaml:"command_timeout"`
	Timeout        time.Duration `yaml:"timeout"`
}

// The values of Security and Auth.
const (
	StartTLS = "starttls"
	TLS      = "tls"
	None     = "none"
	Plain    = "plain"
	Login    = "login"
)

// maxRecipients of one receiver; every server takes 100 (RFC 5321 section
// 4.5.3.1.8).
const maxRecipients = 50

// DefaultConfig holds the values of what is left out.
func DefaultConfig() Config {
	return Config{
		Security: StartTLS, Hello: "localhost",
		ConnectTimeout: 10 * time.Second, CommandTimeout: 30 * time.Second, Timeout: 3 * time.Minute,
	}
}

// filled has the default in place of what was left out.
func (c Config) filled() Config {
	d := DefaultConfig()
	if c.Security == "" && c.local() {
		d.Security = None
	}
	c.Security = cmp.Or(c.Security, d.Security)
	c.Hello = cmp.Or(c.Hello, d.Hello)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, d.ConnectTimeout)
	c.CommandTimeout = cmp.Or(c.CommandTimeout, d.CommandTimeout)
	c.Timeout = cmp.Or(c.Timeout, d.Timeout)
	return c
}

// local reports whether the server is this machine, by an address that can be no
// other.
func (c *Config) local() bool {
	host, _, err := net.SplitHostPort(c.Server)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// Validate names every mistake by key. It reads the file ca.
func (c *Config) Validate() error {
	f := c.filled()
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	f.checkServer(wrong)
	f.checkLogin(wrong)
	f.checkPeople(wrong)
	if !plain(f.Hello) || strings.ContainsAny(f.Hello, " <>") || len(f.Hello) > 255 {
		wrong("hello", "want the name of this machine, as host.example.org")
	}
	for _, limit := range []struct {
		key         string
		least, most time.Duration
		value       time.Duration
	}{
		{"connect_timeout", 100 * time.Millisecond, 2 * time.Minute, f.ConnectTimeout},
		{"command_timeout", 100 * time.Millisecond, 5 * time.Minute, f.CommandTimeout},
		{"timeout", time.Second, 15 * time.Minute, f.Timeout},
	} {
		if limit.value < limit.least || limit.value > limit.most {
			wrong(limit.key, "%v is not within %v to %v", limit.value, limit.least, limit.most)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkServer(wrong func(key, format string, args ...any)) {
	host, port, err := net.SplitHostPort(c.Server)
	if number, _ := strconv.Atoi(port); err != nil || host == "" || number < 1 || number > 65535 || !plain(host) {
		wrong("server", "want host:port, as mail.example.org:587")
	}
	if !slices.Contains([]string{StartTLS, TLS, None}, c.Security) {
		wrong("security", "%.40q is none of starttls, tls, none", c.Security)
	}
	if c.CA == "" {
		return
	}
	if text, err := pki.ReadFile(c.CA); err != nil {
		wrong("ca", "%w", err)
	} else if _, err := pki.Pool(text); err != nil {
		wrong("ca", "%s: %w", c.CA, err)
	}
}

func (c *Config) checkLogin(wrong func(key, format string, args ...any)) {
	switch {
	case c.Username == "" && c.Password != "":
		wrong("username", "there is a password, and nobody it belongs to")
	case c.Username != "" && c.Password == "":
		wrong("password", "required with a username")
	case c.Username != "" && c.Security == None && !c.local():
		wrong("security", "a password goes over TLS only: want starttls or tls, or no username")
	}
	if !slices.Contains([]string{"", Plain, Login}, c.Auth) {
		wrong("auth", "%.40q is neither plain nor login", c.Auth)
	}
	if strings.ContainsAny(c.Username+c.Password.Reveal(), "\x00\r\n") {
		wrong("password", "it or the username has a character that ends lines")
	}
}

func (c *Config) checkPeople(wrong func(key, format string, args ...any)) {
	if _, err := address(c.From); err != nil {
		wrong("from", "%w", err)
	}
	if len(c.To) == 0 {
		wrong("to", "required")
	}
	if len(c.To) > maxRecipients {
		wrong("to", "%d recipients, at most %d: give them a common address", len(c.To), maxRecipients)
	}
	seen := make(map[string]bool)
	for i, text := range c.To {
		a, err := address(text)
		switch {
		case err != nil:
			wrong(fmt.Sprintf("to[%d]", i), "%w", err)
		case seen[strings.ToLower(a.Address)]:
			wrong(fmt.Sprintf("to[%d]", i), "%s is there twice", a.Address)
		default:
			seen[strings.ToLower(a.Address)] = true
		}
	}
}

// address reads an address that any server takes: other characters than ASCII
// need SMTPUTF8 of every server on the way.
func address(text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%.80q is no address, as Name <name@example.org>", text)
	case !plain(a.Address) || strings.ContainsAny(a.Address, " <>\"") || len(a.Address) > 254:
		return nil, fmt.Errorf("%.80q: want an address of plain ASCII", text)
	}
	return a, nil
}

// plain reports whether a text is not empty and printable ASCII.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
