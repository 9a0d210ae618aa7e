package hs110test_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func mustDial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustAsk puts a question on a connection of its own and gives the answer.
func mustAsk(t *testing.T, p *hs110test.Plug, question string) string {
	t.Helper()
	c := mustDial(t, p.Address())
	defer c.Close()
	if _, err := c.Write(hs110.AppendFrame(nil, []byte(question))); err != nil {
		t.Fatal(err)
	}
	body, err := hs110.ReadFrame(c, nil)
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return string(body)
}

// clock is a time that the test moves.
type clock struct {
	mu  sync.Mutex // protects what follows
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func constant(w device.Watts) hs110test.Load {
	return func(time.Time) (device.Watts, float64) { return w, 0.9 }
}

func TestAnswersKeepTheOrderOfTheQuestion(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Generate: hs110test.Numbered})
	for question, want := range map[string]string{
		`{"emeter":{"get_realtime":{}}}`:                                                         `{"emeter":{"get_realtime":{"voltage_mv":230000,`,
		`{"foo":{"a":{},"b":null}}`:                                                              `{"foo":{"err_code":-1,"err_msg":"module not support"}}`,
		`{"foo":{"a":{}},"bar":{"a":{}}}`:                                                        `{"foo":{"err_code":-1,"err_msg":"module not support"},"bar":{"err_code":-1,"err_msg":"module not support"}}`,
		`{"time":{"x":{}},"foo":{"a":{}},"time":{"get_timezone":null}}`:                          `{"time":{"x":{"err_code":-2,"err_msg":"member not support"}},"foo":{"err_code":-1,"err_msg":"module not support"},"time":{"get_timezone":{"index":39,"err_code":0}}}`,
		`{"context":{"child_ids":["1"]},"system":{"set_led_off":{"off":1}}}`:                     `{"system":{"set_led_off":{"err_code":0}}}`,
		`{"system":{"set_relay_state":{"state":"1"}}}`:                                           `{"system":{"set_relay_state":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"system":{"set_relay_state":{"state":2}}}`:                                             `{"system":{"set_relay_state":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"emeter":{"get_daystat":{"month":"12","year":2026}}}`:                                  `{"emeter":{"get_daystat":{"err_code":-3,"err_msg":"invalid argument"}}}`,
		`{"system":{"get_sysinfo":null},"emeter":{"get_monthstat":{"year":1999}}}`:               `{"system":{"get_sysinfo":{"sw_ver":`,
		`{"emeter":{"get_monthstat":{"year":1999}},"system":{"set_dev_alias":{"alias":"ä\"☕"}}}`: `{"emeter":{"get_monthstat":{"month_list":[],"err_code":0}},"system":{"set_dev_alias":{"err_code":0}}}`,
	} {
		got := mustAsk(t, p, question)
		if !strings.HasPrefix(got, want) || !json.Valid([]byte(got)) {
			t.Errorf("%s\n got %s\nwant %s", question, got, want)
		}
	}
	if got := mustAsk(t, p, `{"system":{"get_sysinfo":{}}}`); !strings.Contains(got, `"alias":"ä\"☕"`) || !strings.Contains(got, `"led_off":1`) {
		t.Errorf("got %s", got)
	}
}

func TestHardwareFormsDiffer(t *testing.T) {
	for _, c := range []struct {
		hw         hs110test.Hardware
		has, hasNo []string
	}{
		{hs110test.HW1, []string{`"type"`, `"latitude":`, `"fwId"`, `"current":0.`, `"voltage":2`, `"total":`}, []string{`mic_type`, `_mw`, `_i"`}},
		{hs110test.HW2, []string{`"type"`, `"latitude_i":`, `"fwId"`, `"current_ma":`, `"total_wh":`}, []string{`mic_type`, `"power":`}},
		{hs110test.HW4, []string{`"mic_type"`, `"latitude_i":`, `"next_action"`, `"power_mw":`}, []string{`fwId`, `"type":"IOT`, `"power":`}},
	} {
		p := hs110test.New(t, hs110test.Options{Hardware: c.hw})
		got := mustAsk(t, p, `{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`)
		for _, s := range c.has {
			if !strings.Contains(got, s) {
				t.Errorf("hw %d: no %s in %s", c.hw, s, got)
			}
		}
		for _, s := range c.hasNo {
			if strings.Contains(got, s) {
				t.Errorf("hw %d: %s in %s", c.hw, s, got)
			}
		}
	}
}

func TestHardware1ClosesAndTakesAnyLength(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	for _, header := range [][]byte{{0, 0, 0, 0}, {0, 0, 0, 29}, {0xff, 0xff, 0xff, 0xff}} {
		c := mustDial(t, p.Address())
		question := append(bytes.Clone(header), hs110.InfoDatagram()...)
		for _, part := range [][]byte{question[:2], question[2:7], question[7:]} {
			if _, err := c.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if body, err := hs110.ReadFrame(c, nil); err != nil || !json.Valid(body) {
			t.Errorf("header %x: %q, %v", header, body, err)
		}
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("header %x: read %d bytes, %v, want the end", header, n, err)
		}
	}
}

func TestHardware2KeepsTheConnectionAndWantsTheLength(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2})
	c := mustDial(t, p.Address())
	for range 3 {
		if _, err := c.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`))); err != nil {
			t.Fatal(err)
		}
		if _, err := hs110.ReadFrame(c, nil); err != nil {
			t.Fatal(err)
		}
	}
	c = mustDial(t, p.Address())
	if _, err := c.Write(append([]byte{0, 0, 0, 200}, hs110.InfoDatagram()...)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, io.EOF) {
		t.Errorf("a wrong length was answered: %d bytes, %v", n, err)
	}
}

func TestNonsenseIsNotAnswered(t *testing.T) {
	for _, question := range []string{`{}`, `[]`, `{"system":`, `{"system":[]}`, "\xff\xfe", ``} {
		p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2})
		c := mustDial(t, p.Address())
		_, _ = c.Write(hs110.AppendFrame(nil, []byte(question)))
		_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n != 0 {
			t.Errorf("%q was answered", question)
		}
		mustAsk(t, p, `{"system":{"get_sysinfo":{}}}`) // others still are
	}
}
