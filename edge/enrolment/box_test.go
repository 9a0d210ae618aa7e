package enrolment_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/edge/enrolment"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// cloud is what the registry and the api do for boxes, in a page: one box asks
// for gateway f1, and is given the same certificate for the same key.
type cloud struct {
	t         testing.TB
	authority *pki.Authority
	server    *httptest.Server
	ca        string // file

	mu      sync.Mutex // protects the fields below
	pending int        // answers before somebody approves
	asked   []contract.EnrolmentRequest
	given   map[string]string // key -> certificate
	newest  *pki.Request
	spoil   func(w http.ResponseWriter, a *contract.EnrolmentAnswer) bool // true: has answered
	now     time.Time
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	a, err := pki.CreateAuthority(filepath.Join(t.TempDir(), "registry"), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, authority: a, given: map[string]string{}, now: time.Now()}
	c.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.ca, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.server = c.serve(a)
	return c
}

func (c *cloud) serve(a *pki.Authority) *httptest.Server {
	c.t.Helper()
	secure, err := pki.ServerConfig(pki.NewServerCertificate(a, []string{"127.0.0.1"}, nil, quiet).Get, nil, pki.Unasked)
	if err != nil {
		c.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(c)
	s.Listener, s.Config.ErrorLog = tls.NewListener(s.Listener, secure), slog.NewLogLogger(slog.DiscardHandler, 0)
	s.Start() // StartTLS would bring a certificate of its own
	s.URL = strings.Replace(s.URL, "http:", "https:", 1)
	c.t.Cleanup(s.Close)
	return s
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	var e contract.EnrolmentRequest
	c.mu.Lock()
	defer c.mu.Unlock()
	if json.Unmarshal(text, &e) != nil || r.Method != http.MethodPost {
		http.Error(w, "nonsense", http.StatusBadRequest)
		return
	}
	c.asked = append(c.asked, e)
	request, err := pki.ParseRequest([]byte(e.CSR), pki.Gateway, "f1")
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case r.URL.Path == "/api/v1/enrolments" && e.JoinToken != "good" && e.JoinToken != "newer":
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"title":"Forbidden","detail":"the join token is not in force"}`)
		return
	case r.URL.Path == "/api/v1/enrolments/renew" && (c.newest == nil || !pki.VerifyRenewal(c.newest.Key, []byte(e.CSR), e.Signature)):
		http.Error(w, "not signed", http.StatusForbidden)
		return
	case c.pending > 0:
		c.pending--
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"state":"pending"}`)
		return
	}
	key := request.Fingerprint()
	if c.given[key] == "" {
		text, _, err := c.authority.Issue(pki.Gateway, "f1", request.Key, nil, c.now)
		if err != nil {
			c.t.Error(err)
		}
		c.given[key] = string(text)
	}
	c.newest = request
	answer := contract.EnrolmentAnswer{State: contract.Trusted, Certificate: c.given[key], CA: string(c.authority.PEM())}
	if c.spoil != nil && c.spoil(w, &answer) {
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (c *cloud) requests() []contract.EnrolmentRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]contract.EnrolmentRequest(nil), c.asked...)
}

