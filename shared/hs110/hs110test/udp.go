package hs110test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/wattline/wattline/shared/hs110"
)

// listenUDP opens a socket that may share its port with the one of [Broadcast]
// and with simulators of other makers.
func listenUDP(address string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := lc.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		return nil, err
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("packet connection of type %T", c), c.Close())
	}
	return udp, nil
}

func (p *Plug) serveUDP(c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue
		}
		body, err := hs110.DecodeDatagram(buf[:n])
		if err != nil {
			continue
		}
		if answer, ok := p.answer(nil, body, Fault{}); ok {
			_, _ = c.WriteToUDPAddrPort(hs110.AppendDatagram(nil, answer), from)
		}
	}
}

// Broadcast answers questions that are broadcast to a port on behalf of plugs,
// each from its own address, as plugs on a LAN do. Close it.
type Broadcast struct {
	conn *net.UDPConn
	wg   sync.WaitGroup
}

// ListenBroadcast listens on port of all addresses for datagrams to a broadcast
// address, 127.255.255.255 in particular. The port may be shared with others who
// allow it.
func ListenBroadcast(port int, plugs []*Plug) (*Broadcast, error) {
	c, err := listenUDP(fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for broadcasts: %w", err)
	}
	raw, err := c.SyscallConn()
	if err == nil {
		// The destination of each datagram, to leave alone what was meant for one address.
		if cerr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
		}); cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for broadcasts: %w", err), c.Close())
	}
	b := &Broadcast{conn: c}
	b.wg.Go(func() { b.serve(plugs) })
	return b, nil
}

// Close ends it. It is safe twice.
func (b *Broadcast) Close() error {
	_ = b.conn.Close()
	b.wg.Wait()
	return nil
}

func (b *Broadcast) serve(plugs []*Plug) {
	buf, oob := make([]byte, 2048), make([]byte, 256)
	for {
		n, on, _, from, err := b.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 || !toAll(oob[:on]) {
			continue
		}
		body, err := hs110.DecodeDatagram(buf[:n])
		if err != nil {
			continue
		}
		for i, p := range plugs {
			if i%16 == 15 {
				time.Sleep(time.Millisecond) // or the asker's buffer overflows, as on no LAN
			}
			p.mu.Lock()
			udp := p.udp
			p.mu.Unlock()
			if udp == nil {
				continue // refuses, or has no UDP
			}
			if answer, ok := p.answer(nil, body, Fault{}); ok {
				_, _ = udp.WriteToUDPAddrPort(hs110.AppendDatagram(nil, answer), from)
			}
		}
	}
}

// toAll reports whether the control message says that a datagram was sent to a
// broadcast address.
func toAll(oob []byte) bool {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		// struct in_pktinfo, ip(7): interface index, local address, destination.
		const destination, size = 8, 12
		if m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= size {
			return m.Data[destination+3] == 255
		}
	}
	return false
}
