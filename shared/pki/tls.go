package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files name what a client or a server needs, as an operator writes it. Cert
// and Key may be one file.
type Files struct {
	// CA is the certificate of the site's authority.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Validate reports all mistakes at once, by key.
func (f Files) Validate() error {
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("cert: and key go together; they may name one file that has both")
	}
	return nil
}

// IsZero tells that nothing is configured.
func (f Files) IsZero() bool { return f == Files{} }

// Client reads the files and makes the settings of a client: it trusts CA alone,
// or the machine's authorities when there is none, and shows the certificate if
// there is one.
func (f Files) Client() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		text, err := ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read the site's authority: %w", err)
		}
		if config.RootCAs, err = Pool(text); err != nil {
			return nil, fmt.Errorf("read the site's authority: %s: %w", f.CA, err)
		}
	}
	if f.Cert != "" {
		pair, err := f.Pair()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{*pair}
	}
	return config, nil
}

// Pair reads the certificate and its key.
func (f Files) Pair() (*tls.Certificate, error) {
	cert, err := ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with the key %s: %w", f.Cert, f.Key, err)
	}
	return &pair, nil
}

// Clients says what a server asks of its clients' certificates.
type Clients int

// What is asked of clients. A certificate that is shown is verified whichever
// holds.
const (
	Unasked  Clients = iota
	Optional         // a certificate may be shown
	Required         // without one nobody comes in
)

// ServerConfig makes the settings of a server: source gives its certificate at
// each handshake, ca (PEM) has issued those of its clients.
func ServerConfig(source func() (*tls.Certificate, error), ca []byte, clients Clients) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return source() },
		// A resumed session would not be verified again.
		SessionTicketsDisabled: true,
	}
	if clients == Unasked {
		return config, nil
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	if clients == Required {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	pool, err := Pool(ca)
	if err != nil {
		return nil, fmt.Errorf("authority of the clients: %w", err)
	}
	config.ClientCAs = pool
	return config, nil
}

// ServerCertificate keeps the certificate of a server of this site: it is issued
// at the first handshake and again from two thirds of its life, with a key that
// never touches the disk. Safe for concurrent use.
type ServerCertificate struct {
	authority *Authority
	hosts     []string
	clock     func() time.Time
	log       *slog.Logger

	mu      sync.Mutex // protects current
	current *tls.Certificate
}

// NewServerCertificate allocates one for these DNS names and addresses, at least
// one; clock nil is the machine's.
func NewServerCertificate(authority *Authority, hosts []string, clock func() time.Time, log *slog.Logger) *ServerCertificate {
	if clock == nil {
		clock = time.Now
	}
	return &ServerCertificate{authority: authority, hosts: hosts, clock: clock, log: log}
}

// Get gives the certificate in force. An old one serves while no new one can be
// made.
func (s *ServerCertificate) Get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if s.current != nil && now.Before(RenewFrom(s.current.Leaf)) {
		return s.current, nil
	}
	fresh, err := s.issue(now)
	switch {
	case err == nil:
		s.current = fresh
		s.log.Info("server certificate issued", slog.String("source", s.hosts[0]), slog.Time("expires", fresh.Leaf.NotAfter))
	case s.current == nil || now.After(s.current.Leaf.NotAfter):
		return nil, err
	}
	return s.current, nil
}

func (s *ServerCertificate) issue(now time.Time) (*tls.Certificate, error) {
	if len(s.hosts) == 0 {
		return nil, errors.New("issue the server's certificate: it has no name")
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	_, leaf, err := s.authority.Issue(Server, s.hosts[0], &key.PublicKey, s.hosts, now)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, s.authority.certificate.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// CheckHost says what is wrong with a DNS name or address for a certificate.
func CheckHost(host string) error {
	if net.ParseIP(host) != nil {
		return nil
	}
	bad := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.", r)
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, bad) || slices.Contains(strings.Split(host, "."), "") {
		return fmt.Errorf("%.80q is neither a name such as cloud.example nor an address", host)
	}
	return nil
}

// alert says what a peer's TLS alert means. The alert has a type that is not
// exported; its texts are those of crypto/tls in Go 1.26.
func alert(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return ""
	}
	for text, meaning := range map[string]string{
		"expired certificate":           "the other side says that our certificate has expired: renew it, or enrol again",
		"revoked certificate":           "the other side has revoked our certificate: enrol again with a new join token",
		"unknown certificate authority": "the other side is of another site, or knows our authority no more",
		"bad certificate":               "the other side refuses our certificate: it may be of another site, expired or revoked",
		"certificate required":          "the other side wants a certificate and we showed none: enrol first",
	} {
		if strings.HasSuffix(op.Err.Error(), text) {
			return meaning
		}
	}
	return ""
}

// Subject names the owner of a certificate for people: "gateway edge-f1".
func Subject(c *x509.Certificate) string {
	return strings.TrimSpace(fmt.Sprintf("%s %.80s", KindOf(c), c.Subject.CommonName))
}
