package mail_test

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a server may do instead of answering.
const (
	stall   = "\x00stall"  // never answers
	drip    = "\x00drip"   // a byte of an answer every few milliseconds, no end
	hangup  = "\x00hangup" // closes the connection
	talk    = "\x00talk"   // answers without end, fast
	garbage = "\xff\xfe\x00 what?\r\n\r\n250"
)

// letter is what a server took.
type letter struct {
	from string
	to   []string
	data string
}

// server is a mail server that misbehaves at the verbs that are told to it: its
// answers are by verb, with CONNECT for the greeting and END for the end of the
// message. It answers whatever is not in answers as a good server does.
type server struct {
	t        *testing.T
	listener net.Listener
	cert     tls.Certificate
	ca       string // file
	implicit bool
	plain    bool // offers no STARTTLS

	mu      sync.Mutex // guards what follows
	answers map[string][]string
	letters []letter
	verbs   []string
	conns   sync.WaitGroup
	quit    chan struct{}
}

func newServer(t *testing.T, change func(*server)) *server {
	t.Helper()
	loan := httptest.NewTLSServer(nil) // lends its certificate for 127.0.0.1
	loan.Close()
	s := &server{t: t, cert: loan.TLS.Certificates[0], answers: map[string][]string{}, quit: make(chan struct{})}
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: loan.Certificate().Raw})
	if err := os.WriteFile(s.ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.conns.Go(s.accept)
	t.Cleanup(func() {
		close(s.quit)
		s.listener.Close()
		s.conns.Wait()
	})
	return s
}

func (s *server) addr() string { return s.listener.Addr().String() }

// on says what is answered at a verb: the first time the first, and so on; after
// the last the server behaves.
func (s *server) on(verb string, answers ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[verb] = answers
}

func (s *server) taken() []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]letter(nil), s.letters...)
}

func (s *server) heard(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, v := range s.verbs {
		if v == verb {
			n++
		}
	}
	return n
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.conns.Go(func() {
			stop := make(chan struct{})
			s.conns.Go(func() {
				select {
				case <-s.quit:
				case <-stop:
				}
				conn.Close()
			})
			defer close(stop)
			s.serve(conn)
		})
	}
}

// refuses tells whether something else than yes comes next at a verb.
func (s *server) refuses(verb string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.answers[verb]) > 0
}

// say answers a verb; false ends the connection.
func (s *server) say(conn net.Conn, verb, good string) bool {
	s.mu.Lock()
	s.verbs = append(s.verbs, verb)
	answer := good
	if list := s.answers[verb]; len(list) > 0 {
		answer, s.answers[verb] = list[0], list[1:]
	}
	s.mu.Unlock()
	switch answer {
	case stall:
		buffer := make([]byte, 1)
		for {
			if _, err := conn.Read(buffer); err != nil {
				return false
			}
		}
	case drip:
		for {
			if _, err := conn.Write([]byte("2")); err != nil {
				return false
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-s.quit:
				return false
			}
		}
	case talk:
		for {
			if _, err := fmt.Fprintf(conn, "250-%s\r\n", strings.Repeat("bla", 300)); err != nil {
				return false
			}
		}
	case hangup:
		return false
	}
	if !strings.HasSuffix(answer, "\n") && answer != garbage {
		answer += "\r\n"
	}
	_, err := conn.Write([]byte(answer))
	return err == nil && answer != garbage
}

func (s *server) serve(raw net.Conn) {
	conn := raw
	settings := &tls.Config{Certificates: []tls.Certificate{s.cert}}
	if s.implicit {
		conn = tls.Server(raw, settings)
	}
	in := bufio.NewReader(conn)
	if !s.say(conn, "CONNECT", "220 mail.test ESMTP") {
		return
	}
	var l letter
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		good, goes := "250 OK", true
		switch verb {
		case "EHLO":
			good = "250-mail.test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
			if _, secure := conn.(*tls.Conn); !secure && !s.plain {
				good = "250-mail.test\r\n250-STARTTLS\r\n250 SMTPUTF8"
			}
		case "STARTTLS":
			if goes = s.say(conn, verb, "220 go ahead"); goes {
				conn = tls.Server(raw, settings)
				in = bufio.NewReader(conn)
			}
			good = ""
		case "AUTH":
			good = "235 welcome"
		case "MAIL":
			l = letter{from: line}
		case "RCPT":
			_, to, _ := strings.Cut(line, ":")
			if !s.refuses("RCPT " + to) {
				l.to = append(l.to, to)
			}
			verb += " " + to
		case "DATA":
			if goes = s.say(conn, verb, "354 go on"); goes {
				goes = s.data(conn, in, l)
			}
			good = ""
		case "QUIT":
			s.say(conn, verb, "221 bye")
			return
		}
		if good != "" {
			goes = s.say(conn, verb, good)
		}
		if !goes {
			return
		}
	}
}

// data takes the message, even when the answer is something else.
func (s *server) data(conn net.Conn, in *bufio.Reader, l letter) bool {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	l.data = b.String()
	s.mu.Lock()
	s.letters = append(s.letters, l)
	s.mu.Unlock()
	return s.say(conn, "END", "250 taken")
}
