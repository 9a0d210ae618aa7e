package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// enrolled is what the registry says of a gateway that has asked for trust.
type enrolled struct {
	trust   contract.Trust
	serials []string // in force
}

// has tells that the gateway is known by certificates, so that nobody without
// one is believed to be it.
func (e enrolled) has() bool { return e.trust == contract.Trusted || e.trust == contract.Revoked }

// Trust tells the broker what the registry says of a gateway: how far its
// enrolment has come and which certificates are in force. Connections that it
// forbids end at once. Until a gateway has been told of, none of its
// certificates is in force; trust "" makes the broker forget it.
func (b *Broker) Trust(gateway string, trust contract.Trust, serials []string) {
	g := b.guard
	g.mu.Lock()
	if trust == "" {
		delete(g.enrolled, gateway)
	} else {
		g.enrolled[gateway] = enrolled{trust, slices.Clone(serials)}
	}
	var out []*conn
	for _, c := range g.sessions {
		if c.who.Gateway == gateway && g.inForce(c) != nil {
			out = append(out, c)
		}
	}
	g.mu.Unlock()
	for _, c := range out {
		g.refuse(c, "stay connected", "", "its certificate is not in force any more")
		c.drop()
	}
}

var (
	errRevoked = errors.New("its certificate is not in force: revoked, superseded, or not known to the registry yet")
	errUnsaid  = errors.New("this gateway is known by its certificate, and there is none on this listener")
)

// inForce tells whether a client may be the gateway that it is. The caller holds
// mu.
func (g *guard) inForce(c *conn) error {
	known := g.enrolled[c.who.Gateway]
	switch {
	case c.who.Gateway == "":
		return nil
	case c.leaf == nil && known.has():
		return errUnsaid
	case c.leaf != nil && (known.trust == contract.Revoked || !slices.Contains(known.serials, pki.Serial(c.leaf))):
		return errRevoked
	}
	return nil
}

// handshakeFailed tells of a client that came to no TLS. Most are not clients at
// all; one that shows a certificate of somebody else's is told of like any
// refusal.
func (g *guard) handshakeFailed(c *conn, err error) {
	g.counted.handshakes.Add(1)
	wrong, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return
	}
	if len(wrong.UnverifiedCertificates) > 0 {
		c.claims = pki.Subject(wrong.UnverifiedCertificates[0])
	}
	g.refuse(c, "connect", "", pki.Explain(wrong).Error())
}

// certified finds out who shows a certificate: TLS has verified it already.
func certified(leaf *x509.Certificate, id string, connect packets.ConnectParams) (Who, error) {
	var who Who
	switch name := leaf.Subject.CommonName; pki.KindOf(leaf) {
	case pki.Role:
		who.Role = true
	case pki.Gateway:
		who.Gateway = name
		epoch, own := strings.CutPrefix(id, name+"-")
		if _, err := contract.ParseEpoch(epoch); name == "" || !own || err != nil {
			return who, errors.New("the client id of a gateway is <gateway>-<epoch>")
		}
	default:
		return who, errors.New("the certificate is neither a gateway's nor a role's")
	}
	if connect.WillFlag && !Allowed(who, Publish, connect.WillTopic) {
		return who, errors.New("its will is on a topic that it may not publish on")
	}
	return who, nil
}

// impostor tells that a guest sends data under the name of a gateway that is
// known by its certificate.
func (g *guard) impostor(who Who, topic string) bool {
	if who != (Who{}) || !strings.HasPrefix(topic, "data/") {
		return false
	}
	source, _, _ := strings.Cut(topic[len("data/"):], "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enrolled[source].has()
}

// watchExpiry ends a connection with its certificate: whoever has a newer one
// comes back with that.
func (c *conn) watchExpiry() {
	if c.leaf == nil {
		return
	}
	c.expiry = time.AfterFunc(time.Until(c.leaf.NotAfter), c.drop)
}

// Refusals told in a minute, of one client and of all; the counter tells the
// rest.
const (
	toldEach = 10
	toldAll  = 100
)

// teller passes refusals on, each once a minute, and not too many.
type teller struct {
	since time.Time
	told  map[string]int // what -> times, who -> how many
	all   int
}

// due tells whether a refusal is to be told. The caller holds the guard's lock.
func (t *teller) due(who, what string) bool {
	if now := time.Now(); t.told == nil || now.Sub(t.since) >= time.Minute {
		t.since, t.told, t.all = now, make(map[string]int), 0
	}
	if t.all >= toldAll || t.told["who "+who] >= toldEach || t.told["what "+who+" "+what] > 0 {
		return false
	}
	t.all++
	t.told["who "+who]++
	t.told["what "+who+" "+what]++
	return true
}

// refuse counts a breach of the rules, logs the first of a minute and passes
// those on that are news.
func (g *guard) refuse(c *conn, what, topic, why string) {
	g.counted.denied.Add(1)
	who, from := c.title(), ""
	if c != nil {
		from = c.RemoteAddr().String()
	}
	topic = clip(topic)
	if g.denials.due() {
		g.log.Warn("client refused", slog.String("rule", what), slog.String("source", who), slog.String("topic", topic), slog.String("err", why))
	}
	if g.refused == nil {
		return
	}
	g.mu.Lock()
	due := g.teller.due(who, what+" "+topic)
	g.mu.Unlock()
	if due {
		g.refused(contract.Audited{Who: who, What: what, Object: topic, Result: "refused", Detail: why, From: from})
	}
}

// title names a client for people.
func (c *conn) title() string {
	switch {
	case c == nil:
		return "somebody"
	case c.leaf != nil:
		return pki.Subject(c.leaf)
	case c.claims != "":
		return "somebody with a bad certificate of " + c.claims
	case c.who.Gateway != "":
		return "gateway " + clip(c.who.Gateway) + ", by its word"
	case c.who.Role:
		return "role " + clip(c.id)
	}
	return "guest " + clip(c.id)
}
