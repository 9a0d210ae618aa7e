package post

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
	"github.com/wattline/wattline/shared/webhook"
)

// Config is the block webhook of a receiver. What is left out has the value of
// [DefaultConfig].
type Config struct {
	// URL of the receiver. It is kept like a password: those of chat services are
	// one.
	URL config.Secret `yaml:"url"`
	// Secret signs (whsec_ and base64); without one messages are not signed, which is
	// right for services that know no signatures.
	Secret config.Secret `yaml:"secret"`
	// CA is a PEM file with the authorities that the receiver may have its
	// certificate from; left out, those of the system.
	CA string `yaml:"ca"`
	// Headers are sent along; their values are kept like passwords.
	Headers map[string]config.Secret `yaml:"headers"`
	// ContentType of the body.
	ContentType string `yaml:"content_type"`
	// Template makes the body; without one it is the message as JSON. TemplateFile
	// reads it from a file instead.
	Template     string `yaml:"template"`
	TemplateFile string `yaml:"template_file"`
	// Timeout bounds one attempt.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	jsonType    = "application/json"
	maxHeaders  = 20
	maxValue    = 4096     // bytes of a header
	maxTemplate = 64 << 10 // bytes
)

// ours are headers that are not the operator's to set.
var ours = []string{
	"Content-Type", "Content-Length", "Host", "User-Agent", "Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Expect",
	http.CanonicalHeaderKey(webhook.HeaderID), http.CanonicalHeaderKey(webhook.HeaderTimestamp), http.CanonicalHeaderKey(webhook.HeaderSignature),
}

// DefaultConfig holds the values of what is left out.
func DefaultConfig() Config { return Config{ContentType: jsonType, Timeout: 15 * time.Second} }

func (c *Config) filled() Config {
	f, d := *c, DefaultConfig()
	f.ContentType, f.Timeout = cmp.Or(f.ContentType, d.ContentType), cmp.Or(f.Timeout, d.Timeout)
	return f
}

// Validate names every mistake by key. It reads the files ca and template_file and
// executes the template on samples.
func (c *Config) Validate() error {
	f := c.filled()
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	f.checkReceiver(wrong)
	f.checkHeaders(wrong)
	if _, _, err := mime.ParseMediaType(f.ContentType); err != nil || !strings.Contains(f.ContentType, "/") || strings.ContainsAny(f.ContentType, "\r\n") {
		wrong("content_type", "%.80q is none, as application/json", f.ContentType)
	}
	if f.Timeout < 100*time.Millisecond || f.Timeout > 2*time.Minute {
		wrong("timeout", "%v is not within 100ms to 2m", f.Timeout)
	}
	key := "template"
	if f.TemplateFile != "" {
		key = "template_file"
	}
	if text, err := f.template(); err != nil {
		wrong(key, "%w", err)
	} else if text != "" {
		if _, err := newBody(text, isJSON(f.ContentType), nil); err != nil {
			wrong(key, "%w", err)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkReceiver(wrong func(key, format string, args ...any)) {
	if c.URL == "" {
		wrong("url", "required")
	} else if err := webhook.CheckURL(c.URL.Reveal()); err != nil {
		wrong("url", "%w", err)
	}
	if c.Secret != "" {
		if _, err := webhook.ParseSecret(c.Secret.Reveal()); err != nil {
			wrong("secret", "%w", err)
		}
	}
	if c.CA != "" {
		if text, err := pki.ReadFile(c.CA); err != nil {
			wrong("ca", "%w", err)
		} else if _, err := pki.Pool(text); err != nil {
			wrong("ca", "%s: %w", c.CA, err)
		}
	}
}

func (c *Config) checkHeaders(wrong func(key, format string, args ...any)) {
	if len(c.Headers) > maxHeaders {
		wrong("headers", "%d, at most %d", len(c.Headers), maxHeaders)
	}
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value := c.Headers[name].Reveal()
		key, canonical := "headers."+name, http.CanonicalHeaderKey(name)
		switch {
		case !token(name):
			wrong("headers", "%.80q is no name of a header", name)
		case slices.Contains(ours, canonical):
			wrong(key, "it is not for the configuration to set")
		case seen[canonical]:
			wrong(key, "it is there twice")
		case len(value) > maxValue || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			wrong(key, "its value is longer than %d bytes or has a line break", maxValue)
		case canonical == "Authorization" && c.open():
			wrong(key, "it goes over https only")
		}
		seen[canonical] = true
	}
}

// open reports whether others may listen on the way to the receiver.
func (c *Config) open() bool {
	u, err := url.Parse(c.URL.Reveal())
	return err == nil && u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback()
}

// template is the text of the template, wherever it stands.
func (c *Config) template() (string, error) {
	text := c.Template
	switch {
	case c.Template != "" && c.TemplateFile != "":
		return "", errors.New("want either template or template_file")
	case c.TemplateFile != "":
		if info, err := os.Stat(c.TemplateFile); err != nil {
			return "", err
		} else if !info.Mode().IsRegular() || info.Size() > maxTemplate {
			return "", fmt.Errorf("%s: want a file of at most %d kB", c.TemplateFile, maxTemplate>>10)
		}
		read, err := os.ReadFile(c.TemplateFile)
		if err != nil {
			return "", err
		}
		if text = string(read); strings.TrimSpace(text) == "" {
			return "", fmt.Errorf("%s is empty", c.TemplateFile)
		}
	}
	if len(text) > maxTemplate {
		return "", fmt.Errorf("it has %d bytes, at most %d", len(text), maxTemplate)
	}
	return text, nil
}

// token reports whether a text can name a header (RFC 9110 section 5.6.2).
func token(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isJSON reports whether a content type promises JSON.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == jsonType || strings.HasSuffix(kind, "+json"))
}
