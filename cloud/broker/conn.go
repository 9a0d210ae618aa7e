package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	connectTime   = 10 * time.Second // to say CONNECT
	packetTime    = 10 * time.Second // to finish a packet that was begun,
	packetRate    = 256 << 10        // plus what it takes at this many bytes a second
	writeTime     = 10 * time.Second // without a byte taken before a client is given up
	lingerTime    = time.Second      // for the last words of a connection
	writePiece    = 64 << 10         // bytes handed to the network at once
	firstPiece    = 4 << 10          // bytes allocated for a packet when none waits
	maxConnect    = 256 << 10        // bytes of a CONNECT packet
	smallPacket   = 64 << 10         // bytes of a packet that needs no budget
	maxRemaining  = 268_435_455      // MQTT 3.1.1 section 2.2.3
	maxLengthSize = 4
	copies        = 4 // of a large packet in memory
)

var (
	errFrame    = errors.New("malformed length of an MQTT packet")
	errTooLarge = errors.New("packet too large")
	errSlow     = errors.New("the client takes nothing")
	errBudget   = errors.New("too many large packets at once")
)

// conn stands between mochi and the network. It watches the packets go by as
// they are read, so that memory and time of each are bounded before mochi
// allocates for it, and it takes what mochi writes at once, whatever the
// client does. Read, SetDeadline are for one goroutine, Write and Close for any.
type conn struct {
	net.Conn
	listener *listener
	limits   *limits
	gone     chan struct{} // closed when mochi has done with it
	// life ends when the connection begins to close.
	life context.Context //nolint:containedctx // it is the connection's life, not a call's
	die  context.CancelFunc

	// for the one reader
	frame frame
	due   time.Time // deadline of the packet under way
	// What of lent, one of limits' two, a large packet under way holds, and
	// one that mochi is at work on.
	lent         *semaphore.Weighted
	held, passed int64

	who      Who               // set before the session is established
	leaf     *x509.Certificate // verified; nil on the plain listener. Set before mochi reads
	claims   string            // the subject of a certificate that does not verify
	id       string
	expiry   *time.Timer // ends the connection with its certificate; nil without one
	inflight ledger
	evicted  bool // the listener's, under its lock

	mu      sync.Mutex // protects the fields below
	out     [][]byte   // waits to be written, small packets together
	waits   int        // bytes of it
	failure error
	closing bool
	wake    chan struct{}
	drained chan struct{} // closed when the writer has ended
	pending atomic.Int64  // bytes in out and in the writer's hands
}

// limits are what all connections share.
type limits struct {
	maxPacket int
	// What large packets that are arriving take: those of roles, who must not
	// wait behind strangers, and those of others.
	largeRoles, large *semaphore.Weighted
	hard              int          // bytes of a client's write buffer
	waiting           atomic.Int64 // bytes that wait to be sent or acknowledged, of all
}

func newConn(c net.Conn, l *limits) *conn {
	nc := &conn{
		Conn: c, limits: l, gone: make(chan struct{}), wake: make(chan struct{}, 1), drained: make(chan struct{}),
		due: time.Now().Add(connectTime),
	}
	nc.inflight.limits = l
	nc.life, nc.die = context.WithCancel(context.Background())
	_ = c.SetReadDeadline(nc.due)
	return nc
}

// Read reads and looks at the packets that pass.
func (c *conn) Read(p []byte) (int, error) {
	if c.passed > 0 { // mochi asks for more, so it has done with it
		c.lent.Release(c.passed)
		c.passed = 0
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		if e := c.watch(p[:n]); e != nil {
			return 0, e
		}
	}
	return n, err
}

// watch follows the packets in b and sets the limits of the one that b leaves
// unfinished.
func (c *conn) watch(b []byte) error {
	for len(b) > 0 {
		most := c.limits.maxPacket
		if c.frame.packets == 0 {
			most = min(most, maxConnect)
		}
		rest, begun, err := c.frame.take(b)
		if err != nil {
			return err
		}
		b = rest
		if c.held > 0 && c.frame.left == 0 {
			c.passed, c.held = c.passed+c.held, 0
		}
		if !begun {
			continue
		}
		if c.frame.body > most {
			return errTooLarge
		}
		if c.frame.body > smallPacket {
			if err := c.budget(int64(c.frame.body)); err != nil {
				return err
			}
		}
	}
	switch {
	case c.frame.packets == 0 || c.frame.packets == 1 && c.frame.underWay(): // the time for CONNECT is running
	case !c.frame.underWay():
		c.due = time.Time{}
	case c.due.IsZero():
		c.due = time.Now().Add(packetTime + time.Duration(c.frame.body)*time.Second/packetRate)
		return c.readUntil(c.due)
	}
	return nil
}

// readUntil sets the reader's deadline, unless the connection is closing.
func (c *conn) readUntil(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(t)
}

// budget waits for memory for a large packet, as long as the connection is to
// stay; mochi holds it twice while it
// arrives, and again as it passes it on.
func (c *conn) budget(size int64) error {
	ctx, cancel := context.WithTimeout(c.life, packetTime)
	defer cancel()
	if c.lent = c.limits.large; c.who.Role {
		c.lent = c.limits.largeRoles
	}
	if c.lent.Acquire(ctx, copies*size) != nil {
		return errBudget
	}
	c.held = copies * size
	if c.frame.packets > 1 {
		c.due = time.Time{} // the waiting was not the client's fault
	}
	return nil
}

// SetDeadline is mochi's keep alive. It never outlasts a packet under way, and
// writing has deadlines of its own.
func (c *conn) SetDeadline(t time.Time) error {
	if !c.due.IsZero() && c.frame.underWay() && (t.IsZero() || c.due.Before(t)) {
		t = c.due
	}
	return c.readUntil(t)
}

// drop closes without last words.
func (c *conn) drop() {
	c.hangUp()
	_ = c.Close()
}

// hangUp closes the network connection without waiting: TLS would first write a
// farewell to a peer that may not read.
func (c *conn) hangUp() {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
		return
	}
	_ = c.Conn.Close()
}

// linger lets the alert of a failed handshake reach the client: closing while
// something of it is unread would reset the connection under the alert.
func (c *conn) linger() {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return
	}
	raw, ok := secure.NetConn().(*net.TCPConn)
	if !ok || raw.CloseWrite() != nil || raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, readBuffer)
}

// handshake makes the connection secure and finds the client's certificate. It
// ends in good time whatever the client does.
func (c *conn) handshake() error {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.life, connectTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	state := secure.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return errors.New("no certificate")
	}
	c.leaf = state.PeerCertificates[0]
	return nil
}

// Close lets the last words out, for a second at most, and stops the reader at
// once. The network connection is closed by the writer.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil
	}
	c.closing = true
	c.die()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(lingerTime))
	c.poke()
	return c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// end gives back what the connection held. mochi and the writer have ended.
func (c *conn) end() {
	if c.expiry != nil {
		c.expiry.Stop()
	}
	if n := c.held + c.passed; n > 0 {
		c.lent.Release(n)
	}
	c.limits.waiting.Add(-c.pending.Load())
	c.inflight.clear()
}
