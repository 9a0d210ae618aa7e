package collector_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/shared/device"
)

// meter is a plug that answers after delay, or fails. It notes when it was asked.
type meter struct {
	mu    sync.Mutex
	asked []time.Time
	delay time.Duration
	err   error
	m     device.Measurement
	panic bool
}

func answering() *meter { return &meter{m: measured(60)} }

func measured(w device.Watts) device.Measurement { return device.Measurement{Power: &w, On: new(true)} }

func (m *meter) Poll(ctx context.Context) (device.Measurement, error) {
	m.mu.Lock()
	m.asked = append(m.asked, time.Now())
	delay, err, answer, bug := m.delay, m.err, m.m, m.panic
	m.mu.Unlock()
	if bug {
		panic("index out of range")
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return device.Measurement{}, fmt.Errorf("ask 127.0.0.1:9999: %w", ctx.Err())
		}
	}
	return answer, err
}

func (m *meter) change(f func(*meter)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// times is when the meter was asked so far.
func (m *meter) times() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]time.Time(nil), m.asked...)
}

// sink keeps what it is given.
type sink struct {
	mu       sync.Mutex
	readings []device.Reading
	unset    int
	err      error
}

func (s *sink) Accept(r device.Reading, clockSet bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.readings = append(s.readings, r)
	if !clockSet {
		s.unset++
	}
	return nil
}

func (s *sink) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) of(id device.ID) (rs []device.Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.readings {
		if r.Device == id {
			rs = append(rs, r)
		}
	}
	return rs
}

// lines counts log lines by message.
type lines struct {
	slog.Handler

	mu   sync.Mutex
	seen map[string][]string // device and err by message
}

func newLines() *lines { return &lines{Handler: slog.DiscardHandler, seen: map[string][]string{}} }

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := ""
	r.Attrs(func(a slog.Attr) bool { text += a.String() + " "; return true })
	l.seen[r.Message] = append(l.seen[r.Message], text)
	return nil
}

func (l *lines) of(message string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[message]
}

// failure is an error of a driver, with a reason.
type failure string

func (f failure) Error() string  { return "ask 127.0.0.1:9999: plug " + string(f) }
func (f failure) Reason() string { return string(f) }

var errPlain = errors.New("connection reset")

// floor is a running collector.
type floor struct {
	*collector.Collector

	sink *sink
	log  *lines
}

// run starts a collector in the bubble of t; it stops when t ends.
func run(t *testing.T, change func(*collector.Options), targets ...collector.Target) *floor {
	t.Helper()
	f := &floor{sink: &sink{}, log: newLines()}
	o := collector.Options{Sink: f.sink, Clock: func() (device.Micros, bool) { return device.MicrosOf(time.Now()), true }}
	if change != nil {
		change(&o)
	}
	f.Collector = collector.New(o, slog.New(f.log))
	f.Set(targets)
	go func() {
		if err := f.Run(t.Context()); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return f
}

func id(t *testing.T, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var discard = slog.New(slog.DiscardHandler)
