package enrolment

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// Pauses between two attempts, doubled from the first to the second.
const (
	pendingFirst, pendingMost = time.Second, time.Minute         // until a person has approved
	failedFirst, failedMost   = 2 * time.Second, 5 * time.Minute // until the cloud is there
	refusedFirst              = time.Minute                      // until somebody has done something
	renewFirst, renewMost     = time.Minute, time.Hour
	// lookEvery bounds a wait for the time to renew: clocks step, and somebody may
	// put a new join token there.
	lookEvery = time.Minute
)

// Options are what the gateway passes.
type Options struct {
	Config  Config
	Gateway string
	// Dir is the box's own directory for its identity.
	Dir string
	// CA is the authority of the broker, where it is not that of Config.
	CA string
	// Clock is the machine's when nil.
	Clock func() time.Time
}

// Box is a box that enrols. Its methods are safe for concurrent use.
type Box struct {
	config  Config
	gateway string
	dir     string
	broker  string // file of the broker's authority, if it is another
	clock   func() time.Time
	log     *slog.Logger

	mu    sync.Mutex // protects the fields below
	state string     // for people
	since time.Time
	until time.Time // when the certificate expires; zero without one
	used  string    // the join token that was used up in this run
}

// Open makes the directory if need be and sees how far the box is.
func Open(o Options, log *slog.Logger) (*Box, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	b := &Box{config: o.Config, gateway: o.Gateway, dir: o.Dir, broker: o.CA, clock: o.Clock, log: log, state: "not enrolled yet", since: o.Clock()}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(b.dir, ".*.*")) // of a crash while writing; fails for a bad pattern only
	for _, name := range left {
		_ = os.Remove(name)
	}
	i, err := b.load()
	switch {
	case err != nil:
		b.tell(err.Error())
	case i != nil:
		b.enrolled(i)
	}
	return b, nil
}

// State says for people how far the box is.
func (b *Box) State() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Trusted tells that the box has a certificate that has not expired.
func (b *Box) Trusted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock().Before(b.until)
}

func (b *Box) tell(state string) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	news = b.state != state
	if news {
		b.state, b.since = state, b.clock()
	}
	return news
}

func (b *Box) enrolled(i *identity) {
	b.mu.Lock()
	b.until = i.certificate.NotAfter
	b.mu.Unlock()
	b.tell("trusted until " + i.certificate.NotAfter.UTC().Format(time.DateOnly))
}

