// Package hs110 drives TP-Link HS110 plugs for the gateway: it is what stands
// behind the collector's and the controller's idea of a device.
//
// There is one [Plug] per place, shared by all who talk to the plug there. It
// puts one question at a time to the plug, commands before polls; it never gives
// the reading of one plug for another's, nor switches another plug, where the
// inventory says which one belongs to the place; and what it reports as switched
// it has read back. What a plug can do is taken from what it says it can, never
// from its version.
package hs110

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/drivers"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// ReadBack is the default of [Options.ReadBack]: sooner than this a plug may
// still show the state before.
const ReadBack = 350 * time.Millisecond

// Options say which plug is at a place and how to treat it.
type Options struct {
	Address string // IP address or name, with or without a port
	// DeviceID and MAC are the plug's identity, checked at each exchange. One is
	// enough; where both are empty the first plug that answers is the one from
	// then on, for an address may pass to another.
	DeviceID, MAC string
	// Elsewhere, where set, reports whether a plug belongs to another place; it is
	// asked about the first that answers where DeviceID and MAC are empty.
	Elsewhere func(deviceID, mac string) bool
	MaxPower  device.Watts // highest plausible power, default [hs110.MaxPower]

	ReadBack    time.Duration // from switching to reading back, default [ReadBack]
	DialTimeout time.Duration // default [hs110.DialTimeout]
	Timeout     time.Duration // of one attempt, default [hs110.Timeout]
	// HTTPPort and KLAPPort are probed for a locked plug: see [hs110.Options].
	HTTPPort, KLAPPort int
}

// Plug is the plug at one place. It is safe for concurrent use.
type Plug struct {
	id    device.ID
	queue drivers.Queue

	mu     sync.Mutex // protects what follows
	opts   Options
	client *hs110.Client
	info   Info
	meter  meter
	// pinned is the identity of the first that answered, where opts has none.
	pinned struct{ deviceID, mac string }
}

// meter is what is known of the plug's energy meter.
type meter int

const (
	unknown meter = iota // ask for sysinfo alone first: the other question can make a plug without one reboot
	present
	absent
)

// Info is what a plug last told about itself.
type Info struct {
	hs110.Info
	Address string
	// Time is when it did, zero if never since the gateway started.
	Time time.Time
}

// New returns the driver of the plug at a place. It touches no network.
func New(id device.ID, o Options) (*Plug, error) {
	p := &Plug{id: id}
	if err := p.setOptions(o); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plug) setOptions(o Options) error {
	o.ReadBack = cmp.Or(o.ReadBack, ReadBack)
	if o.MAC != "" {
		mac, ok := hs110.CanonicalMAC(o.MAC)
		if !ok {
			return fmt.Errorf("plug of %s: mac %q is not 12 hexadecimal digits", p.id, o.MAC)
		}
		o.MAC = mac
	}
	c, err := hs110.New(o.Address, hs110.Options{
		DialTimeout: o.DialTimeout, Timeout: o.Timeout, MaxPower: o.MaxPower,
		HTTPPort: o.HTTPPort, KLAPPort: o.KLAPPort,
	})
	if err != nil {
		return fmt.Errorf("plug of %s: %w", p.id, err)
	}
	p.opts, p.client, p.meter = o, c, unknown
	return nil
}

// ID is the place.
func (p *Plug) ID() device.ID { return p.id }

// Info is what the plug last told about itself, by whichever question.
func (p *Plug) Info() Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// Waiting is how many calls wait for their turn at the plug.
func (p *Plug) Waiting() (polls, commands int) {
	commands, polls = p.queue.Lengths()
	return polls, commands
}

// Address is where the plug is asked, with its port.
func (p *Plug) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client.Address()
}

// Move sets the address that the plug has from now on. Which plug it is stays as
// it was. A question on its way still goes to the old one.
func (p *Plug) Move(address string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.opts
	o.Address = address
	return p.setOptions(o)
}

