package mail_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/wattline/wattline/cloud/alerting/mail"
)

// mailbox is the backend of a server that others have written, which takes what
// conforms and nothing else.
type mailbox struct {
	mu      sync.Mutex // guards what follows
	user    string
	options []smtp.MailOptions
	letters []letter
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: b}, nil }

type session struct {
	box  *mailbox
	user string
	l    letter
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

func (s *session) Auth(method string) (sasl.Server, error) {
	check := func(user, password string) error {
		if password != "geheim-7" {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}
	if method == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	if s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.l.from = from
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.options = append(s.box.options, *options)
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == cleo {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.l.to = append(s.l.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.l.data = string(text)
	s.box.letters, s.box.user = append(s.box.letters, s.l), s.user
	return nil
}

func (s *session) Reset()        { s.l = letter{} }
func (s *session) Logout() error { return nil }

// loginServer asks as the servers do that want LOGIN.
type loginServer struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *loginServer) Next(answer []byte) ([]byte, bool, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	case 3:
		return nil, true, l.check(l.user, string(answer))
	}
	return nil, true, errors.New("asked too often")
}

func TestAServerOfOthersTakesTheMessage(t *testing.T) {
	for _, c := range []struct{ security, auth string }{{mail.StartTLS, mail.Plain}, {mail.TLS, mail.Login}, {mail.StartTLS, ""}} {
		t.Run(c.security+" "+c.auth, func(t *testing.T) {
			loan := newServer(t, nil) // for its certificate
			box := &mailbox{}
			srv := smtp.NewServer(box)
			srv.Domain, srv.ReadTimeout, srv.WriteTimeout, srv.EnableSMTPUTF8 = "mail.test", 10*time.Second, 10*time.Second, true
			srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{loan.cert}}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := listener.Addr().String()
			if c.security == mail.TLS {
				listener = tls.NewListener(listener, srv.TLSConfig)
			}
			var done sync.WaitGroup
			done.Go(func() { _ = srv.Serve(listener) })
			defer done.Wait()
			defer srv.Close()

			configure := func(cfg *mail.Config) {
				cfg.Server, cfg.CA, cfg.Security, cfg.Auth, cfg.CommandTimeout = address, loan.ca, c.security, c.auth, 5*time.Second
			}
			sender := newSender(t, loan, configure)
			if err := sender.Send(t.Context(), alarm()); err != nil {
				t.Fatal(err)
			}
			box.mu.Lock()
			if len(box.letters) != 1 || box.user != "wattline" || recipients(box.letters[0]) != anna+" "+ben {
				t.Errorf("letters %v of %q", box.letters, box.user)
			}
			if len(box.options) != 1 || box.options[0].UTF8 {
				t.Errorf("options %+v: the message is said to need SMTPUTF8, which the next server may not have", box.options)
			}
			if s := parse(t, box.letters[0].data); !strings.Contains(s.plain, "Küche") {
				t.Errorf("text %q", s.plain)
			}
			box.mu.Unlock()
			wrong := newSender(t, loan, func(cfg *mail.Config) { configure(cfg); cfg.Password = "other" })
			if err := wrong.Send(t.Context(), alarm()); err == nil || refused(err) || !strings.Contains(err.Error(), "535") {
				t.Errorf("wrong password: %v", err)
			}
			nobody := newSender(t, loan, func(cfg *mail.Config) { configure(cfg); cfg.Username, cfg.Password = "", "" })
			if err := nobody.Send(t.Context(), alarm()); err == nil || refused(err) {
				t.Errorf("no log-in where one is wanted: %v", err)
			}
		})
	}
}
