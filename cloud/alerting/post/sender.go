package post

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/webhook"
)

// attempts of one Send. More would only make the queue, which tries as long as it
// takes, wait here.
const attempts = 2

// Sender posts to one receiver. Safe for concurrent use.
type Sender struct {
	deliver     *webhook.Sender
	body        *body // nil: the message as JSON
	contentType string
	header      map[string]string
}

// Error is a message that the template does not suit. Whatever the receiver says
// is a *webhook.Error.
type Error struct{ cause error }

// Error says what the template made of it.
func (e *Error) Error() string {
	return "write the body by the template: " + wording.Shorten(wording.Line(e.cause.Error()), 300)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Refused is true: the same message would get the same error.
func (e *Error) Refused() bool { return true }

// New allocates a sender; it reads the files of the configuration and touches no
// network. zone gives the site's time zone whenever a message is written; nil means
// UTC.
func New(cfg Config, zone func() *time.Location) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.filled()
	s := &Sender{contentType: cfg.ContentType, header: make(map[string]string, len(cfg.Headers))}
	for name, value := range cfg.Headers {
		s.header[name] = value.Reveal()
	}
	text, err := cfg.template()
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if text != "" {
		if s.body, err = newBody(text, isJSON(cfg.ContentType), zone); err != nil {
			return nil, fmt.Errorf("template: %w", err)
		}
	}
	s.deliver, err = webhook.New(webhook.Options{
		URL: cfg.URL.Reveal(), Secret: cfg.Secret.Reveal(), CA: cfg.CA, Timeout: cfg.Timeout, Attempts: attempts,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Send posts the message. nil means that the receiver answered 2xx; an error with
// Refused() true that it will not take it.
func (s *Sender) Send(ctx context.Context, m notify.Message) error {
	text, err := s.write(m)
	if err != nil {
		return &Error{cause: err}
	}
	return s.deliver.Send(ctx, webhook.Message{ID: id(m.Key), ContentType: s.contentType, Body: text, Header: s.header})
}

// Close ends idle connections. Safe twice.
func (s *Sender) Close() { s.deliver.Close() }

func (s *Sender) write(m notify.Message) ([]byte, error) {
	if s.body != nil {
		return s.body.make(m)
	}
	if m.Items == nil {
		m.Items = []notify.Item{} // a list for everybody who reads it, and not null
	}
	text, err := asJSON(m)
	return []byte(text), err
}

// id is the message's key, in the characters of a webhook-id.
func id(key string) string {
	strange := strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	if !strange && key != "" && len(key) <= 256 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
