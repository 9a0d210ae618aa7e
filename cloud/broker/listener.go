package broker

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

const (
	maxSilent  = 256 // connections that have not said CONNECT
	acceptWait = 50 * time.Millisecond
)

// listener accepts connections for mochi. Unlike mochi's own it survives a
// failing accept (no descriptors left) and a panic in the handling of a client,
// bounds the connections, and has ended all of them when Close returns.
type listener struct {
	net.Listener
	name    string             // tcp or tls
	tls     *tls.Config        // nil on the plain one
	bad     func(*conn, error) // told of handshakes that came to nothing
	log     *slog.Logger
	limits  *limits
	most    int
	counted *counters
	left    func(*conn) // told of each connection that has ended
	dismiss func()      // says goodbye to the clients of this listener

	running sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	closed  bool
	leaving int                     // of open, those evicted and about to end
	open    map[*conn]*list.Element // nil element once it has said CONNECT
	silent  *list.List              // of *conn, oldest first
}

var _ listeners.Listener = (*listener)(nil)

func newListener(l net.Listener, secure *tls.Config, most int, limits *limits, counted *counters, log *slog.Logger) *listener {
	name := "tcp"
	if secure != nil {
		name = "tls"
	}
	return &listener{Listener: l, name: name, tls: secure, log: log, limits: limits, most: most, counted: counted, open: make(map[*conn]*list.Element), silent: list.New()}
}

// Init, ID, Address and Protocol are mochi's.
func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return l.name }
func (l *listener) Address() string         { return l.Addr().String() }
func (l *listener) Protocol() string        { return l.name }

// Serve accepts until Close. mochi calls it on a goroutine of its own.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.counted.refused.Add(1)
			time.Sleep(acceptWait) // descriptors may come back
			continue
		}
		if l.tls != nil {
			nc = tls.Server(nc, l.tls)
		}
		c := newConn(nc, l.limits)
		c.listener = l
		if !l.admit(c, establish) {
			l.counted.refused.Add(1)
			c.die()
			c.hangUp()
		}
	}
}

// admit lets a connection in and serves it, at the cost of the oldest silent one
// if there are too many of those.
func (l *listener) admit(c *conn, establish listeners.EstablishFn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open)-l.leaving >= l.most+maxSilent {
		return false
	}
	l.open[c] = l.silent.PushBack(c)
	if l.silent.Len() > maxSilent {
		oldest, ok := l.silent.Remove(l.silent.Front()).(*conn)
		if ok {
			l.open[oldest] = nil
			oldest.evicted = true
			l.leaving++
			l.counted.refused.Add(1)
			oldest.drop()
		}
	}
	l.running.Go(c.writeOut) // under the lock, so that Close waits for them
	l.running.Go(func() { l.handle(c, establish) })
	return true
}

// spoke notes that a connection has said CONNECT.
func (l *listener) spoke(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.open[c]; e != nil {
		l.silent.Remove(e)
		l.open[c] = nil
	}
}

// handle lets mochi serve one connection. A panic in there ends this connection
// only.
func (l *listener) handle(c *conn, establish listeners.EstablishFn) {
	defer l.forget(c)
	defer func() {
		if p := recover(); p != nil {
			l.counted.panics.Add(1)
			l.log.ErrorContext(context.Background(), "client made the broker panic", slog.String("source", c.RemoteAddr().String()),
				slog.Any("err", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	if err := c.handshake(); err != nil {
		l.bad(c, err)
		c.linger()
		return
	}
	_ = establish(l.ID(), c) // how a client left is not news
}

func (l *listener) forget(c *conn) {
	_ = c.Close()
	l.left(c)
	close(c.gone)
	<-c.drained
	c.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.open[c]; e != nil {
		l.silent.Remove(e)
	}
	delete(l.open, c)
	if c.evicted {
		l.leaving--
	}
}

// Close stops accepting, ends all connections and waits for them. What mochi
// 2.7.9 gives to dismiss its clients is left alone: it takes the read lock of
// its clients twice, and when one leaves between, nobody moves any more.
func (l *listener) Close(listeners.CloseFn) {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		_ = l.Listener.Close()
		l.dismiss()
		l.mu.Lock()
		for c := range l.open {
			_ = c.Close()
		}
		l.mu.Unlock()
	}
	l.running.Wait()
}