// Run enrols the box and keeps its certificate fresh until ctx ends. Whatever
// goes wrong is logged once and tried again: the gateway does its work without.
func (b *Box) Run(ctx context.Context) error {
	var wait pause
	for ctx.Err() == nil {
		next := b.step(ctx, &wait)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// pause doubles from least to most as long as the reason stays the same.
type pause struct {
	least time.Duration
	last  time.Duration
}

func (p *pause) next(least, most time.Duration) time.Duration {
	if p.least != least {
		p.least, p.last = least, least
	} else {
		p.last = min(2*p.last, most)
	}
	return p.last - rand.N(p.last/5+1) // many boxes must not come at once
}

// step does what is due and says how long to wait.
func (b *Box) step(ctx context.Context, wait *pause) time.Duration {
	i, err := b.load()
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	token, err := b.token()
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	switch now := b.clock(); {
	case token != "":
		return b.join(ctx, wait, token)
	case i == nil:
		where := ""
		if b.config.JoinTokenFile != "" {
			where = " in " + b.config.JoinTokenFile
		}
		return b.failed(ctx, wait, &refusal{0, "there is no join token" + where + ": make one for this gateway (wattline gateways join-token) and start the box with it"})
	case now.After(i.certificate.NotAfter):
		return b.failed(ctx, wait, &refusal{0, "the certificate has expired on " + i.certificate.NotAfter.Format(time.DateOnly) + ": enrol again with a new join token"})
	case now.Before(pki.RenewFrom(i.certificate)):
		b.enrolled(i)
		return min(pki.RenewFrom(i.certificate).Sub(now), lookEvery)
	default:
		return b.renew(ctx, wait, i)
	}
}

// join asks with the token, by the key that asked before if there is one.
func (b *Box) join(ctx context.Context, wait *pause, token string) time.Duration {
	key, csr, err := b.request()
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	answer, err := b.ask(ctx, "/api/v1/enrolments", contract.EnrolmentRequest{Gateway: b.gateway, JoinToken: token, CSR: string(csr)})
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	if answer.State == contract.Pending {
		if b.tell("waiting for a person to approve this box; its key is " + pki.KeyFingerprint(&key.PublicKey)) {
			b.log.WarnContext(ctx, "waiting for approval", slog.String("gateway", b.gateway), slog.String("key", pki.KeyFingerprint(&key.PublicKey)))
		}
		return wait.next(pendingFirst, pendingMost)
	}
	i, err := b.install(key, answer.Certificate, answer.CA)
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	b.enrolled(i)
	b.log.InfoContext(ctx, "enrolled", slog.String("gateway", b.gateway), slog.Time("expires", i.certificate.NotAfter))
	b.mu.Lock()
	b.used = token // whatever becomes of the files
	b.mu.Unlock()
	if err := b.forget(token); err != nil {
		b.log.WarnContext(ctx, "used join token not removed: remove it by hand", slog.String("gateway", b.gateway), slog.Any("err", err))
	}
	return 0
}

// request is the key of the request under way, and the request.
func (b *Box) request() (*ecdsa.PrivateKey, []byte, error) {
	key, err := b.nextKey()
	if err != nil {
		return nil, nil, fmt.Errorf("key of the gateway: %w", err)
	}
	csr, err := pki.NewRequest(key, pki.Gateway, b.gateway)
	return key, csr, err
}

// nextKey is the key of the request under way. One that is in force already was
// left by a box cut off right after it got its certificate.
func (b *Box) nextKey() (*ecdsa.PrivateKey, error) {
	key, err := pki.LoadOrCreateKey(b.path(nextFile))
	if err != nil {
		return nil, err
	}
	token, err := b.token()
	if err != nil {
		return nil, err
	}
	i, err := b.load()
	if err != nil {
		return nil, err
	}
	if token != "" || i == nil || !pki.Belongs(i.certificate, key) {
		return key, nil
	}
	if err := b.remove(b.path(nextFile)); err != nil {
		return nil, err
	}
	return pki.LoadOrCreateKey(b.path(nextFile))
}

// renew asks for a certificate of a new key, by the key in force.
func (b *Box) renew(ctx context.Context, wait *pause, i *identity) time.Duration {
	key, csr, err := b.request()
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	signature, err := pki.SignRenewal(i.key, csr)
	if err != nil {
		return b.failed(ctx, wait, err)
	}
	answer, err := b.ask(ctx, "/api/v1/enrolments/renew", contract.EnrolmentRequest{Gateway: b.gateway, CSR: string(csr), Signature: signature})
	if err == nil && answer.Certificate == "" {
		err = errors.New("the cloud gives no certificate")
	}
	var fresh *identity
	if err == nil {
		fresh, err = b.install(key, answer.Certificate, answer.CA)
	}
	if err != nil {
		left := i.certificate.NotAfter.Sub(b.clock())
		if b.tell(fmt.Sprintf("the certificate expires in %d days and cannot be renewed: %v", int(left.Hours()/24), err)) {
			b.log.WarnContext(ctx, "certificate not renewed yet", slog.String("gateway", b.gateway), slog.Time("expires", i.certificate.NotAfter), slog.Any("err", err))
		}
		return wait.next(renewFirst, renewMost)
	}
	b.enrolled(fresh)
	b.log.InfoContext(ctx, "certificate renewed", slog.String("gateway", b.gateway), slog.Time("expires", fresh.certificate.NotAfter))
	if err := b.remove(b.path(nextFile)); err != nil {
		b.log.DebugContext(ctx, "key of the renewal stays", slog.Any("err", err)) // the next one draws another
	}
	return 0
}

// failed logs what keeps the box from being trusted, once while it stays the same.
func (b *Box) failed(ctx context.Context, wait *pause, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	if b.tell(err.Error()) {
		b.log.WarnContext(ctx, "not enrolled yet", slog.String("gateway", b.gateway), slog.Any("err", err))
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		return wait.next(refusedFirst, failedMost)
	}
	return wait.next(failedFirst, failedMost)
}
