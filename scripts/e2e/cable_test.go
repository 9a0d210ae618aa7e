package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// verdict is what happens to one MQTT packet on a cable.
type verdict int

const (
	pass  verdict = iota
	drop          // it never arrives
	reset         // it never arrives, and both ends get a reset
)

// packet is an MQTT packet on its way (MQTT 3.1.1 section 2).
type packet struct {
	up    bool // from the gateway to the broker
	kind  byte // control packet type
	topic string
	raw   []byte
}

// Types of control packets.
const (
	connectPacket = 1
	publishPacket = 3
	pubackPacket  = 4
)

// cable is a TCP proxy between a gateway and the broker, with faults to order.
type cable struct {
	address string
	target  string

	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex // protects what follows
	judge  func(packet) verdict
	delay  time.Duration
	thaw   chan struct{} // not nil: nothing moves in either direction
	cut    bool          // new connections are refused
	conns  map[net.Conn]bool
	closed bool
}

func newCable(t testing.TB, address, target string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{address: address, target: target, listener: listener, conns: make(map[net.Conn]bool)}
	c.running.Go(c.accept)
	t.Cleanup(c.close)
	return c
}

func (c *cable) close() {
	c.heal()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = c.listener.Close()
	c.hangUp(false)
	c.running.Wait()
}

// heal ends all faults for what comes from now on. Connections that were frozen
// go on, as when a plug is put back in.
func (c *cable) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge, c.delay, c.cut = nil, 0, false
	if c.thaw != nil {
		close(c.thaw)
		c.thaw = nil
	}
}

// mend lets new connections in again; rules stay.
func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}

// freeze stops everything in both directions and closes nothing: a half-open
// connection.
func (c *cable) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.thaw == nil {
		c.thaw = make(chan struct{})
	}
}

// rule sets who decides on each packet.
func (c *cable) rule(judge func(packet) verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge = judge
}

// slow delays each packet.
func (c *cable) slow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// unplug closes all connections and refuses new ones.
func (c *cable) unplug() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.hangUp(false)
}

// hangUp closes all connections, with a reset if asked to.
func (c *cable) hangUp(hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok && hard {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.running.Go(func() { c.carry(near) })
	}
}

// add keeps a connection for hangUp; false means that it must not live.
func (c *cable) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || c.closed {
		_ = conn.Close()
		return false
	}
	c.conns[conn] = true
	return true
}

func (c *cable) carry(near net.Conn) {
	if !c.add(near) {
		return
	}
	far, err := net.Dial("tcp", c.target)
	if err != nil || !c.add(far) {
		c.end(near)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { c.pump(near, far, true) })
	both.Go(func() { c.pump(far, near, false) })
	both.Wait()
	c.end(near, far)
}

func (c *cable) end(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(c.conns, conn)
	}
}

// pump moves packets from one end to the other until either is gone.
func (c *cable) pump(from, to net.Conn, up bool) {
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		p, err := readPacket(in, up)
		if err != nil {
			break
		}
		c.mu.Lock()
		judge, delay, thaw := c.judge, c.delay, c.thaw
		c.mu.Unlock()
		if thaw != nil {
			<-thaw
		}
		pause(delay)
		what := pass
		if judge != nil {
			what = judge(p)
		}
		if what == reset {
			for _, conn := range []net.Conn{from, to} {
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
			}
			break
		}
		if what == drop {
			continue
		}
		if _, err := to.Write(p.raw); err != nil {
			break
		}
	}
	_ = from.Close()
	_ = to.Close()
}

func readPacket(in *bufio.Reader, up bool) (packet, error) {
	first, err := in.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, err := binary.ReadUvarint(in) // the same encoding as a remaining length's
	if err != nil {
		return packet{}, err
	}
	if length > 16<<20 {
		return packet{}, errors.New("no MQTT packet is that long")
	}
	raw := binary.AppendUvarint([]byte{first}, length)
	head := len(raw)
	raw = append(raw, make([]byte, length)...)
	if _, err := io.ReadFull(in, raw[head:]); err != nil {
		return packet{}, err
	}
	p := packet{up: up, kind: first >> 4, raw: raw}
	if body := raw[head:]; p.kind == publishPacket && len(body) >= 2 {
		n := int(binary.BigEndian.Uint16(body))
		if len(body) >= 2+n {
			p.topic = string(bytes.Clone(body[2 : 2+n]))
		}
	}
	return p, nil
}
