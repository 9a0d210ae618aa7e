package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/shared/contract"
)

// measureDiscovery scans the 1,022 addresses of a /22, as a gateway does for a
// network behind a router: 300 have a plug, the others take no connection and
// refuse none, so that each costs its whole time.
func measureDiscovery(ctx context.Context, b *bench) error {
	sim, err := b.startPlugs(ctx, 3, 20)
	if err != nil {
		return err
	}
	defer sim.stop()
	network, err := networkOf(sim.list[0])
	if err != nil {
		return err
	}
	where := contract.Discovery{Ranges: []string{network.String()}}
	ranges, err := where.Addresses()
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, p := range sim.list {
		taken[p.Address] = true
	}
	dead := 0
	for n := range ranges[0].Len() {
		address := netip.AddrPortFrom(ranges[0].At(n), plugPort)
		if taken[address.String()] {
			continue
		}
		release, err := deafen(address)
		if err != nil {
			return fmt.Errorf("make %v dead: %w", address, err)
		}
		defer release()
		dead++
	}
	rounds := 1
	if b.long {
		rounds = 5
	}
	var took []float64
	for range rounds {
		seconds, found, err := scan(ctx, where)
		if err != nil {
			return err
		}
		if found != len(sim.list) {
			return fmt.Errorf("%d of %d plugs found", found, len(sim.list))
		}
		took = append(took, seconds)
	}
	b.note("%d addresses, %d plugs found, %d addresses where nothing answers", ranges[0].Len(), len(sim.list), dead)
	b.most("scan_22", median(took), 10, "s")
	return nil
}

const plugPort = 9999

// networkOf is the /22 that a simulated plug is in.
func networkOf(p contract.Plug) (netip.Prefix, error) {
	at, err := netip.ParseAddrPort(p.Address)
	if err != nil {
		return netip.Prefix{}, err
	}
	const bits = 22
	return at.Addr().Prefix(bits)
}

// scan looks once and tells how long until the list was there.
func scan(ctx context.Context, where contract.Discovery) (seconds float64, found int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	told := make(chan struct{}, 1)
	d := discovery.New(discovery.Options{Gateway: "bench", Clock: wallClock, Changed: func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}}, quiet)
	d.Configure(where)
	begin := time.Now()
	running := make(chan error, 1)
	go func() { running <- d.Run(ctx) }()
	select {
	case <-told:
		seconds = time.Since(begin).Seconds()
	case <-ctx.Done():
		err = errors.New("the scan came to no end")
	}
	list, _ := d.Found()
	cancel()
	return seconds, len(list.Plugs), errors.Join(err, <-running)
}

// deafen makes an address on which connections are neither taken nor refused: the
// queue of its listener is full.
func deafen(address netip.AddrPort) (release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	at := &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	if err := errors.Join(syscall.Bind(fd, at), syscall.Listen(fd, 0)); err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	only, err := dial(address.String()) // the one that has room
	if err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	return func() { _, _ = only.Close(), syscall.Close(fd) }, nil
}
