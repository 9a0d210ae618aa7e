package mail_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ notify.Sender = (*mail.Sender)(nil)

const (
	anna = "anna@example.org"
	ben  = "ben@example.org"
	cleo = "cleo@example.org"
)

func newSender(t *testing.T, srv *server, change func(*mail.Config)) *mail.Sender {
	t.Helper()
	cfg := mail.Config{
		Server: srv.addr(), Security: mail.StartTLS, CA: srv.ca, Username: "wattline", Password: "geheim-7",
		From: "Wattline <wattline@example.org>", To: []string{anna, "Ben <" + ben + ">", cleo},
		ConnectTimeout: time.Second, CommandTimeout: 200 * time.Millisecond, Timeout: 2 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := mail.New(cfg, berlin, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refused(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && e.Refused()
}

// recipients of a letter, without brackets.
func recipients(l letter) string {
	return strings.NewReplacer("<", "", ">", "").Replace(strings.Join(l.to, " "))
}

func TestServersThatDoNotAnswerAreLeftInTime(t *testing.T) {
	verbs := []string{"CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT <" + ben + ">", "DATA", "END"}
	for _, verb := range verbs {
		for name, fault := range map[string]string{"stall": stall, "drip": drip, "hang up": hangup, "talk": talk, "garbage": garbage} {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				srv := newServer(t, nil)
				srv.on(verb, fault, fault) // EHLO comes again, as HELO or under TLS
				sender := newSender(t, srv, func(c *mail.Config) {
					if fault == talk { // its length has to be what ends it
						c.CommandTimeout, c.Timeout = time.Minute, time.Minute
					}
				})
				began := time.Now()
				err := sender.Send(t.Context(), alarm())
				if err == nil || refused(err) {
					t.Fatalf("got %v, want an error that is not for ever", err)
				}
				if fault == talk && !strings.Contains(err.Error(), "says more than") {
					t.Errorf("got %v, want that it is cut off before its time is over", err)
				}
				if took := time.Since(began); took > 4*time.Second && fault != talk {
					t.Errorf("it took %v", took)
				}
				srv.on(verb)
				if err := sender.Send(t.Context(), alarm()); err != nil {
					t.Fatalf("when the server is well again: %v", err)
				}
			})
		}
	}
}

func TestAnswersToAnythingButTheMessageMeanLater(t *testing.T) {
	for _, c := range []struct{ verb, answer string }{
		{"CONNECT", "554 go away"},
		{"CONNECT", "421 busy"},
		{"STARTTLS", "454 no TLS now"},
		{"STARTTLS", "554 no TLS ever"},
		{"AUTH", "535 5.7.8 wrong password"},
		{"MAIL", "530 5.7.0 authentication required"},
		{"MAIL", "451 later"},
		{"RCPT <" + anna + ">", "421 closing"},
		{"DATA", "451 no disk"},
		{"END", "451 4.7.1 greylisted"},
	} {
		t.Run(c.verb+" "+c.answer, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, nil)
			srv.on(c.verb, c.answer)
			err := newSender(t, srv, nil).Send(t.Context(), alarm())
			if err == nil || refused(err) || !strings.Contains(err.Error(), c.answer[:3]) {
				t.Errorf("got %v, want %s and not for ever", err, c.answer[:3])
			}
		})
	}
}

func TestAMessageThatIsRefusedIsRefusedForEver(t *testing.T) {
	for verb, answer := range map[string]string{"MAIL": "550 no", "DATA": "554 no", "END": "552 no"} {
		srv := newServer(t, nil)
		srv.on(verb, answer)
		err := newSender(t, srv, nil).Send(t.Context(), alarm())
		if !refused(err) || !strings.Contains(err.Error(), answer[:3]) {
			t.Errorf("%s %s: got %v", verb, answer, err)
		}
	}
}

func TestGreylistedRecipientsGetItLaterAndNobodyTwice(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("RCPT <"+ben+">", "450 4.7.1 greylisted", "450 4.7.1 greylisted")
	sender := newSender(t, srv, nil)
	for range 2 {
		if err := sender.Send(t.Context(), alarm()); err == nil || refused(err) || !strings.Contains(err.Error(), "2 others have it") {
			t.Fatalf("got %v, want later", err)
		}
	}
	if err := sender.Send(t.Context(), alarm()); err != nil {
		t.Fatal(err)
	}
	letters := srv.taken()
	if len(letters) != 2 || recipients(letters[0]) != anna+" "+cleo || recipients(letters[1]) != ben {
		t.Fatalf("letters to %v", letters)
	}
	if letters[0].data != letters[1].data {
		t.Error("the second one is another message")
	}
	// Another message goes to all again.
	if err := sender.Send(t.Context(), recovery()); err != nil {
		t.Errorf("next message: %v", err)
	}
	if l := srv.taken()[2]; recipients(l) != anna+" "+ben+" "+cleo {
		t.Errorf("next message to %v", l.to)
	}
}

