// The package is a command: its tests sit inside it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sim is a plugsim that runs.
type sim struct {
	stdout bytes.Buffer
	lines  *bufio.Scanner // of standard error
	orders *io.PipeWriter
	stop   func() error
}

func start(t *testing.T, args ...string) *sim {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	in, orders := io.Pipe()
	r, stderr := io.Pipe()
	s := &sim{lines: bufio.NewScanner(r), orders: orders}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, in, &s.stdout, stderr)
		_ = stderr.Close()
	}()
	var once sync.Once
	var err error
	s.stop = func() error {
		once.Do(func() {
			_ = orders.Close()
			cancel()
			go func() { _, _ = io.Copy(io.Discard, r) }()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { _ = s.stop() })
	return s
}

func (s *sim) expect(t *testing.T, prefix string) string {
	t.Helper()
	if !s.lines.Scan() || !strings.HasPrefix(s.lines.Text(), prefix) {
		t.Fatalf("got %q, want %q: %v", s.lines.Text(), prefix, s.stop())
	}
	return s.lines.Text()
}

func mustClient(t *testing.T, address string) *hs110.Client {
	t.Helper()
	c, err := hs110.New(address, hs110.Options{HTTPPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTwoRunSideBySideAndObey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.yaml")
	small := []string{"-port", "19997", "-floors", "2", "-rows", "2", "-columns", "2", "-rooms", "1", "-printers", "1", "-at", "10:30"}
	a := start(t, append(small, "-list", "-inventory", file, "-orders", "-fault", "sp_f2.*=silent")...)
	ready := a.expect(t, "plugsim: ready, 12 plugs on 127.")
	b := start(t, small...)
	if other := b.expect(t, "plugsim: ready, 12 plugs on 127."); other == ready {
		t.Errorf("both say %q", ready)
	}

	list := strings.Split(strings.TrimSpace(a.stdout.String()), "\n")
	if len(list) != 12 {
		t.Fatalf("listed %q", list)
	}
	for _, line := range list {
		var id, address, deviceID, mac string
		if _, err := fmt.Sscanf(line, "%s\t%s\t%s\t%s", &id, &address, &deviceID, &mac); err != nil {
			t.Fatal(err)
		}
		if _, err := device.Parse(id); err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(id, "sp_f2.") {
			continue
		}
		info, err := mustClient(t, address).Info(t.Context())
		if err == nil {
			err = info.Identify(deviceID, mac)
		}
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}

	var inventory struct {
		Places []struct {
			Device, Gateway, Driver, Address, MAC string
			DeviceID                              string `yaml:"device_id"`
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &inventory); err != nil || len(inventory.Places) != 12 || inventory.Places[11].Gateway != "edge-f2" {
		t.Fatalf("%+v, %v", inventory, err)
	}

	first := mustClient(t, inventory.Places[0].Address)
	order := func(o, answer string) {
		t.Helper()
		fmt.Fprintln(a.orders, o)
		a.expect(t, answer)
	}
	order("sp_f1.w.r0.c0 off", "plugsim: sp_f1.w.r0.c0 off")
	if info, err := first.Info(t.Context()); err != nil || *info.On {
		t.Errorf("ordered off: %+v, %v", info, err)
	}
	order("sp_f1.* locked", "plugsim: sp_f1.* locked")
	if _, err := first.Info(t.Context()); !errors.Is(err, hs110.ErrLocked) {
		t.Errorf("ordered locked: %v", err)
	}
	order("sp_f1.* ok", "plugsim: sp_f1.* ok")
	order("sp_f1.w.r0.c0 reboot:1h", "plugsim: sp_f1.w.r0.c0 reboot")
	if _, err := first.Info(t.Context()); !errors.Is(err, hs110.ErrOffline) {
		t.Errorf("ordered to reboot: %v", err)
	}
	order("sp_f9.* ok", `plugsim: places "sp_f9.*": there is none`)
	order("sp_f1.* nonsense", `plugsim: fault "nonsense": unknown "nonsense"`)
	order("[ ok", `plugsim: places "[": syntax error`)
	order("one two three", `plugsim: "one two three": want`)
	for _, s := range []*sim{a, b} {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, nil, &out, &errs); err != nil || !strings.HasPrefix(out.String(), "plugsim ") {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := run(t.Context(), []string{"--help"}, nil, &out, &errs); err != nil || !strings.Contains(errs.String(), "-floors") || !strings.Contains(errs.String(), "reboot:2s") {
		t.Errorf("%q, %v", errs.String(), err)
	}
}

func TestBadFlagsAreAllNamed(t *testing.T) {
	err := run(t.Context(), []string{"-port", "0", "-block", "255", "-floors", "0", "-speed", "0", "-at", "25:00"}, nil, io.Discard, io.Discard)
	for _, want := range []string{"-port", "-block", "-floors", "-speed", "-at"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in %v", want, err)
		}
	}
	for _, args := range [][]string{{"extra"}, {"-fault", "x", "-rows", "1", "-floors", "1", "-port", "19996"}, {"-rooms", "-1"}, {"-floors", "300"}} {
		if err := run(t.Context(), args, nil, io.Discard, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestClockRunsFast(t *testing.T) {
	begin := time.Now().Add(-time.Hour)
	s := settings{speed: 60, at: "08:00"}
	now, err := s.clock(begin)
	if err != nil {
		t.Fatal(err)
	}
	y, m, d := begin.Date()
	want := time.Date(y, m, d, 8, 0, 0, 0, begin.Location()).Add(60 * time.Hour)
	if got := now(); got.Before(want) || got.Sub(want) > time.Hour {
		t.Errorf("got %v, want %v", got, want)
	}
}
