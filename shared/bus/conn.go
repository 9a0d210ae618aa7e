package bus

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"syscall"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// open makes the network connection for paho 1.5.1, which reads a packet byte
// by byte and, beside a broker that leaves Nagle's algorithm on, loses 40 ms:
// Mosquitto 2.0 holds an answer back until the acknowledgement it sent before
// is acknowledged in turn, and the kernel puts that off for as long (seen:
// question and answer in 44 ms, and in 1 ms this way). It goes straight to the
// broker; proxies of the environment are not used.
func open(broker *url.URL, o paho.ClientOptions) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", broker.Host)
	if err != nil {
		return nil, err
	}
	conn := net.Conn(prompt{raw})
	if isTLS(broker.Scheme) {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLSConfig != nil {
			config = o.TLSConfig.Clone()
		}
		if config.ServerName == "" {
			config.ServerName = broker.Hostname()
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	return buffered{conn, bufio.NewReaderSize(conn, 16<<10)}, nil
}

func isTLS(scheme string) bool { return scheme == "tls" || scheme == "ssl" || scheme == "mqtts" }

func isWebSocket(scheme string) bool { return scheme == "ws" || scheme == "wss" }

// buffered saves two of three system calls of each packet read.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// prompt acknowledges what it has read at once. The kernel forgets the wish as
// it goes (tcp(7), TCP_QUICKACK), so it is told again after each read.
type prompt struct{ net.Conn }

func (p prompt) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if tcp, ok := p.Conn.(*net.TCPConn); ok && n > 0 {
		if c, err := tcp.SyscallConn(); err == nil {
			_ = c.Control(func(fd uintptr) { // only a delay is at stake
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
			})
		}
	}
	return n, err
}
