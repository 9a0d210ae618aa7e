package hs110test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Fault is what is wrong with a plug; the zero value is a healthy one. Several
// may be set together.
type Fault struct {
	// The standing ones.

	Refuse        bool // the ports are closed
	Locked        bool // closed by firmware: only HTTPAddress and KLAPAddress answer
	OneConnection bool // a second connection while one is open is reset

	// The ones that strike a question. They strike all of them, or, where Every
	// is set, each Every-th, and at most Times of them where that is set.

	Delay    time.Duration // answers late
	Silent   bool          // takes the question and never answers
	Close    bool          // closes the connection instead of answering
	Reset    bool          // resets the connection instead of answering
	CutAfter int           // closes after so many bytes of the answer, if above 0
	Split    bool          // sends the answer in many segments, the header in two
	Garbage  []byte        // sends these bytes as they are instead of the answer
	Spike    device.Watts  // reports this power, if above 0

	Every, Times int
}

// SetFault replaces the fault. The error is that of listening again, after
// Refuse or Locked.
func (p *Plug) SetFault(f Fault) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("set fault of simulated plug %s: %w", p.address, net.ErrClosed)
	}
	p.fault, p.asked = f, 0
	p.struck.Store(0)
	p.unlock()
	if f.Refuse || f.Locked {
		p.hangUp()
	}
	if f.Locked {
		if err := p.lock(); err != nil {
			return fmt.Errorf("lock simulated plug %s: %w", p.address, err)
		}
	}
	if err := p.reopen(); err != nil {
		return fmt.Errorf("reopen simulated plug %s: %w", p.address, err)
	}
	return nil
}

// strike gives the fault for the next question; p.mu is held.
func (p *Plug) strike() Fault {
	f := p.fault
	p.asked++
	if f.Every > 1 && p.asked%f.Every != 0 || f.Times > 0 && p.struck.Load() >= int64(f.Times) {
		return Fault{}
	}
	if f.Delay > 0 || f.Silent || f.Close || f.Reset || f.CutAfter > 0 || f.Split || f.Garbage != nil || f.Spike > 0 {
		p.struck.Add(1)
	}
	return f
}

// Struck is how many questions the present fault has struck.
func (p *Plug) Struck() int { return int(p.struck.Load()) }

// lock opens what a locked plug listens on; p.mu is held.
func (p *Plug) lock() error {
	var lc net.ListenConfig
	if p.opts.HTTPAddress != "" {
		l, err := lc.Listen(context.Background(), "tcp4", p.opts.HTTPAddress)
		if err != nil {
			return err
		}
		p.opts.HTTPAddress = l.Addr().String()
		p.locked = append(p.locked, l)
		p.wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		})
	}
	if p.opts.KLAPAddress != "" {
		c, err := lc.ListenPacket(context.Background(), "udp4", p.opts.KLAPAddress)
		if err != nil {
			return err
		}
		p.opts.KLAPAddress = c.LocalAddr().String()
		p.locked = append(p.locked, c)
		p.wg.Go(func() { p.serveKLAP(c) })
	}
	return nil
}

// unlock closes what lock opened; p.mu is held.
func (p *Plug) unlock() {
	for _, c := range p.locked {
		_ = c.Close()
	}
	p.locked = nil
}

// LockedAddresses are HTTPAddress and KLAPAddress, with the ports that were
// picked when the plug was first locked.
func (p *Plug) LockedAddresses() (http, klap string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opts.HTTPAddress, p.opts.KLAPAddress
}

// serveKLAP answers the newer protocol's discovery: a header of 16 bytes, of
// which the question's are repeated, and a JSON text.
func (p *Plug) serveKLAP(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		const header = 16
		if n < header {
			continue
		}
		answer := fmt.Appendf(buf[:header:header], `{"result":{"device_id":%q,"device_model":"HS110(UK)","device_type":"IOT.SMARTPLUGSWITCH",`+
			`"mac":%q,"mgt_encrypt_schm":{"is_support_https":false,"encrypt_type":"KLAP","http_port":80,"lv":2}},"error_code":0}`,
			p.opts.DeviceID, p.opts.MAC)
		_, _ = c.WriteTo(answer, from)
	}
}
