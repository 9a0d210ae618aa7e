package republish_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

// cable leads to a broker until it is cut.
type cable struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex // protects conns
	conns []net.Conn
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener}
	c.running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, near, far)
			c.mu.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				c.running.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(c.cut)
	return c
}

func (c *cable) cut() {
	_ = c.listener.Close()
	c.mu.Lock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}

// Who listens learns that nobody republishes any more, though the hook could not
// say so.
func TestAHookThatIsCutOffIsToldOfByItsWill(t *testing.T) {
	b := bustest.Start(t)
	f := newFloor(t, bus.Options{URL: b.URL}, bus.Options{})
	f.furnish(place("sp_f1.g0", ""))
	line := newCable(t, strings.TrimPrefix(b.URL, "tcp://"))
	f.options.URL = "tcp://" + line.listener.Addr().String()
	f.start()
	f.until("homeassistant/device/wattline_sp_f1_g0/config", "wattline/availability")
	line.cut()
	f.until("wattline/availability", "offline")
}