// Poll reads the plug when its turn comes: one exchange, the first time two. A
// device without a meter gives its relay only.
//
// Errors say in one word why, by a method Reason() string: "offline", "refused",
// "silent", "locked", "garbage", "unsupported" or "wrong plug"; errors.Is knows
// the classes of shared/hs110. Only a context that was cancelled, or ran out
// before the plug's turn came, gives an error without.
func (p *Plug) Poll(ctx context.Context) (device.Measurement, error) {
	if err := p.queue.Acquire(ctx, drivers.Poll); err != nil {
		return device.Measurement{}, fmt.Errorf("poll %s: %w", p.id, err)
	}
	defer p.queue.Release()
	c, m := p.asked()
	if m == unknown {
		info, err := p.look(ctx, c)
		if err != nil {
			return device.Measurement{}, err
		}
		if !info.HasMeter() {
			return relayOnly(c, &info)
		}
	}
	if m == absent {
		info, err := p.look(ctx, c)
		if err != nil {
			return device.Measurement{}, err
		}
		return relayOnly(c, &info)
	}
	s, err := c.Poll(ctx)
	if err == nil {
		err = p.identify(c, "poll", &s.Info)
	}
	if err != nil {
		return device.Measurement{}, err
	}
	p.learn(c, &s.Info, s.MeterErr)
	return measurement(&s), nil
}

// measurement is what a combined answer says. A meter that failed leaves its
// trace as a suspect: the relay was read all the same.
func measurement(s *hs110.Status) device.Measurement {
	m := device.Measurement{
		Power: s.Power, Voltage: s.Voltage, Current: s.Current, Energy: s.Energy,
		On: s.On, Suspects: s.Suspects,
	}
	if s.MeterErr != nil && !errors.Is(s.MeterErr, hs110.ErrNoMeter) {
		raw := s.MeterErr.Error()
		if e, ok := errors.AsType[*hs110.Error](s.MeterErr); ok && e.Err != nil {
			raw = e.Err.Error()
		}
		m.Suspects = append(m.Suspects, device.Suspect{Field: device.Power, Raw: raw})
	}
	return m
}

// relayOnly is what a device without a meter tells; one without either is of no
// use here.
func relayOnly(c *hs110.Client, i *hs110.Info) (device.Measurement, error) {
	m := device.Measurement{On: i.On}
	if s, ok := i.RelaySuspect(); ok {
		m.Suspects = []device.Suspect{s}
		return m, nil
	}
	return m, hasRelay(c, i)
}

var errNoRelay = errors.New("the device has no relay of its own")

// asked is whom to ask and how.
func (p *Plug) asked() (*hs110.Client, meter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client, p.meter
}

// look asks for sysinfo, checks whose it is and remembers it.
func (p *Plug) look(ctx context.Context, c *hs110.Client) (hs110.Info, error) {
	info, err := c.Info(ctx)
	if err == nil {
		err = p.identify(c, "get_sysinfo", &info)
	}
	if err != nil {
		return hs110.Info{}, err
	}
	p.learn(c, &info, nil)
	return info, nil
}

// identify compares who answered with who belongs here. After a stranger nothing
// is known of the meter at the address any more.
func (p *Plug) identify(c *hs110.Client, op string, i *hs110.Info) error {
	p.mu.Lock()
	deviceID, mac := p.identity()
	elsewhere := p.opts.Elsewhere
	p.mu.Unlock()
	err := c.Identify(op, i, deviceID, mac)
	if err == nil && deviceID == "" && mac == "" && elsewhere != nil && elsewhere(i.DeviceID, i.MAC) {
		err = &hs110.Error{Op: op, Address: c.Address(), Class: hs110.ErrIdentity, Err: errElsewhere}
	}
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == c {
		p.meter = unknown
	}
	return err
}

var errElsewhere = errors.New("it is the plug of another place")

// identity is which plug belongs here; the caller holds the lock.
func (p *Plug) identity() (deviceID, mac string) {
	if p.opts.DeviceID == "" && p.opts.MAC == "" {
		return p.pinned.deviceID, p.pinned.mac
	}
	return p.opts.DeviceID, p.opts.MAC
}

// learn remembers an answer of the right plug. An answer from before [Plug.Move]
// says nothing about the new address.
func (p *Plug) learn(c *hs110.Client, i *hs110.Info, meterErr error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != c {
		return
	}
	swapped := p.info.DeviceID != i.DeviceID || p.info.Firmware != i.Firmware
	p.info = Info{Info: *i, Address: c.Address(), Time: time.Now()}
	p.pinned.deviceID, p.pinned.mac = i.DeviceID, i.MAC
	switch {
	case errors.Is(meterErr, hs110.ErrNoMeter), !i.HasMeter(): // what it does counts more than what it says
		p.meter = absent
	case p.meter == unknown || swapped:
		p.meter = present
	}
}
