package influxd

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// address gives where influxd is to listen: what it had before, what was
// configured, or a free port of loopback.
func (s *Server) address() (string, error) {
	address := s.cfg.Address
	if s.isReady() {
		address = strings.TrimPrefix(s.URL(), "http://")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return freePort(host)
	}
	if err := tryListen(address); err != nil {
		return "", fmt.Errorf("%w: end what listens there, or choose another address", err)
	}
	return address, nil
}

// freePort looks below the ports that the kernel gives to outgoing connections
// (32768 and up by default): one of those could take it while influxd is down.
func freePort(host string) (string, error) {
	for range 100 {
		address := net.JoinHostPort(host, strconv.Itoa(20000+rand.IntN(12000)))
		if tryListen(address) == nil {
			return address, nil
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // does not block
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func tryListen(address string) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // does not block
	if err != nil {
		return err
	}
	return l.Close()
}