func TestOneRefusedRecipientKeepsItFromNobody(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("RCPT <"+cleo+">", "550 5.1.1 no such user", "550 5.1.1 no such user")
	sender := newSender(t, srv, nil)
	for range 2 {
		if err := sender.Send(t.Context(), alarm()); err != nil {
			t.Fatalf("the others have it, and yet %v", err)
		}
		if why := sender.Unreached()[cleo]; !strings.Contains(why, "no such user") {
			t.Errorf("unreached: %v", sender.Unreached())
		}
	}
	if err := sender.Send(t.Context(), recovery()); err != nil || len(sender.Unreached()) > 0 {
		t.Errorf("when the mailbox is there: %v, unreached %v", err, sender.Unreached())
	}
}

func TestNobodyWaitsLongForOneWhoIsAskedToComeLater(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("RCPT <"+ben+">", "450 later", "450 later", "450 later")
	sender := newSender(t, srv, nil)
	if err := sender.Send(t.Context(), alarm()); err == nil {
		t.Fatal("nobody waits for greylisting")
	}
	sender.SetPatience(0)
	if err := sender.Send(t.Context(), alarm()); err != nil {
		t.Fatalf("patience is over, and yet %v", err)
	}
	sender.SetPatience(time.Hour)
	if err := sender.Send(t.Context(), recovery()); err != nil || sender.Unreached()[ben] == "" {
		t.Errorf("the next message waits for him: %v", err)
	}
	if n := len(srv.taken()); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}

func TestAllRecipientsRefusedIsForEver(t *testing.T) {
	srv := newServer(t, nil)
	for _, r := range []string{anna, ben, cleo} {
		srv.on("RCPT <"+r+">", "550 no")
	}
	err := newSender(t, srv, nil).Send(t.Context(), alarm())
	if !refused(err) || srv.heard("DATA") > 0 {
		t.Errorf("got %v", err)
	}
}

func TestALostAnswerGivesTheSameMessageAgain(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("END", hangup)
	if err := newSender(t, srv, nil).Send(t.Context(), alarm()); err == nil {
		t.Fatal("no error, though nobody said that it was taken")
	}
	// Another process after a restart.
	if err := newSender(t, srv, nil).Send(t.Context(), alarm()); err != nil {
		t.Fatal(err)
	}
	letters := srv.taken()
	if len(letters) != 2 || letters[0].data != letters[1].data {
		t.Errorf("%d letters, want two that are the same", len(letters))
	}
	if id := parse(t, letters[0].data).header.Get("Message-Id"); !strings.HasSuffix(id, "@example.org>") {
		t.Errorf("Message-ID %q", id)
	}
}

func TestNothingIsSaidWithoutTLS(t *testing.T) {
	for name, c := range map[string]struct {
		server func(*server)
		config func(*mail.Config)
		want   string
	}{
		"no STARTTLS offered":           {func(s *server) { s.plain = true }, nil, "STARTTLS"},
		"a certificate nobody knows":    {nil, func(c *mail.Config) { c.CA = "" }, "certificate"},
		"the certificate of another":    {nil, func(c *mail.Config) { c.Server = strings.Replace(c.Server, "127.0.0.1", "localhost", 1) }, "certificate"},
		"unknown certificate from byte": {func(s *server) { s.implicit = true }, func(c *mail.Config) { c.CA, c.Security = "", mail.TLS }, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, c.server)
			err := newSender(t, srv, c.config).Send(t.Context(), alarm())
			if err == nil || refused(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if n := srv.heard("AUTH") + srv.heard("MAIL"); n > 0 {
				t.Error("a password or an address was said")
			}
		})
	}
}

func TestImplicitTLSAndPlainOnThisMachine(t *testing.T) {
	for name, c := range map[string]struct {
		server func(*server)
		config func(*mail.Config)
	}{
		"tls":       {func(s *server) { s.implicit = true }, func(c *mail.Config) { c.Security = mail.TLS }},
		"none":      {func(s *server) { s.plain = true }, func(c *mail.Config) { c.Security = mail.None }},
		"left out":  {func(s *server) { s.plain = true }, func(c *mail.Config) { c.Security, c.CA = "", "" }},
		"no log-in": {nil, func(c *mail.Config) { c.Username, c.Password = "", "" }},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, c.server)
			if err := newSender(t, srv, c.config).Send(t.Context(), alarm()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("MAIL", stall)
	sender := newSender(t, srv, func(c *mail.Config) { c.CommandTimeout, c.Timeout = time.Minute, 2*time.Minute })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := sender.Send(ctx, alarm()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsHoldNoPasswordAndFewWords(t *testing.T) {
	srv := newServer(t, nil)
	srv.on("AUTH", "535 geheim-7 and AHdhdHRsaW5lAGdlaGVpbS03 are wrong\x1b[31m"+strings.Repeat("!", 5000))
	err := newSender(t, srv, nil).Send(t.Context(), alarm())
	if err == nil {
		t.Fatal("no error")
	}
	if text := err.Error(); strings.Contains(text, "geheim") || strings.Contains(text, "AHdhd") || len(text) > 700 || strings.Contains(text, "\x1b") {
		t.Errorf("error %q", text)
	}
}
