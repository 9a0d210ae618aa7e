package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hs110"
)

const (
	// datagrams is how often each question goes out.
	datagrams = 3
	// maxNetworks bounds the networks that are asked by broadcast.
	maxNetworks = 64
	// maxDatagram is the longest answer that is read; real ones have 650 bytes.
	maxDatagram = 4096
	// receiveBuffer is what may come at once: a floor answers within milliseconds.
	receiveBuffer = 1 << 20
)

// networks are those of the machine that can be asked by broadcast. The loopback
// network is one where the configuration has a plug in it, which is simulated.
func (d *Discovery) networks() (found []Network) {
	d.mu.Lock()
	loopback := false
	for i := range d.known {
		loopback = loopback || addressOf(d.full(d.known[i].Home)).IsLoopback()
	}
	d.mu.Unlock()
	interfaces, err := net.Interfaces()
	if err != nil {
		d.log.Warn("network interfaces not listed: no broadcast", slog.Any("err", err))
		return nil
	}
	for _, in := range interfaces {
		asked := in.Flags&net.FlagBroadcast != 0 || loopback && in.Flags&net.FlagLoopback != 0
		if in.Flags&net.FlagUp == 0 || !asked {
			continue
		}
		addresses, err := in.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			const pair = 31
			if err != nil || !prefix.Addr().Is4() || prefix.Bits() >= pair || len(found) == maxNetworks {
				continue
			}
			found = append(found, Network{Local: prefix.Addr(), Broadcast: last(prefix)})
		}
	}
	return found
}

// last is the broadcast address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// broadcast is one round: each network is asked three times.
func (d *Discovery) broadcast(ctx context.Context) {
	begun := time.Now()
	d.count.rounds.Inc()
	a := d.newAnswers()
	var asking sync.WaitGroup
	for _, n := range d.o.Networks() {
		asking.Go(func() { d.askNetwork(ctx, n, a) })
	}
	asking.Wait()
	d.ask(ctx, a.toAsk(), patience, byBroadcast, a.refused)
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing(begun, 1, func(e *entry) bool { return e.way != byScan })
}

// askNetwork sends the datagrams from the machine's address in the network, so
// that they leave by the right interface, and hears what comes back.
func (d *Discovery) askNetwork(ctx context.Context, n Network, a *answers) {
	c, done, err := d.listen(ctx, n.Local, a)
	if err != nil {
		d.log.DebugContext(ctx, "network not asked", slog.String("address", n.Local.String()), slog.Any("err", err))
		return
	}
	defer done()
	for range datagrams {
		d.send(c, n.Broadcast)
		if !pause(ctx, d.o.Spread) {
			return
		}
	}
}

// listen opens a socket and hears what it gets until done is called.
func (d *Discovery) listen(ctx context.Context, local netip.Addr, a *answers) (c *net.UDPConn, done func(), err error) {
	c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return nil, nil, err
	}
	if err := c.SetReadBuffer(receiveBuffer); err != nil {
		d.log.DebugContext(ctx, "small receive buffer", slog.Any("err", err))
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				a.hear(from, buf[:size])
			} else if !pause(ctx, burstEvery) {
				return
			}
		}
	})
	return c, func() { _ = c.Close(); reading.Wait() }, nil
}

// send asks one address both questions. One that does not go out is like one that
// is lost.
func (d *Discovery) send(c *net.UDPConn, to netip.Addr) {
	_, _ = c.WriteToUDPAddrPort(hs110.InfoDatagram(), netip.AddrPortFrom(to, uint16(d.o.Port)))         //nolint:gosec // a port
	_, _ = c.WriteToUDPAddrPort(hs110.LockedDatagram(), netip.AddrPortFrom(to, uint16(d.o.LockedPort))) //nolint:gosec // a port
}

// pause waits; false where ctx ended first.
func pause(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// How a scan goes about it: the datagrams of a pass leave in bursts, and each
// pass waits for answers. Who is silent then is asked by TCP, briefly.
const (
	burst      = 64
	burstEvery = 10 * time.Millisecond
	passWait   = 600 * time.Millisecond
	brief      = time.Second
)

// scanAll asks each address of the ranges, those of plugs that are read well left
// out.
func (d *Discovery) scanAll(ctx context.Context, ranges []contract.AddressRange) {
	begun := time.Now()
	d.count.scans.Inc()
	targets := d.targets(ranges)
	a := d.newAnswers()
	c, done, err := d.listen(ctx, netip.IPv4Unspecified(), a)
	if err != nil {
		d.log.WarnContext(ctx, "address ranges not asked by UDP", slog.Any("err", err))
	} else {
		for range datagrams {
			if !d.pass(ctx, c, a, targets) {
				break
			}
		}
		done()
	}
	addresses := a.toAsk()
	for _, ip := range targets {
		if a.silent(ip) {
			addresses = append(addresses, netip.AddrPortFrom(ip, uint16(d.o.Port)).String()) //nolint:gosec // a port
		}
	}
	d.ask(ctx, addresses, brief, byScan, a.refused)
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing(begun, goneAfter, func(e *entry) bool { return e.way == byScan && within(ranges, addressOf(e.address)) })
}

// pass sends to everyone who has not answered yet, and waits a little.
func (d *Discovery) pass(ctx context.Context, c *net.UDPConn, a *answers, targets []netip.Addr) bool {
	sent := 0
	for _, ip := range targets {
		if !a.silent(ip) {
			continue
		}
		d.send(c, ip)
		if sent++; sent%burst == 0 && !pause(ctx, burstEvery) {
			return false
		}
	}
	return pause(ctx, passWait)
}

// silent reports whether nothing came from an address.
func (a *answers) silent(ip netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, locked := a.locked[ip]
	return !locked && !a.named[ip] && !a.settled[ip]
}

// targets are the addresses of the ranges, each once.
func (d *Discovery) targets(ranges []contract.AddressRange) (targets []netip.Addr) {
	leave := map[netip.Addr]bool{}
	d.mu.Lock()
	for i := range d.known {
		if k := &d.known[i]; !k.lost() && k.Told != nil {
			leave[addressOf(d.full(k.Address))] = true
		}
	}
	d.mu.Unlock()
	for _, r := range ranges {
		for n := range r.Len() {
			if ip := r.At(n); !leave[ip] {
				leave[ip] = true
				targets = append(targets, ip)
			}
		}
	}
	return targets
}

func within(ranges []contract.AddressRange, ip netip.Addr) bool {
	for _, r := range ranges {
		if ip.Is4() && !ip.Less(r.First) && !r.Last.Less(ip) {
			return true
		}
	}
	return false
}
