package discovery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// crowd answers on every address of the loopback network that nobody else has, as
// another plug each time.
type crowd struct {
	listener net.Listener
	done     sync.WaitGroup
	answered atomic.Int64
}

func newCrowd(t *testing.T, port int) *crowd {
	t.Helper()
	l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{listener: l}
	c.done.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.done.Go(func() { c.answer(conn) })
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); c.done.Wait() })
	return c
}

func (c *crowd) answer(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := hs110.ReadFrame(conn, nil); err != nil {
		return
	}
	n := c.answered.Add(1)
	body := fmt.Sprintf(`{"system":{"get_sysinfo":{"model":"HS110(EU)","feature":"TIM:ENE","alias":%q,"deviceId":"%040X","mac":"02:00:%02X:%02X:%02X:%02X"}}}`,
		strings.Repeat("a", 10_000), n, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	_, _ = conn.Write(hs110.AppendFrame(nil, []byte(body)))
}

func bare(t *testing.T, o discovery.Options) *discovery.Discovery {
	t.Helper()
	o.Gateway = "edge-f1"
	o.Clock = func() (device.Micros, bool) { return device.MicrosOf(time.Now()), true }
	return discovery.New(o, slog.New(slog.DiscardHandler))
}

func TestAHostThatAnswersForThousandsOfPlugsIsBounded(t *testing.T) {
	t.Parallel()
	const port = 19790
	c := newCrowd(t, port)
	s := &stand{t: t, Discovery: bare(t, discovery.Options{Port: port, LockedPort: port + 1, ScanEvery: 100 * time.Millisecond})}
	s.Configure(contract.Discovery{Ranges: []string{"127.210.0.0/20"}})
	s.run()
	eventually(t, "more plugs than are told of", func() bool { f, _ := s.Found(); return f.More > 0 })
	eventually(t, "a second scan, of others again", func() bool { return c.answered.Load() > 5000 })
	s.stop()
	f, _ := s.Found()
	if len(f.Plugs) != contract.MaxFound || s.Entries() > discovery.MaxEntries {
		t.Errorf("%d plugs are told of, %d remembered", len(f.Plugs), s.Entries())
	}
	if text, err := json.Marshal(f); err != nil || len(text) > 2<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// A single address can't nominate more than itself, whatever it claims.
func TestAnAddressNamesItselfOnly(t *testing.T) {
	t.Parallel()
	d := bare(t, discovery.Options{})
	from := netip.MustParseAddrPort("10.0.0.7:9999")
	var lies [][]byte
	for n := range 5000 {
		lies = append(lies, hs110.AppendDatagram(nil, fmt.Appendf(nil, `{"system":{"get_sysinfo":{"deviceId":"%040X","mac":"02:00:00:00:%02X:%02X"}}}`, n, n>>8, n&255)))
	}
	if got := d.Hear(from, lies...); len(got) != 1 || got[0] != "10.0.0.7:9999" || d.Entries() != 0 {
		t.Errorf("to be asked: %v, %d remembered", got, d.Entries())
	}
	if got := d.Hear(netip.MustParseAddrPort("10.0.0.7:9998"), lies[0]); len(got) != 0 {
		t.Errorf("from another port: %v", got)
	}
}

// deaf makes addresses that swallow connections: their listeners' queues are full.
func deaf(t testing.TB, port int, addresses []netip.Addr) {
	t.Helper()
	for _, ip := range addresses {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(fd) })
		if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: ip.As4()}), syscall.Listen(fd, 0)); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp4", netip.AddrPortFrom(ip, uint16(port)).String()) // takes the only seat
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

func TestDeadAddressesDoNotHoldAScanUp(t *testing.T) {
	t.Parallel()
	const port = 19786
	var dead []netip.Addr
	for n := range 250 {
		dead = append(dead, netip.AddrFrom4([4]byte{127, 211, 0, byte(n + 1)}))
	}
	deaf(t, port, dead)
	s := &stand{t: t, Discovery: bare(t, discovery.Options{Port: port, LockedPort: port + 1})}
	s.Configure(contract.Discovery{Ranges: []string{"127.211.0.0/24"}})
	begin := time.Now()
	s.run()
	eventually(t, "the end of the scan", func() bool { _, ok := s.Found(); return ok })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestTextsOfPlugsAreBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain": "plain", "  a\nb\x00\u007fc  ": "abc", strings.Repeat("ü", 10): "üüüü", "\xff\xfeok": "ok", "": "", "日本語日本語": "日本",
	} {
		if got := discovery.Clean(text, 8); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"system":{"get_sysinfo":{"mac":"02:00:00:00:00:01","alias":"x"}}}`), uint16(9999))
	f.Add([]byte("0123456789abcdef{\"result\":{\"mac\":\"02-00-00-00-00-01\",\"mgt_encrypt_schm\":{\"encrypt_type\":\"KLAP\"}}}"), uint16(20002))
	f.Add([]byte{}, uint16(9999))
	f.Fuzz(func(t *testing.T, body []byte, port uint16) {
		d := discovery.New(discovery.Options{Clock: func() (device.Micros, bool) { return 0, false }}, slog.New(slog.DiscardHandler))
		from := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.7"), port)
		asked := d.Hear(from, hs110.AppendDatagram(nil, body), append([]byte(nil), body...))
		if len(asked) > 1 || len(asked) == 1 && asked[0] != "10.0.0.7:9999" {
			t.Errorf("to be asked: %v", asked)
		}
		if s := discovery.Clean(string(body), 32); len(s) > 32 || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x00") {
			t.Errorf("%q", s)
		}
	})
}
