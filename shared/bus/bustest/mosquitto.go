// Package bustest gives tests a real MQTT broker: Debian's Mosquitto, on
// loopback, without any persistence.
package bustest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Mosquitto is a running broker that can be killed and started again.
type Mosquitto struct {
	URL  string // tcp://127.0.0.1:port
	t    testing.TB
	conf string
	cmd  *exec.Cmd
}

// Start runs a broker for the life of the test. Extra lines go into its
// configuration. Without Mosquitto the test is skipped, in CI it fails.
func Start(t testing.TB, extra ...string) *Mosquitto {
	t.Helper()
	if _, err := exec.LookPath(binary()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mosquitto is not installed: make test installs it (Debian package mosquitto)")
		}
		t.Skip("mosquitto is not installed (Debian package mosquitto)")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	m := &Mosquitto{URL: fmt.Sprintf("tcp://127.0.0.1:%d", port), t: t, conf: filepath.Join(t.TempDir(), "mosquitto.conf")}
	base := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\nmax_queued_messages 0\nmax_inflight_messages 0\n", port)
	text := base + strings.Join(extra, "\n") + "\n"
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Start()
	t.Cleanup(m.Kill)
	return m
}

func binary() string {
	if _, err := os.Stat("/usr/sbin/mosquitto"); err == nil {
		return "/usr/sbin/mosquitto" // not in everybody's PATH
	}
	return "mosquitto"
}

// Start runs the broker again after a [Mosquitto.Kill] and waits until it listens.
func (m *Mosquitto) Start() {
	m.t.Helper()
	m.cmd = exec.Command(binary(), "-c", m.conf)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.URL[len("tcp://"):])
		if err == nil {
			_ = conn.Close()
			return
		}
		if ctx.Err() != nil {
			m.t.Fatalf("mosquitto does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // polling under a deadline
	}
}

// Kill ends the broker by SIGKILL and waits for it. Safe twice.
func (m *Mosquitto) Kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
}
