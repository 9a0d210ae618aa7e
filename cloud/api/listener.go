package api

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// listener is a net.Listener whose connections can be waited for and cut off.
type listener struct {
	net.Listener
	patience time.Duration // for a write that makes no progress

	mu   sync.Mutex // protects open
	open map[*conn]struct{}
}

// listen binds the address. An address in use is the error that people meet
// first, so it says what to do.
func listen(address string, patience time.Duration) (*listener, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // binds at once
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the address is in use, perhaps by another Wattline: end that program, "+
			"or choose a free address with http.listen in the configuration", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: ports below 1024 are for privileged programs: "+
			"choose another with http.listen in the configuration", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no such address: "+
			"choose one that it has with http.listen in the configuration", address)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return &listener{Listener: l, patience: patience, open: map[*conn]struct{}{}}, nil
}

// Accept outlives what passes: fasthttp 1.51 would end the server for good when
// the process is out of file descriptors for a moment.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			return l.keep(c), nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			time.Sleep(50 * time.Millisecond)
		case errors.Is(err, syscall.ECONNABORTED):
		default:
			return nil, err
		}
	}
}

func (l *listener) keep(c net.Conn) *conn {
	kept := &conn{Conn: c, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[kept] = struct{}{}
	return kept
}

// loopback tells whether only this machine can connect.
func (l *listener) loopback() bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// count is the number of connections that the server has not let go of.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// cut closes what is open; the server notices and lets go.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.Conn.Close()
	}
}

// conn is a connection that gives up on a peer that takes nothing. A limit on
// the whole answer would not do: it would cut long exports.
type conn struct {
	net.Conn
	listener *listener
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.listener.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
