// Package shelly drives Shelly plugs of the second generation and later (Plus
// Plug S, Plug S Gen3, and whatever else has a component switch:0) by their RPC
// over HTTP.
//
// There is one [Plug] per place; what it guarantees, package drivers says. Each
// turn at the plug is one connection that begins with the question who is there
// (Shelly.GetDeviceInfo): what is read or switched then on the same connection is
// that plug's, and a connection that breaks is never quietly replaced by another.
// Beyond that each answer names its sender, which is compared too; with a plug
// that closes the connection after each answer it is all that tells.
//
// A plug with a password is reported as locked: the driver knows no secrets.
//
// Sources: shelly-api-docs.shelly.cloud, gen2, RPC Protocol, RPC Channels, Common
// Errors, Switch, Shelly.
package shelly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/drivers"
	"github.com/wattline/wattline/shared/device"
)

// Defaults of [Options].
const (
	DialTimeout = 3 * time.Second
	Timeout     = 5 * time.Second
	// ReadBack leaves the relay the time that the gateway leaves every plug's.
	ReadBack = 350 * time.Millisecond
	// MaxPower is a fifth above 16 A at 240 V, the most that a single Shelly
	// switches; a Plug S is rated for 12 A.
	MaxPower device.Watts = 4600
)

// Options say which plug is at a place and how to treat it.
type Options struct {
	Address string // IP address or name, with or without a port (80)
	// DeviceID ("shellyplusplugs-a8032abe54dc") and MAC are the plug's identity.
	// One is enough; where both are empty the first plug that answers is the one
	// from then on.
	DeviceID, MAC string
	// Elsewhere, where set, reports whether a plug belongs to another place; it is
	// asked about the first that answers where DeviceID and MAC are empty.
	Elsewhere func(deviceID, mac string) bool
	MaxPower  device.Watts // highest plausible power, default [MaxPower]

	ReadBack    time.Duration // from switching to reading back, default [ReadBack]
	DialTimeout time.Duration // to connect, default [DialTimeout]
	Timeout     time.Duration // of one attempt, default [Timeout]
}

// Plug is the plug at one place. It is safe for concurrent use.
type Plug struct {
	id      device.ID
	opts    Options
	address string // with its port
	queue   drivers.Queue

	mu     sync.Mutex // protects what follows
	pinned Info       // the first that answered
}

var _ drivers.Plug = (*Plug)(nil)

// New returns the driver of the plug at a place. It touches no network.
func New(id device.ID, o Options) (*Plug, error) {
	address, err := withPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("plug of %s: address %q: %w", id, o.Address, err)
	}
	if o.MAC != "" {
		mac, ok := canonicalMAC(o.MAC)
		if !ok {
			return nil, fmt.Errorf("plug of %s: mac %q is not 12 hexadecimal digits", id, o.MAC)
		}
		o.MAC = mac
	}
	if !(o.MaxPower >= 0) {
		return nil, fmt.Errorf("plug of %s: highest power %v W is negative", id, o.MaxPower)
	}
	o.MaxPower = cmp.Or(o.MaxPower, MaxPower)
	o.ReadBack = cmp.Or(o.ReadBack, ReadBack)
	o.DialTimeout = cmp.Or(o.DialTimeout, DialTimeout)
	o.Timeout = cmp.Or(o.Timeout, Timeout)
	return &Plug{id: id, opts: o, address: address}, nil
}

// withPort adds the port of HTTP where there is none.
func withPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "80"
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", err
		}
	}
	if host == "" || strings.ContainsAny(host, "/?#@ \\") {
		return "", errors.New("no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// ID is the place.
func (p *Plug) ID() device.ID { return p.id }

// Address is where the plug is asked, with its port.
func (p *Plug) Address() string { return p.address }

// Identity is which plug answers at the place: as its Options say and, from the
// first answer on, as it told itself.
func (p *Plug) Identity() (deviceID, mac string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.pinned.DeviceID, p.opts.DeviceID), cmp.Or(p.pinned.MAC, p.opts.MAC)
}

// Info is what the plug told about itself when it answered last, zero if it never
// did.
func (p *Plug) Info() Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pinned
}

// Waiting is how many calls wait for their turn at the plug.
func (p *Plug) Waiting() (polls, commands int) {
	commands, polls = p.queue.Lengths()
	return polls, commands
}

// Poll reads the plug when its turn comes. A switch without a meter gives its
// relay only. Errors are [*Error], or that of a context; see package drivers.
func (p *Plug) Poll(ctx context.Context) (device.Measurement, error) {
	if err := p.queue.Acquire(ctx, drivers.Poll); err != nil {
		return device.Measurement{}, fmt.Errorf("poll %s: %w", p.id, err)
	}
	defer p.queue.Release()
	return p.look(ctx)
}

// look asks for the state of switch:0.
func (p *Plug) look(ctx context.Context) (m device.Measurement, err error) {
	err = p.converse(ctx, func(s *session) error {
		m, err = s.status(ctx, p.opts.MaxPower)
		return err
	})
	return m, err
}

// converse runs a conversation on a connection whose other end is the plug of
// this place. One that ends in a way that passes by is begun once more from the
// start, so talk must be fit to be repeated.
func (p *Plug) converse(ctx context.Context, talk func(*session) error) error {
	err := p.attempt(ctx, talk)
	if err != nil && passing(err) && ctx.Err() == nil {
		err = p.attempt(ctx, talk)
	}
	return err
}

func (p *Plug) attempt(ctx context.Context, talk func(*session) error) error {
	s, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	if err := p.identify(s, &info); err != nil {
		return err
	}
	return talk(s)
}

var errElsewhere = errors.New("it is the plug of another place")

// identify compares who answered with who belongs here, and remembers the right
// one. Only the owner of the turn comes here.
func (p *Plug) identify(s *session, i *Info) error {
	p.mu.Lock()
	wantID, wantMAC := p.opts.DeviceID, p.opts.MAC
	if wantID == "" && wantMAC == "" {
		wantID, wantMAC = p.pinned.DeviceID, p.pinned.MAC
	}
	p.mu.Unlock()
	switch {
	case wantID != "" && !strings.EqualFold(wantID, i.DeviceID):
		return s.fail(methodInfo, drivers.WrongPlug, fmt.Errorf("id %q, want %q", i.DeviceID, wantID))
	case wantMAC != "" && wantMAC != i.MAC:
		return s.fail(methodInfo, drivers.WrongPlug, fmt.Errorf("mac %s, want %s", i.MAC, wantMAC))
	case wantID == "" && wantMAC == "" && p.opts.Elsewhere != nil && p.opts.Elsewhere(i.DeviceID, i.MAC):
		return s.fail(methodInfo, drivers.WrongPlug, errElsewhere)
	}
	p.mu.Lock()
	p.pinned = *i
	p.mu.Unlock()
	return nil
}
