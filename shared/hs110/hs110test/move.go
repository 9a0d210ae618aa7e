package hs110test

import (
	"cmp"
	"fmt"
	"net"
)

// Move gives the plug another address, as a DHCP server does: what is open ends,
// and nothing answers at the old one. Without a port the plug keeps its own.
// Where another has the address, the plug is nowhere until that has moved and
// Move is called again.
func (p *Plug) Move(address string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.move(address)
}

// Swap lets two plugs exchange their addresses.
func Swap(a, b *Plug) error {
	first, second := a.Address(), b.Address()
	a.mu.Lock()
	a.hangUp()
	a.unlock()
	a.mu.Unlock()
	if err := b.Move(first); err != nil {
		return err
	}
	return a.Move(second)
}

// move is Move; p.mu is held.
func (p *Plug) move(address string) error {
	if p.closed {
		return fmt.Errorf("move simulated plug %s: %w", p.address, net.ErrClosed)
	}
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return fmt.Errorf("move simulated plug %s: %w", p.address, err)
	}
	host, other, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	p.hangUp()
	p.unlock()
	p.address = net.JoinHostPort(host, cmp.Or(other, port))
	for _, locked := range []*string{&p.opts.HTTPAddress, &p.opts.KLAPAddress} {
		if _, port, err := net.SplitHostPort(*locked); err == nil {
			*locked = net.JoinHostPort(host, port)
		}
	}
	if p.fault.Locked {
		if err := p.lock(); err != nil {
			return fmt.Errorf("move simulated plug to %s: %w", p.address, err)
		}
	}
	if err := p.reopen(); err != nil {
		return fmt.Errorf("move simulated plug to %s: %w", p.address, err)
	}
	return nil
}

// Update gives the plug another firmware version text, as an update by night does.
func (p *Plug) Update(firmware string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opts.Firmware = firmware
}
