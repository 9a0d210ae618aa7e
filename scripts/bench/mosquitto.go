package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// mosquitto is a broker on a fixed address that can be stopped and started.
type mosquitto struct {
	bench   *bench
	name    string
	address string
	conf    string
	*process
}

// newMosquitto writes its configuration; start runs it.
func (b *bench) newMosquitto(name string, extra ...string) (*mosquitto, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("find who runs this: %w", err)
	}
	m := &mosquitto{bench: b, name: name, address: address, conf: filepath.Join(b.dir, name+".conf")}
	_, port, _ := strings.Cut(address, ":")
	lines := append([]string{
		"listener " + port + " 127.0.0.1", "allow_anonymous true", "user " + self.Username, "log_type error",
		"max_queued_messages 0", "max_queued_bytes 0", "max_inflight_messages 0", "set_tcp_nodelay true",
	}, extra...)
	if err := os.WriteFile(m.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write Mosquitto's configuration: %w", err)
	}
	return m, nil
}

func (m *mosquitto) start(ctx context.Context) error {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // not in everybody's PATH
	}
	if m.process, err = m.bench.start(m.name, program, "-c", m.conf); err != nil {
		return err
	}
	return until(ctx, m.process, 10*time.Second, "Mosquitto", listens(m.address))
}

func (m *mosquitto) stop() {
	if m.process != nil {
		m.process.stop()
	}
}

// startMosquitto runs a broker that keeps nothing.
func (b *bench) startMosquitto(ctx context.Context, name string) (*mosquitto, error) {
	m, err := b.newMosquitto(name, "persistence false")
	if err != nil {
		return nil, err
	}
	return m, m.start(ctx)
}