// options are those of a box with a join token in a file.
func (c *cloud) options(t testing.TB) enrolment.Options {
	t.Helper()
	dir := t.TempDir()
	o := enrolment.Options{
		Gateway: "f1", Dir: filepath.Join(dir, "enrolment"),
		Config: enrolment.Config{URL: c.server.URL, CA: c.ca, JoinTokenFile: filepath.Join(dir, "join.token")},
	}
	write(t, o.Config.JoinTokenFile, "good\n")
	return o
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a box until the condition holds, and gives it back stopped.
func run(t testing.TB, o enrolment.Options, until func(*enrolment.Box) bool) *enrolment.Box {
	t.Helper()
	b, err := enrolment.Open(o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	for !until(b) {
		if ctx.Err() != nil {
			t.Fatalf("never; the box says: %s", b.State())
		}
		time.Sleep(5 * time.Millisecond) // polling under a deadline
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return b
}

func trusted(b *enrolment.Box) bool { return b.Trusted() }

// gone tells that a file is not there.
func gone(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}

// says is done once the box tells of something.
func says(word string) func(*enrolment.Box) bool {
	return func(b *enrolment.Box) bool { return strings.Contains(b.State(), word) }
}

// certificate is what the box shows the broker.
func certificate(t testing.TB, b *enrolment.Box) tls.Certificate {
	t.Helper()
	c, err := b.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c.Certificates[0]
}

func TestABoxEnrolsAndForgetsItsToken(t *testing.T) {
	c := newCloud(t)
	c.pending = 2
	o := c.options(t)
	b, err := enrolment.Open(o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.TLS(); err == nil || !strings.Contains(err.Error(), "not enrolled") {
		t.Errorf("before: %v", err)
	}
	b = run(t, o, func(b *enrolment.Box) bool { return b.Trusted() && gone(filepath.Join(o.Dir, "next.key")) })
	if err := pki.Verify(c.authority.PEM(), certificate(t, b).Leaf, pki.Gateway, "f1", time.Now()); err != nil {
		t.Error(err)
	}
	if !gone(o.Config.JoinTokenFile) {
		t.Error("the join token is still there")
	}
	if info, err := os.Stat(filepath.Join(o.Dir, "identity.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("identity %v, %v", info, err)
	}
	asked := c.requests()
	if len(asked) != 3 || asked[0].CSR == "" || strings.Contains(asked[0].CSR, "PRIVATE") {
		t.Errorf("asked %d times", len(asked))
	}
	for _, e := range asked[1:] {
		first, _ := pki.ParseRequest([]byte(asked[0].CSR), pki.Gateway, "f1")
		if r, _ := pki.ParseRequest([]byte(e.CSR), pki.Gateway, "f1"); r.Fingerprint() != first.Fingerprint() {
			t.Error("asked with another key")
		}
	}
	write(t, o.Config.JoinTokenFile, "good") // left by somebody who could not remove it
	if run(t, o, trusted); len(c.requests()) != 3 {
		t.Error("the same token was used again")
	}
}

func TestABoxThatIsCutOffGoesOn(t *testing.T) {
	c := newCloud(t)
	for name, cut := range map[string]func(dir string, o enrolment.Options){
		"after it drew its key": func(dir string, _ enrolment.Options) {
			for _, file := range []string{"identity.pem", "joined"} {
				_ = os.Remove(filepath.Join(dir, file))
			}
		},
		"before it noted the token as used": func(dir string, _ enrolment.Options) { _ = os.Remove(filepath.Join(dir, "joined")) },
		"before it removed the token":       func(string, enrolment.Options) {},
		"while it wrote": func(dir string, _ enrolment.Options) {
			_ = os.Remove(filepath.Join(dir, "identity.pem"))
			_ = os.Remove(filepath.Join(dir, "joined"))
			write(t, filepath.Join(dir, ".identity.pem.123"), "-----BEGIN PRIV")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.options(t)
			key := filepath.Join(o.Dir, "next.key")
			c.mu.Lock()
			c.pending = 1
			c.mu.Unlock()
			run(t, o, says("approve"))
			next, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			run(t, o, func(b *enrolment.Box) bool { return b.Trusted() && gone(key) })
			write(t, key, string(next))
			write(t, o.Config.JoinTokenFile, "good")
			cut(o.Dir, o)
			b := run(t, o, trusted)
			given, err := os.ReadFile(filepath.Join(o.Dir, "identity.pem"))
			if err != nil || !strings.Contains(string(given), string(next)) {
				t.Errorf("the box has another key, or %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(o.Dir, ".*")); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			certificate(t, b)
		})
	}
}

func TestABoxRenewsFromTwoThirdsOfItsLife(t *testing.T) {
	c := newCloud(t)
	o := c.options(t)
	first := certificate(t, run(t, o, func(b *enrolment.Box) bool { return b.Trusted() && gone(filepath.Join(o.Dir, "next.key")) })).Leaf
	later := time.Now().AddDate(0, 7, 0)
	o.Clock = func() time.Time { return later }
	c.now = later
	asked := len(c.requests())
	b := run(t, o, trusted)
	if len(c.requests()) != asked || certificate(t, b).Leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("renewed too early")
	}
	later = time.Now().AddDate(0, 9, 0)
	c.now = later
	b = run(t, o, func(*enrolment.Box) bool {
		return len(c.requests()) > asked && gone(filepath.Join(o.Dir, "next.key"))
	})
	second := certificate(t, b).Leaf
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("not renewed")
	}
	if e := c.requests()[asked]; e.JoinToken != "" || e.Signature == "" {
		t.Errorf("renewed with %+v", e)
	}
	later = time.Now().AddDate(3, 0, 0)
	b = run(t, o, says("expired"))
	if _, err := b.TLS(); err == nil || !strings.Contains(err.Error(), "new join token") {
		t.Errorf("an expired certificate is shown: %v", err)
	}
	c.now = later
	write(t, o.Config.JoinTokenFile, "newer") // the cure
	run(t, o, trusted)
}

func TestABoxTakesOnlyWhatIsItsOwn(t *testing.T) {
	c := newCloud(t)
	other, err := pki.CreateAuthority(filepath.Join(t.TempDir(), "other"), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issued := func(a *pki.Authority, name string) string {
		text, _, err := a.Issue(pki.Gateway, name, &key.PublicKey, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	answers := func(status int, text string) func(http.ResponseWriter, *contract.EnrolmentAnswer) bool {
		return func(w http.ResponseWriter, _ *contract.EnrolmentAnswer) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
			return true
		}
	}
	instead := func(text string) func(http.ResponseWriter, *contract.EnrolmentAnswer) bool {
		return func(_ http.ResponseWriter, a *contract.EnrolmentAnswer) bool { a.Certificate = text; return false }
	}
	for name, s := range map[string]struct {
		spoil func(http.ResponseWriter, *contract.EnrolmentAnswer) bool
		want  string
	}{
		"another key":     {instead(issued(c.authority, "f1")), "another key"},
		"another gateway": {instead(issued(c.authority, "f2")), "f2"},
		"another site":    {instead(issued(other, "f1")), "another site"},
		"no certificate":  {instead("x"), "no certificate"},
		"garbage":         {answers(200, "<html>"), "no JSON"},
		"nothing":         {answers(200, "{}"), "neither pending"},
		"endless":         {answers(200, strings.Repeat("x", 1<<20)), "64 KiB"},
		"a failure":       {answers(503, `{"detail":"the registry is away"}`), "the registry is away"},
		"a redirection":   {answers(302, ""), "302"},
	} {
		t.Run(name, func(t *testing.T) {
			c.mu.Lock()
			c.spoil = s.spoil
			c.mu.Unlock()
			o := c.options(t)
			b := run(t, o, says(s.want))
			if b.Trusted() || !gone(filepath.Join(o.Dir, "identity.pem")) {
				t.Error("taken")
			}
			c.mu.Lock()
			c.spoil = nil
			c.mu.Unlock()
			run(t, o, trusted) // nothing is spoilt for good
		})
	}
}

func TestTheTokenIsToldToTheSitesOwnCloudOnly(t *testing.T) {
	c := newCloud(t)
	other, err := pki.CreateAuthority(filepath.Join(t.TempDir(), "other"), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := c.options(t)
	o.Config.URL = c.serve(other).URL
	run(t, o, says("ca.pem"))
	if n := len(c.requests()); n != 0 {
		t.Errorf("the token was told to another cloud %d times", n)
	}
}

func TestARefusedBoxSaysWhatToDo(t *testing.T) {
	c := newCloud(t)
	o := c.options(t)
	write(t, o.Config.JoinTokenFile, "stolen")
	run(t, o, says("the join token is not in force"))
	write(t, o.Config.JoinTokenFile, "")
	run(t, o, says("there is no join token in "+o.Config.JoinTokenFile))
	_ = os.Remove(o.Config.JoinTokenFile)
	o.Config.JoinTokenFile, o.Config.JoinToken = "", config.Secret("good")
	run(t, o, trusted)
	o.Gateway = "f2" // the card of another box
	b := run(t, o, says(`"f1" and this box is "f2"`))
	if _, err := b.TLS(); err == nil {
		t.Error("another gateway's identity is shown")
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		config enrolment.Config
		want   string
	}{
		"none":                    {enrolment.Config{}, ""},
		"fine":                    {enrolment.Config{URL: "https://cloud.example:8443", CA: "ca.pem", JoinTokenFile: "x"}, ""},
		"fine on loopback":        {enrolment.Config{URL: "http://127.0.0.1:8080"}, ""},
		"a token for nothing":     {enrolment.Config{JoinToken: "x"}, "url"},
		"heard by others":         {enrolment.Config{URL: "http://cloud.example"}, "https"},
		"no authority":            {enrolment.Config{URL: "https://cloud.example"}, "ca"},
		"no address":              {enrolment.Config{URL: "cloud.example"}, "url"},
		"two tokens":              {enrolment.Config{URL: "http://localhost", JoinToken: "x", JoinTokenFile: "y"}, "join_token"},
		"another kind of address": {enrolment.Config{URL: "ftp://cloud.example"}, "https"},
	} {
		if err := c.config.Validate(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
