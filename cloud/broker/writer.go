package broker

import (
	"net"
	"time"
)

// Write takes p at once.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil && c.waits+len(p) > c.limits.hard {
		c.failure = errSlow
		c.hangUp()
		c.poke()
	}
	if c.failure != nil || c.closing {
		return 0, net.ErrClosed
	}
	c.put(p)
	c.waits += len(p)
	c.pending.Add(int64(len(p)))
	c.limits.waiting.Add(int64(len(p)))
	c.poke()
	return len(p), nil
}

// put appends p to what waits: to the last piece if it fits, so that a burst of
// small packets is one write to the network. Pieces never move, so that a long
// queue is not copied as it grows.
func (c *conn) put(p []byte) {
	if last := len(c.out) - 1; last >= 0 && len(c.out[last])+len(p) <= cap(c.out[last]) {
		c.out[last] = append(c.out[last], p...)
		return
	}
	size := firstPiece
	if len(c.out) > 0 {
		size = writePiece
	}
	c.out = append(c.out, append(make([]byte, 0, max(size, len(p))), p...))
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// writeOut is the writer: it runs from the first to the last byte.
func (c *conn) writeOut() {
	defer close(c.drained)
	defer c.die()
	defer c.Conn.Close()
	for range c.wake {
		for {
			piece, done := c.next()
			if done {
				return
			}
			if piece == nil {
				break
			}
			if err := c.send(piece); err != nil {
				c.mu.Lock()
				c.failure = err
				c.mu.Unlock()
				return
			}
		}
	}
}

// next takes the first piece that waits; done tells that there is nothing more
// to do.
func (c *conn) next() (piece []byte, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failure != nil:
		return nil, true
	case len(c.out) == 0:
		return nil, c.closing
	}
	piece = c.out[0]
	c.out[0] = nil
	if c.out = c.out[1:]; len(c.out) == 0 {
		c.out = nil
	}
	c.waits -= len(piece)
	return piece, false
}

// send writes in portions, each under a deadline of its own.
func (c *conn) send(piece []byte) error {
	for len(piece) > 0 {
		c.mu.Lock()
		if !c.closing { // Close has set its own
			_ = c.Conn.SetWriteDeadline(time.Now().Add(writeTime))
		}
		c.mu.Unlock()
		n, err := c.Conn.Write(piece[:min(len(piece), writePiece)])
		c.pending.Add(int64(-n))
		c.limits.waiting.Add(int64(-n))
		if err != nil {
			return err
		}
		piece = piece[n:]
	}
	return nil
}
