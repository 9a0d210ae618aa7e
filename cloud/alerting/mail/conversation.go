package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"time"
)

// maxHeard bounds what a server may say in one conversation, TLS included. An
// honest one needs less than a tenth of it.
const maxHeard = 256 << 10

var errTalkative = fmt.Errorf("the server says more than %d kB", maxHeard>>10)

// bounded is a connection on which nothing takes longer, and nobody says more,
// than was agreed.
type bounded struct {
	net.Conn

	end   time.Time // of the whole conversation
	heard int       // bytes
}

// Read fails once the server has said too much.
func (c *bounded) Read(p []byte) (int, error) {
	left := maxHeard - c.heard
	if left <= 0 {
		return 0, errTalkative
	}
	n, err := c.Conn.Read(p[:min(len(p), left)])
	c.heard += n
	return n, err
}

// within gives what comes next so much time, counted from now and not from each
// byte: a server that drips gets no more than one that is silent.
func (c *bounded) within(limit time.Duration) {
	at := time.Now().Add(limit)
	if at.After(c.end) {
		at = c.end
	}
	_ = c.SetDeadline(at)
}

// conversation is one with the mail server, from dialling to goodbye.
type conversation struct {
	*smtp.Client

	conn *bounded
	cfg  *Config
	free func() bool // ends the watch on ctx
}

// dial connects, greets, encrypts and logs in.
func (s *Sender) dial(ctx context.Context) (_ *conversation, err error) {
	connectCtx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	end := time.Now().Add(s.cfg.Timeout)
	raw, err := (&net.Dialer{}).DialContext(connectCtx, "tcp", s.cfg.Server)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	v := &conversation{conn: &bounded{Conn: raw, end: end}, cfg: &s.cfg}
	// Closing is the only thing that wakes whoever reads, whatever the deadline.
	v.free = context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer func() {
		if err != nil {
			v.hangUp()
		}
	}()
	if err := v.greet(s.tls); err != nil {
		return nil, err
	}
	if err := v.login(); err != nil {
		return nil, err
	}
	return v, nil
}

// greet takes the server's greeting and makes the connection as safe as it has to
// be.
func (v *conversation) greet(settings *tls.Config) error {
	conn := net.Conn(v.conn)
	v.conn.within(v.cfg.CommandTimeout)
	if v.cfg.Security == TLS {
		// The handshake is made here and not at the first read, so that its error is
		// told as what it is.
		secure := tls.Client(conn, settings)
		if err := secure.Handshake(); err != nil { //nolint:noctx // dial closes the connection when ctx ends
			return fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	client, err := smtp.NewClient(conn, settings.ServerName)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	v.Client = client
	v.conn.within(v.cfg.CommandTimeout)
	if err := v.Hello(v.cfg.Hello); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if v.cfg.Security != StartTLS {
		return nil
	}
	if offered, _ := v.Extension("STARTTLS"); !offered {
		return errors.New("the server offers no STARTTLS, and nothing is sent without: " +
			"see that security and the port are right, or that nobody stands between")
	}
	v.conn.within(v.cfg.CommandTimeout)
	if err := v.StartTLS(settings); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	return nil
}

// login says who sends, if somebody is configured.
func (v *conversation) login() error {
	if v.cfg.Username == "" {
		return nil
	}
	_, offered := v.Extension("AUTH")
	method := v.cfg.Auth
	if method == "" {
		method = Plain
		list := strings.Fields(strings.ToUpper(offered))
		if !slices.Contains(list, "PLAIN") && slices.Contains(list, "LOGIN") {
			method = Login
		}
	}
	v.conn.within(v.cfg.CommandTimeout)
	auth := &login{method: method, username: v.cfg.Username, password: v.cfg.Password.Reveal(), local: v.cfg.local()}
	if err := v.Auth(auth); err != nil {
		if c := code(err); c != 0 {
			// Some servers repeat what they were told, in clear or in base64.
			return fmt.Errorf("log in as %s: the server answers %d: see that username and password are right", v.cfg.Username, c)
		}
		return fmt.Errorf("log in as %s: %w", v.cfg.Username, err)
	}
	return nil
}

// command says a line and gives the answer's error.
func (v *conversation) command(expect int, format string, args ...any) error {
	v.conn.within(v.cfg.CommandTimeout)
	id, err := v.Text.Cmd(format, args...)
	if err != nil {
		return err
	}
	v.Text.StartResponse(id)
	defer v.Text.EndResponse(id)
	_, _, err = v.Text.ReadResponse(expect)
	return err
}

// offer names sender and recipients. It gives what the server said of each
// recipient, nil for those it accepts, and an error when nothing more can be said.
//
// MAIL goes without parameters: the message is plain ASCII, and one that says that
// it needs SMTPUTF8 or 8BITMIME would be returned by servers further on.
func (v *conversation) offer(from string, to []string) (map[string]error, error) {
	if err := v.command(250, "MAIL FROM:<%s>", from); err != nil {
		return nil, fmt.Errorf("MAIL FROM %s: %w", from, err)
	}
	answers := make(map[string]error, len(to))
	for _, recipient := range to {
		err := v.command(25, "RCPT TO:<%s>", recipient)
		if err != nil && code(err) == 0 {
			return nil, fmt.Errorf("RCPT TO %s: %w", recipient, err)
		}
		answers[recipient] = err
	}
	return answers, nil
}

// hand over the message itself; nil means that the server answers for it now.
func (v *conversation) hand(text []byte) error {
	v.conn.within(v.cfg.CommandTimeout)
	w, err := v.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	v.conn.within(v.cfg.CommandTimeout)
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	// A server that has the message and is given up becomes a message sent twice, so
	// its last answer may take all the time that is left (RFC 5321 section 4.5.3.2.6).
	v.conn.within(v.cfg.Timeout)
	if err := w.Close(); err != nil {
		return fmt.Errorf("end of the message: %w", err)
	}
	return nil
}

// bye ends a conversation in which all is said; whether the server hears it does
// not matter.
func (v *conversation) bye() {
	v.conn.within(min(v.cfg.CommandTimeout, 2*time.Second))
	_ = v.Quit()
}

// hangUp closes the connection. Safe twice.
func (v *conversation) hangUp() {
	v.free()
	_ = v.conn.Close()
}

// login is PLAIN (RFC 4616) or LOGIN, which has no RFC and which many servers want.
type login struct {
	method             string
	username, password string
	local              bool
}

// Start refuses to tell a password where others may listen.
func (a *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS && !a.local {
		return "", nil, errors.New("the connection is not encrypted")
	}
	if a.method == Login {
		return "LOGIN", nil, nil
	}
	return "PLAIN", []byte("\x00" + a.username + "\x00" + a.password), nil
}

// Next answers what the server asks in LOGIN.
func (a *login) Next(asked []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	question := strings.ToLower(string(asked))
	switch {
	case a.method == Login && strings.HasPrefix(question, "user"):
		return []byte(a.username), nil
	case a.method == Login && strings.HasPrefix(question, "pass"):
		return []byte(a.password), nil
	}
	return nil, errors.New("the server asks what nobody asks at a log-in")
}
