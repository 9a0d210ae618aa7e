package broker_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// site is an authority and what it has issued.
type site struct {
	t         testing.TB
	authority *pki.Authority
	dir       string
	ca        string
	epochs    atomic.Int64
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.authority = newAuthority(t, filepath.Join(s.dir, "trust"))
	s.ca = s.write("ca.pem", s.authority.PEM())
	return s
}

func newAuthority(t testing.TB, dir string) *pki.Authority {
	t.Helper()
	a, err := pki.CreateAuthority(dir, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *site) write(name string, text []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// issue makes a certificate and gives files and serial.
func (s *site) issue(a *pki.Authority, kind pki.Kind, name string, now time.Time, hosts ...string) (pki.Files, string) {
	s.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	text, c, err := a.Issue(kind, name, &key.PublicKey, hosts, now)
	if err != nil {
		s.t.Fatal(err)
	}
	keyText, err := pki.EncodeKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	file := s.write(fmt.Sprintf("%s-%d.pem", name, s.epochs.Add(1)), append(keyText, text...))
	return pki.Files{CA: s.ca, Cert: file, Key: file}, pki.Serial(c)
}

// as are the options of a client with a certificate; a gateway's has an epoch of
// its own in each connection.
func (s *site) as(name string, files pki.Files) bus.Options {
	return bus.Options{ClientID: fmt.Sprintf("%s-%016x", name, s.epochs.Add(1)), TLS: files.Client}
}

// startSecure runs a broker with TLS for the site.
func (s *site) startSecure(options ...broker.Option) *broker.Broker {
	s.t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.Password, cfg.TLS.Listen = "127.0.0.1:0", "correct horse", "127.0.0.1:0"
	source := pki.NewServerCertificate(s.authority, []string{"127.0.0.1"}, nil, quiet)
	secure, err := pki.ServerConfig(source.Get, s.authority.PEM(), pki.Required)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := broker.Start(context.Background(), cfg, quiet, append(options, broker.Secured(secure))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(b.Close)
	return b
}

// refusedBy connects and gives the error that it ends with.
func refusedBy(t testing.TB, url string, o bus.Options) error {
	t.Helper()
	failed := make(chan error, 1)
	o.URL = url
	o.Failed = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	l := bus.NewLink(o, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	up := make(chan struct{})
	go func() {
		if l.AwaitUp(ctx) == nil {
			close(up)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-up:
		return nil
	case <-within(t).Done():
		t.Fatal("neither up nor refused")
		return nil
	}
}

func TestOnlyCertificatesInForceComeIn(t *testing.T) {
	s := newSite(t)
	refusals := make(chan contract.Audited, 100)
	b := s.startSecure(broker.OnRefusal(func(e contract.Audited) { refusals <- e }))
	now := time.Now()
	good, serial := s.issue(s.authority, pki.Gateway, "f1", now)
	revoked, _ := s.issue(s.authority, pki.Gateway, "f1", now)
	unknown, _ := s.issue(s.authority, pki.Gateway, "f9", now)
	expired, _ := s.issue(s.authority, pki.Gateway, "f7", now.AddDate(-2, 0, 0))
	foreign, _ := s.issue(newAuthority(t, filepath.Join(s.dir, "other")), pki.Gateway, "f8", now)
	role, _ := s.issue(s.authority, pki.Role, broker.RoleUser, now)
	server, _ := s.issue(s.authority, pki.Server, "f1", now)
	b.Trust("f1", contract.Trusted, []string{serial})
	another := s.as("f1", good)
	another.ClientID = "f2-0000000000000001"
	claims := s.as("f1", good)
	claims.Will = &bus.Message{Topic: bus.StatusTopic("f2"), Payload: []byte("{}")}
	elsewhere := newAuthority(t, filepath.Join(s.dir, "third"))
	stranger := good
	stranger.CA = s.write("third.pem", elsewhere.PEM())
	for name, c := range map[string]struct {
		o    bus.Options
		want string // of the error; empty when it comes in
		told string // to the audit log; empty when nothing is
	}{
		"a gateway":                        {s.as("f1", good), "", ""},
		"a role":                           {s.as("hook", role), "", ""},
		"no certificate":                   {s.as("f1", pki.Files{CA: s.ca}), "enrol first", ""},
		"one that is not in force":         {s.as("f1", revoked), "enrol again", "gateway f1: connect"},
		"a gateway the registry has not":   {s.as("f9", unknown), "enrol again", "gateway f9: connect"},
		"an expired one":                   {s.as("f1", expired), "expired", "somebody with a bad certificate of gateway f7: connect"},
		"one of another site":              {s.as("f1", foreign), "site", "somebody with a bad certificate of gateway f8: connect"},
		"a server's":                       {s.as("f1", server), "refuses our certificate", "somebody with a bad certificate of server f1: connect"},
		"another's client id":              {another, "client id", "gateway f1: connect"},
		"another's will":                   {claims, "client id", "gateway f1: connect"},
		"a client that trusts other sites": {s.as("f1", stranger), "ca.pem", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := refusedBy(t, b.SecureURL(), c.o)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.told == "" {
				return
			}
			select {
			case e := <-refusals:
				if got := e.Who + ": " + e.What; got != c.told || e.Result != "refused" || e.From == "" {
					t.Errorf("told %+v, want %s", e, c.told)
				}
			case <-within(t).Done():
				t.Error("nothing told")
			}
		})
		b.Trust("f1", contract.Trusted, []string{serial})
		for len(refusals) > 0 { // of the same kind are told once a minute only
			<-refusals
		}
	}
}

func TestRevokingEndsTheConnectionAtOnce(t *testing.T) {
	s := newSite(t)
	b := s.startSecure()
	files, serial := s.issue(s.authority, pki.Gateway, "f1", time.Now())
	b.Trust("f1", contract.Trusted, []string{serial})
	lost := make(chan error, 10)
	o := s.as("f1", files)
	o.Down = func(err error) { lost <- err }
	l := link(t, b.SecureURL(), o)
	b.Trust("f1", contract.Trusted, []string{"aa", serial}) // another renewal changes nothing
	publish(t, l, "data/f1/influx_data/sp", "x", false)
	b.Trust("f1", contract.Revoked, nil)
	select {
	case <-lost:
	case <-within(t).Done():
		t.Fatal("a revoked gateway stays connected")
	}
	if err := refusedBy(t, b.SecureURL(), s.as("f1", files)); err == nil {
		t.Error("a revoked gateway comes back")
	}
	b.Trust("f1", contract.Trusted, []string{serial})
	if err := l.AwaitUp(within(t)); err != nil {
		t.Errorf("in force again: %v", err)
	}
}

func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	s := newSite(t)
	b := s.startSecure()
	// Issued almost a year ago, it has a few seconds left.
	files, serial := s.issue(s.authority, pki.Gateway, "f1", time.Now().Add(3*time.Second-pki.Life))
	b.Trust("f1", contract.Trusted, []string{serial})
	lost := make(chan error, 10)
	o := s.as("f1", files)
	o.Down = func(err error) { lost <- err }
	link(t, b.SecureURL(), o)
	select {
	case <-lost:
	case <-within(t).Done():
		t.Fatal("an expired certificate stays connected")
	}
}

// On the plain listener everybody says who he is; nobody is believed to be a
// gateway that has a certificate.
func TestNobodyIsAnEnrolledGatewayByHisWord(t *testing.T) {
	s := newSite(t)
	b := s.startSecure()
	heard := hearing(t, b.URL(), bus.Options{ClientID: "hook", Username: broker.RoleUser, Password: "correct horse"}, "data/#", "gateways/#")
	f1 := func() error {
		return refusedBy(t, b.URL(), bus.Options{ClientID: "f1-0000000000000001", Will: &bus.Message{Topic: bus.StatusTopic("f1"), Payload: []byte("{}")}})
	}
	if err := f1(); err != nil {
		t.Fatalf("before it enrols: %v", err)
	}
	b.Trust("f1", contract.Pending, nil)
	if err := f1(); err != nil {
		t.Fatalf("while it enrols: %v", err)
	}
	b.Trust("f1", contract.Trusted, []string{"aa"})
	if err := f1(); err == nil || !strings.Contains(err.Error(), "tls://") {
		t.Errorf("once it is enrolled: %v", err)
	}
	if connect(t, b, "guest", 60).publish("data/f1/influx_data/sp/1", "{}") {
		t.Error("a guest sends data of an enrolled gateway")
	}
	b.Trust("f1", contract.Revoked, nil)
	if connect(t, b, "guest", 60).publish("data/f1/influx_data/sp/1", "{}") {
		t.Error("a guest sends data of a revoked gateway")
	}
	if !connect(t, b, "guest", 60).publish("data/f2/influx_data/sp/1", "{}") {
		t.Error("a guest may not send data of his own")
	}
	for {
		if m := next(t, heard); strings.HasPrefix(m.Topic, "data/") {
			if m.Topic != "data/f2/influx_data/sp/1" {
				t.Errorf("heard %s", m.Topic)
			}
			return
		}
	}
}

func TestNobodyIsAnEnrolledGatewayByHisWill(t *testing.T) {
	s := newSite(t)
	refusals := make(chan contract.Audited, 100)
	b := s.startSecure(broker.OnRefusal(func(e contract.Audited) { refusals <- e }))
	heard := hearing(t, b.URL(), bus.Options{ClientID: "hook", Username: broker.RoleUser, Password: "correct horse"}, "data/#")
	early := connectWith(t, b, "early", 60, "data/f1/influx_data/sp/1", "{}")
	b.Trust("f1", contract.Trusted, []string{"aa"})
	will := bus.Message{Topic: "data/f1/influx_data/sp/1", Payload: []byte("{}")}
	if err := refusedBy(t, b.URL(), bus.Options{ClientID: "late", Will: &will}); err == nil {
		t.Fatal("a guest comes in with the data of an enrolled gateway as its will")
	}
	<-refusals
	_ = early.Close()
	select {
	case e := <-refusals:
		if e.Who != "guest early" || e.What != "will" || e.Object != will.Topic {
			t.Errorf("told %+v", e)
		}
	case m := <-heard:
		t.Fatalf("heard %s of a guest that is gone", m.Topic)
	case <-within(t).Done():
		t.Fatal("nothing told")
	}
	_ = connectWith(t, b, "own", 60, "data/f2/influx_data/sp/1", "{}").Close()
	if m := next(t, heard); m.Topic != "data/f2/influx_data/sp/1" {
		t.Errorf("heard %s", m.Topic)
	}
}

// Two boxes with one identity: both are heard, neither throws the other out, and
// the ledger tells of them.
func TestTwoBoxesWithOneIdentityAreBothHeard(t *testing.T) {
	s := newSite(t)
	b := s.startSecure()
	files, serial := s.issue(s.authority, pki.Gateway, "f1", time.Now())
	b.Trust("f1", contract.Trusted, []string{serial})
	heard := hearing(t, b.URL(), bus.Options{ClientID: "hook", Username: broker.RoleUser, Password: "correct horse"}, "data/f1/#")
	lost := make(chan error, 10)
	var boxes [2]*bus.Link
	var receipts [2]chan bus.Message
	for i := range boxes {
		o := s.as("f1", files)
		receipts[i] = make(chan bus.Message, 100)
		o.Down = func(err error) { lost <- err }
		o.Up = func(ctx context.Context, s *bus.Session) error {
			return s.Subscribe(ctx, bus.ReceiptsTopic("f1"), func(m bus.Message) { receipts[i] <- m })
		}
		boxes[i] = link(t, b.SecureURL(), o)
	}
	for n := range 20 {
		publish(t, boxes[n%2], fmt.Sprintf("data/f1/influx_data/sp/%d", n), "x", false)
		if m := next(t, heard); m.Topic != fmt.Sprintf("data/f1/influx_data/sp/%d", n) {
			t.Fatalf("heard %s as number %d", m.Topic, n)
		}
	}
	publish(t, link(t, b.URL(), bus.Options{ClientID: "storing", Username: broker.RoleUser, Password: "correct horse"}), bus.ReceiptsTopic("f1"), "{}", false)
	next(t, receipts[0])
	next(t, receipts[1])
	if len(lost) > 0 {
		t.Errorf("one of them was thrown out: %v", <-lost)
	}
}

func TestTLSThatComesToNothingHoldsNobodyUp(t *testing.T) {
	s := newSite(t)
	b := s.startSecure()
	files, serial := s.issue(s.authority, pki.Gateway, "f1", time.Now())
	b.Trust("f1", contract.Trusted, []string{serial})
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01", strings.Repeat("\x16", 70_000)} {
		for range 20 {
			c := dialTo(t, b.SecureAddr())
			c.send(0, []byte(text))
		}
	}
	link(t, b.SecureURL(), s.as("f1", files))
	if _, err := tls.Dial("tcp", b.SecureAddr(), &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
}

func TestASecureListenerWantsCertificates(t *testing.T) {
	s := newSite(t)
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.TLS.Listen = "127.0.0.1:0", "127.0.0.1:0"
	open, err := pki.ServerConfig(pki.NewServerCertificate(s.authority, []string{"x"}, nil, quiet).Get, s.authority.PEM(), pki.Optional)
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]broker.Option{"no TLS": nil, "clients not asked": {broker.Secured(open)}} {
		if b, err := broker.Start(t.Context(), cfg, quiet, options...); err == nil {
			t.Errorf("%s: started", name)
			b.Close()
		}
	}
}
