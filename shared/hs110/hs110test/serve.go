package hs110test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/wattline/wattline/shared/hs110"
)

// idle is how long hardware version 2 keeps a connection that nobody uses.
const idle = 60 * time.Second

func (p *Plug) accept(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, or a connection that is gone already
			p.sleep(10 * time.Millisecond)
		default:
			p.take(c)
		}
	}
}

// take serves a new connection, or drops it.
func (p *Plug) take(c *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := p.busy()
	if p.listener == nil || p.fault.OneConnection && busy > 0 {
		_ = c.SetLinger(0) // a reset, as a busy plug gives
		_ = c.Close()
		return
	}
	p.conns[c] = true
	p.maxBusy.Store(max(p.maxBusy.Load(), int64(busy+1)))
	p.wg.Go(func() {
		p.serve(c)
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	})
}

// busy counts the connections that have not got their answer; p.mu is held.
func (p *Plug) busy() (n int) {
	for _, b := range p.conns {
		if b {
			n++
		}
	}
	return n
}

// serve answers the questions of one connection until it ends.
func (p *Plug) serve(c *net.TCPConn) {
	var in, out []byte
	for {
		if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		var err error
		if p.opts.Hardware == HW1 {
			in, err = readAny(c, in)
		} else {
			in, err = hs110.ReadFrame(c, in)
		}
		if err != nil {
			return
		}
		p.requests.Add(1)
		if p.opts.OnRequest != nil {
			p.opts.OnRequest(in)
		}
		p.mu.Lock()
		f := p.strike()
		p.conns[c] = true
		p.mu.Unlock()
		if f.Delay > 0 {
			p.sleep(f.Delay)
		}
		var ok bool
		if out, ok = p.answer(out[:0], in, f); !ok || f.Silent {
			p.swallow(c)
			return
		}
		// Not busy from just before the answer: who has read it may come back at once.
		p.mu.Lock()
		p.conns[c] = false
		p.mu.Unlock()
		if !p.send(c, out, f) || p.opts.Hardware == HW1 {
			return
		}
	}
}

// swallow leaves the client without an answer until it gives up.
func (p *Plug) swallow(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(idle))
	_, _ = io.Copy(io.Discard, c)
}

// send sends the answer to a question, with the fault's touch; it reports
// whether the connection goes on.
func (p *Plug) send(c *net.TCPConn, body []byte, f Fault) bool {
	frame := hs110.AppendFrame(nil, body)
	if f.Garbage != nil {
		frame = f.Garbage
	}
	if f.CutAfter > 0 {
		frame = frame[:min(f.CutAfter, len(frame))]
	}
	if f.Close || f.Reset {
		frame = nil
	}
	if f.Reset {
		_ = c.SetLinger(0)
	}
	if err := c.SetWriteDeadline(time.Now().Add(idle)); err != nil {
		return false
	}
	if f.Split {
		for _, n := range []int{1, 2, 6, 200} {
			n = min(n, len(frame))
			if _, err := c.Write(frame[:n]); err != nil {
				return false
			}
			frame = frame[n:]
			p.sleep(2 * time.Millisecond) // or the kernel would put the pieces together again
		}
	}
	if _, err := c.Write(frame); err != nil {
		return false
	}
	return !f.Close && !f.Reset && f.CutAfter == 0
}

// readAny reads a question the way hardware version 1 does: whatever length the
// four bytes announce, until the text is a whole JSON value.
func readAny(c net.Conn, buf []byte) ([]byte, error) {
	const headerLen = 4
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	buf = buf[:0]
	chunk := make([]byte, 1024)
	for {
		n, err := c.Read(chunk)
		if err != nil {
			return nil, err
		}
		if buf = append(buf, chunk[:n]...); len(buf) > hs110.MaxBody {
			return nil, os.ErrInvalid
		}
		// What is missing cannot be told from what is broken; both wait for more.
		plain, err := hs110.DecodeDatagram(bytes.Clone(buf))
		if err == nil && json.Valid(plain) {
			return append(buf[:0], plain...), nil
		}
	}
}
