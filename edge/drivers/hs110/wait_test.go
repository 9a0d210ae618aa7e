package hs110_test

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hs110"
)

func port(t *testing.T, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newScript is a plug that gives every question the same answer; it returns its
// address.
func newScript(t *testing.T, answer string, asked *requests) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if b, err := hs110.ReadFrame(c, nil); err == nil {
				asked.add(b)
				_, _ = c.Write(hs110.AppendFrame(nil, []byte(answer)))
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// waitFor polls ok under a deadline.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
