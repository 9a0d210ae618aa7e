package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/pki"
)

// Error is why somebody has not been told.
type Error struct {
	refused bool
	told    int // who has the message
	cause   error
}

// Error names the server's answers, and never a password.
func (e *Error) Error() string {
	text := "send mail: " + wording.Shorten(wording.Line(e.cause.Error()), 500)
	if e.told > 0 {
		text += fmt.Sprintf(" (%d others have it)", e.told)
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Refused says that to send the message again would get the same answer.
func (e *Error) Refused() bool { return e.refused }

// Sender sends to the recipients of one receiver. Safe for concurrent use.
type Sender struct {
	cfg      Config
	tls      *tls.Config
	zone     func() *time.Location
	log      *slog.Logger
	from     *mail.Address
	to       []*mail.Address
	patience time.Duration

	mu        sync.Mutex        // guards what follows
	told      []progress        // of messages that not all have, the oldest first
	unreached map[string]string // recipients who did not get the last message, and why
}

// progress is how far a message has come.
type progress struct {
	key   string
	since time.Time // of the first attempt
	has   []string  // addresses that the server has taken it for
}

// maxProgress bounds how many messages may be under way; a queue sends one at a
// time.
const maxProgress = 16

// patience is how long the others wait for a recipient whom the server wants to
// hear of later: greylisting takes minutes.
const patience = 15 * time.Minute

// New allocates a sender; it reads the CA file and touches no network. zone gives
// the site's time zone whenever a message is written; nil means UTC.
func New(cfg Config, zone func() *time.Location, log *slog.Logger) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.filled()
	host, _, _ := net.SplitHostPort(cfg.Server)
	s := &Sender{
		cfg: cfg, zone: zone, log: log, patience: patience, unreached: make(map[string]string),
		tls: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12},
	}
	if zone == nil {
		s.zone = func() *time.Location { return time.UTC }
	}
	if cfg.CA != "" {
		text, err := pki.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if s.tls.RootCAs, err = pki.Pool(text); err != nil {
			return nil, fmt.Errorf("ca: %s: %w", cfg.CA, err)
		}
	}
	s.from, _ = address(cfg.From)
	for _, text := range cfg.To {
		a, _ := address(text)
		s.to = append(s.to, a)
	}
	return s, nil
}

// Send gives the message to the mail server for everybody who does not have it.
// nil means that the server has taken it for all who can be reached, one at least;
// anything else is an [*Error]. It takes no longer than the configured timeout,
// less if ctx ends sooner.
func (s *Sender) Send(ctx context.Context, m notify.Message) error {
	p := s.recall(m.Key)
	err := s.deliver(ctx, m, &p)
	if err == nil {
		s.forget(m.Key)
		return nil
	}
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		failure = &Error{cause: err}
	}
	failure.told = len(p.has)
	s.remember(p)
	return failure
}

// Unreached names the recipients whom the server refused while others were told,
// with its answers. It is empty again when they are accepted.
func (s *Sender) Unreached() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.unreached)
}

// deliver has one conversation for all who are still without the message.
func (s *Sender) deliver(ctx context.Context, m notify.Message, p *progress) error {
	var to []string
	for _, a := range s.to {
		if !slices.Contains(p.has, a.Address) {
			to = append(to, a.Address)
		}
	}
	text, err := s.render(m)
	if err != nil {
		return &Error{refused: true, cause: err}
	}
	v, err := s.dial(ctx)
	if err != nil {
		return because(ctx, err)
	}
	defer v.hangUp()
	answers, err := v.offer(s.from.Address, to)
	if err != nil {
		return judge(because(ctx, err))
	}
	taken := slices.DeleteFunc(to, func(r string) bool { return answers[r] != nil })
	if len(taken) > 0 {
		if err := v.hand(text); err != nil {
			return judge(because(ctx, err))
		}
		p.has = append(p.has, taken...)
	}
	v.bye()
	return s.settle(ctx, answers, p)
}

// settle decides what the server's answers about recipients mean.
func (s *Sender) settle(ctx context.Context, answers map[string]error, p *progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost, later []string
	for _, recipient := range slices.Sorted(maps.Keys(answers)) {
		answer := answers[recipient]
		_, known := s.unreached[recipient]
		line := fmt.Sprintf("RCPT TO %s: %v", recipient, answer)
		switch {
		case answer == nil:
			delete(s.unreached, recipient)
		case forEver(answer), len(p.has) > 0 && (known || time.Since(p.since) > s.patience):
			lost = append(lost, line)
		default:
			later = append(later, line)
		}
	}
	switch {
	case len(later) > 0:
		return &Error{cause: errors.New(strings.Join(later, "; "))}
	case len(lost) > 0 && len(p.has) == 0:
		return &Error{refused: true, cause: errors.New(strings.Join(lost, "; "))}
	}
	s.giveUp(ctx, answers)
	return nil
}

// giveUp keeps in mind who was refused, and says it the first time.
func (s *Sender) giveUp(ctx context.Context, answers map[string]error) {
	for recipient, answer := range answers {
		if answer == nil {
			continue
		}
		text := wording.Shorten(wording.Line(answer.Error()), 200)
		if _, known := s.unreached[recipient]; !known {
			s.log.WarnContext(ctx, "recipient refused by the mail server; the others were told",
				slog.String("recipient", recipient), slog.String("err", text))
		}
		s.unreached[recipient] = text
	}
}

// forEver tells the answers to RCPT that will not change. 552 is what old servers
// say to too many recipients, or of a full mailbox (RFC 5321 section 4.5.3.1.10).
func forEver(err error) bool { return final(err) && code(err) != 552 }

// judge marks what the server said to the message as final or not.
func judge(err error) error { return &Error{refused: final(err), cause: err} }

// final tells the answers that will not change by themselves. 502, 503 and 530 to
// 538 are about who sends and how (RFC 5321 section 4.2.2, RFC 4954): a person
// mends that, and then the message goes.
func final(err error) bool {
	c := code(err)
	return c >= 500 && c != 502 && c != 503 && (c < 530 || c > 538)
}

// code is the number of a server's answer, 0 where there was none.
func code(err error) int {
	if answer, ok := errors.AsType[*textproto.Error](err); ok && answer.Code >= 400 && answer.Code < 600 {
		return answer.Code
	}
	return 0
}

// because says that ctx ended where the connection's error only follows from it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// recall gives how far a message has come.
func (s *Sender) recall(key string) progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.told {
		if p.key == key {
			return progress{key: key, since: p.since, has: slices.Clone(p.has)}
		}
	}
	return progress{key: key, since: time.Now()}
}

// remember keeps who has the message, as long as it will be sent again.
func (s *Sender) remember(p progress) {
	s.forget(p.key)
	if len(p.has) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) == maxProgress {
		s.told = slices.Delete(s.told, 0, 1)
	}
	s.told = append(s.told, p)
}

func (s *Sender) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = slices.DeleteFunc(s.told, func(old progress) bool { return old.key == key })
}
