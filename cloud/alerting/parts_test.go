package alerting_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const mailPassword = "geheim-7"

// mailbox is a mail server that others have written: STARTTLS, a password, and
// nobody called nobody.
type mailbox struct {
	addr, ca string

	mu      sync.Mutex // guards letters
	letters []string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	loan := httptest.NewTLSServer(nil) // lends its certificate for 127.0.0.1
	loan.Close()
	b := &mailbox{ca: filepath.Join(t.TempDir(), "mail-ca.pem")}
	if err := os.WriteFile(b.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: loan.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = listener.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: b}, nil }))
	server.Domain, server.TLSConfig, server.ErrorLog = "mail.test", &tls.Config{Certificates: loan.TLS.Certificates, MinVersion: tls.VersionTLS12}, silence{}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return b
}

type silence struct{}

func (silence) Printf(string, ...any) {}
func (silence) Println(...any)        {}

// with are the letters that have some text.
func (b *mailbox) with(text string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, letter := range b.letters {
		if strings.Contains(letter, text) {
			n++
		}
	}
	return n
}

type mailSession struct {
	box    *mailbox
	logged bool
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "wattline" || password != mailPassword {
			return smtp.ErrAuthFailed
		}
		s.logged = true
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	if !s.logged {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.letters = append(s.box.letters, string(text))
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// router is shaped as Alertmanager's API v2, and keeps how each alert is.
type router struct {
	url string

	mu     sync.Mutex // guards what follows
	fires  map[string]bool
	refuse int // status instead of 200; 0: none
}

func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{fires: make(map[string]bool)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var alerts []struct {
			Labels map[string]string
			EndsAt time.Time
		}
		err := json.NewDecoder(q.Body).Decode(&alerts)
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, password, _ := q.BasicAuth(); password != "router-secret" || r.refuse != 0 || q.URL.Path != "/api/v2/alerts" {
			w.WriteHeader(max(r.refuse, http.StatusUnauthorized))
			return
		}
		if err != nil {
			t.Error(err)
		}
		for _, a := range alerts {
			r.fires[a.Labels["alertname"]] = a.EndsAt.After(time.Now())
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// is reports whether an alert was pushed as firing, or as over.
func (r *router) is(name string, firing bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fires, pushed := r.fires[name]
	return pushed && fires == firing
}

// said is a log.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// soon polls.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func httptestServer(t *testing.T, handle http.HandlerFunc) (url string) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}
