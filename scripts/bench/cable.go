package main

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// cable carries TCP connections to an address while it is plugged in. Pulled
// out, connections end and new ones are refused.
type cable struct {
	address, to string

	mu       sync.Mutex // protects what follows
	listener net.Listener
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

func newCable(to string) (*cable, error) {
	address, err := freeAddress()
	return &cable{address: address, to: to, conns: make(map[net.Conn]bool)}, err
}

func (c *cable) plugIn() error {
	l, err := listen(c.address)
	if err != nil {
		return fmt.Errorf("plug the cable in: %w", err)
	}
	c.mu.Lock()
	c.listener = l
	c.mu.Unlock()
	c.running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := dial(c.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.carry(near, far)
			c.carry(far, near)
		}
	})
	return nil
}

func (c *cable) carry(from, to net.Conn) {
	c.mu.Lock()
	c.conns[from] = true
	c.mu.Unlock()
	c.running.Go(func() {
		_, _ = io.Copy(to, from)
		_, _ = from.Close(), to.Close()
		c.mu.Lock()
		delete(c.conns, from)
		c.mu.Unlock()
	})
}

func (c *cable) pull() {
	c.mu.Lock()
	if c.listener != nil {
		_ = c.listener.Close()
	}
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}
