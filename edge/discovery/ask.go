package discovery

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/wattline/wattline/shared/hs110"
)

// atOnce bounds the connections of one look.
const atOnce = 256

// ask asks addresses by TCP who is there and enters who answers. refused, if not
// nil, gets those that refused the connection.
func (d *Discovery) ask(ctx context.Context, addresses []string, timeout time.Duration, how way, refused func(address string)) {
	next := make(chan string)
	var workers sync.WaitGroup
	for range min(atOnce, len(addresses)) {
		workers.Go(func() {
			for address := range next {
				d.askOne(ctx, address, timeout, how, refused)
			}
		})
	}
	for _, address := range addresses {
		select {
		case next <- address:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
}

func (d *Discovery) askOne(ctx context.Context, address string, timeout time.Duration, how way, refused func(address string)) {
	if ctx.Err() != nil {
		return
	}
	const dialing = 4 // of 5 parts of the time
	c, err := hs110.New(address, hs110.Options{DialTimeout: timeout * dialing / 5, Timeout: timeout, HTTPPort: -1, KLAPPort: -1})
	if err != nil {
		return // an address that came from a name in the configuration
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d.count.asks.Inc()
	told, err := c.Info(ctx)
	switch {
	case err == nil:
		d.arrived(&told, c.Address(), how)
	case refused != nil && errors.Is(err, syscall.ECONNREFUSED):
		refused(c.Address())
	}
}

// answers are what came back by UDP in one look.
type answers struct {
	d *Discovery

	mu      sync.Mutex // protects what follows
	named   map[netip.Addr]bool
	settled map[netip.Addr]bool // no need to ask them
	locked  map[netip.Addr]hs110.Locked
	left    int // datagrams that are still read
}

const (
	// maxNamed bounds the addresses that one look asks because they answered by
	// UDP; maxDatagrams the answers that are read at all.
	maxNamed     = 8192
	maxDatagrams = 1 << 16
)

func (d *Discovery) newAnswers() *answers {
	return &answers{d: d, named: map[netip.Addr]bool{}, settled: map[netip.Addr]bool{}, locked: map[netip.Addr]hs110.Locked{}, left: maxDatagrams}
}

// hear takes a datagram; only what comes from a plug's own port counts.
func (a *answers) hear(from netip.AddrPort, datagram []byte) {
	ip := from.Addr().Unmap()
	d := a.d
	d.count.answers.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left--; a.left < 0 {
		d.count.ignored.Inc()
		return
	}
	switch int(from.Port()) {
	case d.o.Port:
		if a.settled[ip] {
			return
		}
		told, err := hs110.ParseInfoDatagram(datagram)
		if err != nil {
			break
		}
		if d.recognised(&told, netip.AddrPortFrom(ip, from.Port()).String()) {
			a.settled[ip] = true
			return
		}
		if a.named[ip] || len(a.named) < maxNamed {
			a.named[ip] = true
			return
		}
	case d.o.LockedPort:
		l, ok := hs110.ParseLockedDatagram(datagram)
		if _, again := a.locked[ip]; ok && l.MAC != "" && (again || len(a.locked) < maxNamed) {
			a.locked[ip] = l
			return
		}
	}
	d.count.ignored.Inc()
}

// recognised reports whether an answer by UDP is that of a plug that is known to
// be at its address and tells nothing new. Others are to be asked by TCP.
func (d *Discovery) recognised(told *hs110.Info, address string) bool {
	i, ok := bounded(*told)
	if !ok {
		return true // no identity: of no use
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	e := d.table.find(&i)
	if k := d.owner(&i); k != nil && !k.lost() {
		// It is read all the time: leave it alone, and remember where else it was.
		if e != nil && d.full(k.Address) == address {
			e.missed, e.way = 0, byBroadcast
		} else if e != nil {
			e.other, e.otherSeen = address, now
		}
		return true
	}
	if e == nil || e.address != address || e.problem != "" || e.info.Firmware != i.Firmware || e.info.Alias != i.Alias || e.info.Model != i.Model {
		return false
	}
	e.seen, e.missed = now, 0
	return true
}

// toAsk is the addresses that must be asked by TCP.
func (a *answers) toAsk() (addresses []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	add := func(ip netip.Addr) {
		addresses = append(addresses, netip.AddrPortFrom(ip, uint16(a.d.o.Port)).String()) //nolint:gosec // a port
	}
	for ip := range a.named {
		if !a.settled[ip] {
			add(ip)
		}
	}
	for ip := range a.locked {
		if !a.named[ip] && !a.settled[ip] {
			add(ip)
		}
	}
	return addresses
}

// refused enters a plug that refuses the protocol's port and answers on that of
// the newer one.
func (a *answers) refused(address string) {
	a.mu.Lock()
	l, ok := a.locked[addressOf(address)]
	a.mu.Unlock()
	if !ok {
		return
	}
	d := a.d
	d.mu.Lock()
	defer d.mu.Unlock()
	told := hs110.Info{MAC: l.MAC, Model: l.Model}
	now := time.Now()
	e := d.table.find(&told)
	if e == nil {
		if e = d.sighted(&told, address, now, byScan); e == nil {
			return
		}
	}
	if e.problem != locked {
		e.problem = locked
		d.tellOf("plug is locked by its firmware", &e.info, address, "")
	}
	e.address, e.seen, e.missed = address, now, 0
}
