package enrolment_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/cloud/registry/enrolment"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

var quiet = slog.New(slog.DiscardHandler)

// room is the room of enrolment in a file of its own.
type room struct {
	*enrolment.Store

	t   *testing.T
	dir string
	db  *bbolt.DB
	now time.Time
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{t: t, dir: t.TempDir(), now: time.Now().Truncate(time.Second)}
	if _, err := pki.CreateAuthority(r.dir, "test", r.now); err != nil {
		t.Fatal(err)
	}
	r.open()
	t.Cleanup(func() { _ = r.db.Close() })
	return r
}

func (r *room) open() {
	r.t.Helper()
	var err error
	if r.db, err = bbolt.Open(filepath.Join(r.dir, "registry.db"), 0o600, &bbolt.Options{NoSync: true}); err != nil {
		r.t.Fatal(err)
	}
	log, err := audit.Open(r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Store, err = enrolment.Open(r.db, enrolment.Options{
		Dir: r.dir, Note: log.Note, Clock: func() time.Time { return r.now },
		Known: func(_ *bbolt.Tx, gateway string) bool { return strings.HasPrefix(gateway, "f") },
	}, quiet)
	if err != nil {
		r.t.Fatal(err)
	}
}

// ask gives the content of an answer, or its problem.
func (r *room) ask(request contract.RegistryRequest, into any) *contract.Problem {
	r.t.Helper()
	if request.Who == "" {
		request.Who = "anna"
	}
	a := r.Answer(r.t.Context(), request)
	if a.Problem == nil && into != nil {
		if err := json.Unmarshal(a.Content, into); err != nil {
			r.t.Fatal(err)
		}
	}
	return a.Problem
}

func (r *room) must(request contract.RegistryRequest, into any) {
	r.t.Helper()
	if p := r.ask(request, into); p != nil {
		r.t.Fatalf("%s %s: %v", request.Verb, request.Key, p)
	}
}

func (r *room) join(gateway string) string {
	r.t.Helper()
	var j contract.Join
	r.must(contract.RegistryRequest{Verb: "join", Key: gateway}, &j)
	return j.Token
}

// state is how far f1 is.
func (r *room) state() (e contract.Enrolment) {
	r.t.Helper()
	r.must(contract.RegistryRequest{Verb: "get", Key: "f1"}, &e)
	return e
}

// audited lists what happened and how it ended.
func (r *room) audited() (all []string) {
	r.t.Helper()
	err := r.db.View(func(tx *bbolt.Tx) error {
		entries, _, err := audit.List(tx, nil, "", 1000)
		for _, e := range entries {
			all = append(all, e.What+" "+e.Object+" "+e.Result)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// box is a box's side: its key and what it sends.
type box struct {
	gateway string
	key     *ecdsa.PrivateKey
	csr     string
}

func newBox(t *testing.T, gateway string) *box {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewRequest(key, pki.Gateway, gateway)
	if err != nil {
		t.Fatal(err)
	}
	return &box{gateway, key, string(csr)}
}

func (b *box) request(token string) contract.RegistryRequest {
	return content("request", contract.EnrolmentRequest{Gateway: b.gateway, JoinToken: token, CSR: b.csr})
}

// renew asks for a certificate of the next box's key, by b's.
func (b *box) renew(t *testing.T, next *box) contract.RegistryRequest {
	t.Helper()
	signature, err := pki.SignRenewal(b.key, []byte(next.csr))
	if err != nil {
		t.Fatal(err)
	}
	return content("renew", contract.EnrolmentRequest{Gateway: b.gateway, CSR: next.csr, Signature: signature})
}

func content(verb string, what any) contract.RegistryRequest {
	text, _ := json.Marshal(what)
	return contract.RegistryRequest{Verb: verb, Content: text}
}

// enrol takes a box from its join token to its certificate.
func (r *room) enrol(b *box) contract.EnrolmentAnswer {
	r.t.Helper()
	token := r.join(b.gateway)
	var a contract.EnrolmentAnswer
	r.must(b.request(token), &a)
	if a.State != contract.Pending || a.Certificate != "" {
		r.t.Fatalf("before approval: %+v", a)
	}
	r.must(contract.RegistryRequest{Verb: "approve", Key: b.gateway}, nil)
	r.must(b.request(token), &a)
	if a.State != contract.Trusted {
		r.t.Fatalf("after approval: %+v", a)
	}
	return a
}

func TestTheLifeOfAGatewaysTrust(t *testing.T) {
	r := newRoom(t)
	b := newBox(t, "f1")
	token := r.join("f1")
	if e := r.state(); e.Trust != contract.Expected || e.JoinExpires == nil {
		t.Errorf("after join: %+v", e)
	}
	var first, second contract.EnrolmentAnswer
	r.must(b.request(token), nil)
	r.must(b.request(token), nil) // again, as boxes do
	if e := r.state(); e.Trust != contract.Pending || e.Asked == nil || e.Asked.Key != pki.KeyFingerprint(&b.key.PublicKey) {
		t.Errorf("after the request: %+v", e)
	}
	r.must(contract.RegistryRequest{Verb: "approve", Key: "f1"}, nil)
	r.now = r.now.AddDate(0, 2, 0) // the token itself has run out
	r.must(b.request(token), &first)
	r.must(b.request(token), &second)
	if first.Certificate == "" || first.Certificate != second.Certificate {
		t.Error("the same box is given another certificate")
	}
	c, err := pki.ParseCertificate([]byte(first.Certificate))
	if err != nil || pki.Verify([]byte(first.CA), c, pki.Gateway, "f1", r.now) != nil || !pki.Belongs(c, b.key) {
		t.Errorf("certificate %v, %v", c, err)
	}
	var info contract.GatewayInfo
	info.Gateway = "f1"
	if err := r.db.View(func(tx *bbolt.Tx) error { return r.Describe(tx, &info) }); err != nil {
		t.Fatal(err)
	}
	if info.Trust != contract.Trusted || len(info.Certificates) != 1 || info.Certificates[0].Serial != pki.Serial(c) {
		t.Errorf("told to the broker: %+v", info)
	}
	r.must(contract.RegistryRequest{Verb: "revoke", Key: "f1", Reason: "stolen"}, nil)
	if e := r.state(); e.Trust != contract.Revoked || len(e.Certificates) != 0 || len(e.Revoked) != 1 {
		t.Errorf("after the revocation: %+v", e)
	}
	if p := r.ask(b.request(token), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("a revoked box asks again: %v", p)
	}
	if !r.listed(pki.Serial(c)) {
		t.Error("the list of revoked certificates lacks it")
	}
	want := []string{"join token f1 done", "ask to enrol f1 done", "approve gateway f1 done", "revoke gateway f1 done", "enrol f1 refused"}
	got := r.audited()
	for _, w := range want {
		if n := count(got, w); n != 1 {
			t.Errorf("%q is in the audit log %d times: %q", w, n, got)
		}
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// listed tells whether the file of revoked certificates names a serial.
func (r *room) listed(serial string) bool {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, pki.RevocationList))
	if err != nil {
		r.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Text(16) == serial })
}

func TestJoinTokensAreForOneBox(t *testing.T) {
	r := newRoom(t)
	token := r.join("f1")
	thief := newBox(t, "f1")
	for name, c := range map[string]contract.RegistryRequest{
		"no token":                      thief.request(""),
		"another token":                 thief.request(token + "x"),
		"another gateway":               newBox(t, "f2").request(token),
		"a gateway that is not there":   newBox(t, "g1").request(token),
		"a request for another gateway": content("request", contract.EnrolmentRequest{Gateway: "f1", JoinToken: token, CSR: newBox(t, "f2").csr}),
		"no request":                    content("request", contract.EnrolmentRequest{Gateway: "f1", JoinToken: token}),
		"a role's name":                 newBox(t, "wattline").request(token),
		"no object":                     {Verb: "request", Content: json.RawMessage("7")},
		"nothing":                       {Verb: "request"},
	} {
		if p := r.ask(c, nil); p == nil || p.Kind != contract.Denied && p.Kind != contract.Invalid {
			t.Errorf("%s: %v", name, p)
		}
	}
	b := newBox(t, "f1")
	r.must(b.request(token), nil)
	if p := r.ask(thief.request(token), nil); p == nil || !strings.Contains(p.Detail, "another box") {
		t.Errorf("a token that is used: %v", p)
	}
	if n := count(r.audited(), "enrol f1 refused"); n == 0 {
		t.Errorf("not audited: %q", r.audited())
	}
	r.must(contract.RegistryRequest{Verb: "refuse", Key: "f1"}, nil)
	if p := r.ask(b.request(token), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("a box that was refused: %v", p)
	}
	fresh := r.join("f1")
	r.now = r.now.AddDate(0, 0, 31)
	if p := r.ask(b.request(fresh), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("a token that has expired: %v", p)
	}
	if e := r.state(); e.JoinExpires != nil {
		t.Errorf("an expired token is shown: %+v", e)
	}
}

func TestApprovalIsForTheBoxThatWasSeen(t *testing.T) {
	r := newRoom(t)
	if p := r.ask(contract.RegistryRequest{Verb: "approve", Key: "f1"}, nil); p == nil || p.Kind != contract.Conflict {
		t.Errorf("nobody asks: %v", p)
	}
	b := newBox(t, "f1")
	r.must(b.request(r.join("f1")), nil)
	wrong := contract.RegistryRequest{Verb: "approve", Key: "f1", Content: json.RawMessage(`{"key":"0123456789"}`)}
	if p := r.ask(wrong, nil); p == nil || p.Kind != contract.Conflict {
		t.Errorf("another key: %v", p)
	}
	dry := contract.RegistryRequest{Verb: "approve", Key: "f1", DryRun: true}
	r.must(dry, nil)
	if e := r.state(); e.Trust != contract.Pending {
		t.Errorf("a dry run approved: %+v", e)
	}
	right := contract.RegistryRequest{Verb: "approve", Key: "f1", Content: json.RawMessage(`{"key":"` + pki.KeyFingerprint(&b.key.PublicKey)[:16] + `"}`)}
	r.must(right, nil)
}

func TestRenewalNeedsAKeyInForce(t *testing.T) {
	r := newRoom(t)
	old, next, thief := newBox(t, "f1"), newBox(t, "f1"), newBox(t, "f1")
	r.enrol(old)
	r.now = r.now.AddDate(0, 9, 0)
	if p := r.ask(thief.renew(t, next), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("signed by nobody: %v", p)
	}
	if p := r.ask(content("renew", contract.EnrolmentRequest{Gateway: "f1", CSR: next.csr}), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("not signed: %v", p)
	}
	var first, again contract.EnrolmentAnswer
	r.must(old.renew(t, next), &first)
	r.must(old.renew(t, next), &again) // the answer was lost
	if first.Certificate == "" || first.Certificate != again.Certificate {
		t.Errorf("repeated: %+v", again)
	}
	if e := r.state(); len(e.Certificates) != 2 {
		t.Errorf("the one before is out of force before it expires: %+v", e)
	}
	if p := r.ask(next.renew(t, thief), nil); p == nil || p.Kind != contract.NotNow {
		t.Errorf("renewed again at once: %v", p)
	}
	r.now = r.now.AddDate(0, 4, 0) // the first one is over
	if e := r.state(); len(e.Certificates) != 1 {
		t.Errorf("an expired one is in force: %+v", e)
	}
	if p := r.ask(old.renew(t, thief), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("signed by an expired one: %v", p)
	}
	for range 10 { // certificates in force are few, however often a box renews
		fresh := newBox(t, "f1")
		r.now = r.now.Add(time.Hour)
		r.must(next.renew(t, fresh), nil)
		next = fresh
	}
	if e := r.state(); len(e.Certificates) > 4 {
		t.Errorf("%d certificates in force", len(e.Certificates))
	}
	r.must(contract.RegistryRequest{Verb: "revoke", Key: "f1"}, nil)
	if p := r.ask(next.renew(t, old), nil); p == nil || p.Kind != contract.Denied {
		t.Errorf("signed by a revoked one: %v", p)
	}
}

// Whoever has stolen a key may renew it for hours, so that the list of what was
// revoked must be long.
func TestRevokingReachesEveryCertificateThatWasEverIssued(t *testing.T) {
	r := newRoom(t)
	thief := newBox(t, "f1")
	r.enrol(thief)
	serials := []string{r.state().Certificates[0].Serial}
	for range 100 {
		fresh := newBox(t, "f1")
		r.now = r.now.Add(2 * time.Minute)
		if p := r.ask(thief.renew(t, fresh), nil); p != nil {
			if p.Kind != contract.NotNow {
				t.Fatal(p)
			}
			break
		}
		thief = fresh
		e := r.state()
		serials = append(serials, e.Certificates[len(e.Certificates)-1].Serial)
	}
	if len(serials) > 70 {
		t.Errorf("%d certificates for one box", len(serials))
	}
	r.must(contract.RegistryRequest{Verb: "revoke", Key: "f1"}, nil)
	for i, serial := range serials {
		if !r.listed(serial) {
			t.Errorf("certificate %d of %d is not on the list", i, len(serials))
		}
	}
	box := newBox(t, "f1")
	r.enrol(box) // people may go on
}

// A new box for a trusted gateway leaves the older box its certificate: it may
// still hold readings.
func TestANewBoxLeavesTheOlderInForce(t *testing.T) {
	r := newRoom(t)
	old, fresh := newBox(t, "f1"), newBox(t, "f1")
	r.enrol(old)
	r.enrol(fresh)
	e := r.state()
	if e.Trust != contract.Trusted || len(e.Certificates) != 2 {
		t.Fatalf("%+v", e)
	}
	r.must(contract.RegistryRequest{Verb: "revoke", Key: "f1", Content: json.RawMessage(`{"serial":"` + e.Certificates[0].Serial + `"}`)}, nil)
	if now := r.state(); now.Trust != contract.Trusted || len(now.Certificates) != 1 || now.Certificates[0].Serial != e.Certificates[1].Serial {
		t.Errorf("revoking one: %+v", now)
	}
	if p := r.ask(contract.RegistryRequest{Verb: "revoke", Key: "f1", Content: json.RawMessage(`{"serial":"aa"}`)}, nil); p == nil || p.Kind != contract.NotFound {
		t.Errorf("revoking one that is not there: %v", p)
	}
}

func TestTrustOutlivesTheProcess(t *testing.T) {
	r := newRoom(t)
	b := newBox(t, "f1")
	token := r.join("f1")
	r.must(b.request(token), nil)
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.must(contract.RegistryRequest{Verb: "approve", Key: "f1"}, nil)
	r.must(b.request(token), nil)
	file, err := os.ReadFile(filepath.Join(r.dir, "registry.db"))
	if err != nil || strings.Contains(string(file), token) {
		t.Errorf("the join token is in the file, or %v", err)
	}
}

func TestASiteWithoutAuthority(t *testing.T) {
	r := newRoom(t)
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r.dir = t.TempDir()
	r.open()
	if p := r.ask(contract.RegistryRequest{Verb: "join", Key: "f1"}, nil); p == nil || !strings.Contains(p.Detail, "wattline-cloud init") {
		t.Errorf("%v", p)
	}
}

func TestDeletedGatewaysAreRevoked(t *testing.T) {
	r := newRoom(t)
	b := newBox(t, "f1")
	a := r.enrol(b)
	err := r.db.Update(func(tx *bbolt.Tx) error { return r.Retire(tx, "f1", contract.RegistryRequest{Who: "anna"}) })
	if err != nil || r.Listed() != nil {
		t.Fatal(err)
	}
	c, err := pki.ParseCertificate([]byte(a.Certificate))
	if err != nil || !r.listed(pki.Serial(c)) || r.state().Trust != contract.Revoked {
		t.Errorf("%+v, %v", r.state(), err)
	}
}

func TestListsHavePages(t *testing.T) {
	r := newRoom(t)
	for _, g := range []string{"f1", "f2", "f3"} {
		r.join(g)
	}
	r.must(newBox(t, "f2").request(r.join("f2")), nil)
	a := r.Answer(t.Context(), contract.RegistryRequest{Verb: "list", Limit: 2})
	var page []contract.Enrolment
	if err := json.Unmarshal(a.Content, &page); err != nil || len(page) != 2 || a.Next != "f2" {
		t.Errorf("%s, next %q, %v", a.Content, a.Next, err)
	}
	r.must(contract.RegistryRequest{Verb: "list", Cursor: a.Next}, &page)
	if len(page) != 1 || page[0].Gateway != "f3" {
		t.Errorf("second page %+v", page)
	}
	r.must(contract.RegistryRequest{Verb: "list", Filter: map[string]string{"trust": "pending"}}, &page)
	if len(page) != 1 || page[0].Gateway != "f2" {
		t.Errorf("pending %+v", page)
	}
	for _, request := range []contract.RegistryRequest{{Verb: "list", Filter: map[string]string{"x": "y"}}, {Verb: "dance"}, {Verb: "join", Key: "F 1"}, {Verb: "join", Key: "f1", Content: json.RawMessage(`{"days":-1}`)}, {Verb: "join", Key: "f1", Content: json.RawMessage(`{"days":1e9}`)}} {
		if p := r.ask(request, nil); p == nil || p.Kind != contract.Invalid {
			t.Errorf("%+v: %v", request, p)
		}
	}
	if p := r.ask(contract.RegistryRequest{Verb: "join", Key: "x1"}, nil); p == nil || p.Kind != contract.NotFound {
		t.Errorf("an unknown gateway: %v", p)
	}
}

func FuzzWhatABoxSends(f *testing.F) {
	f.Add([]byte(`{"gateway":"f1","join_token":"x","csr":"y"}`))
	f.Add([]byte(`{"gateway":"f1","csr":"-----BEGIN CERTIFICATE REQUEST-----\n","signature":"AAAA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newRoom(t)
		for _, verb := range []string{"request", "renew", "approve", "join", "revoke"} {
			if a := r.Answer(t.Context(), contract.RegistryRequest{Verb: verb, Key: "f1", Content: text}); a.Problem == nil && (verb == "request" || verb == "renew") {
				t.Errorf("%s: %s is answered %s", verb, text, a.Content)
			}
		}
	})
}
