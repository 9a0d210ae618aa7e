package interop_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// barePlug is a smart plug written from what is published of the protocol alone,
// with nothing of Wattline in it: TCP, four bytes of length, each byte XORed with
// the one before, from 171 on. It answers one question on a connection, as the
// older plugs do.
type barePlug struct {
	listener net.Listener
	mac      string
	milli    bool // the newer firmware: whole thousandths, other names
	watts    float64
	wg       sync.WaitGroup

	mu    sync.Mutex // protects what follows
	on    bool
	asked []string
	wrong []string
}

// xorCipher encrypts or decrypts in place: key is the byte before in its
// encrypted form.
func xorCipher(b []byte, decrypt bool) {
	key := byte(171)
	for i, c := range b {
		b[i] = c ^ key
		if key = b[i]; decrypt {
			key = c
		}
	}
}

// newBarePlug starts one on a free port of an address of its own.
func newBarePlug(t *testing.T, mac string, watts float64, milli bool) *barePlug {
	t.Helper()
	l, err := net.Listen("tcp", loopback(t)+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &barePlug{listener: l, mac: mac, watts: watts, milli: milli}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *barePlug) address() string { return p.listener.Addr().String() }

func (p *barePlug) isOn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

func (p *barePlug) press(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = on
}

// questions are those that were asked, and what could not be read of them.
func (p *barePlug) questions() (asked, wrong []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...), append([]string(nil), p.wrong...)
}

func (p *barePlug) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return // somebody who looks whether there is one
	}
	var body []byte
	if n := binary.BigEndian.Uint32(length[:]); n <= 2048 {
		body = make([]byte, n)
	}
	_, err := io.ReadFull(c, body)
	xorCipher(body, true)
	var calls map[string]map[string]json.RawMessage
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || json.Unmarshal(body, &calls) != nil || len(calls) == 0 {
		if len(p.wrong) < 10 {
			p.wrong = append(p.wrong, fmt.Sprintf("%q %v", body, err))
		}
		return // as the original's mock: a bad command has no answer
	}
	if len(p.asked) < 1000 {
		p.asked = append(p.asked, string(body))
	}
	text, err := json.Marshal(p.answer(calls))
	if err != nil {
		return
	}
	xorCipher(text, false)
	_, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
}

func (p *barePlug) answer(calls map[string]map[string]json.RawMessage) map[string]map[string]any {
	out := map[string]map[string]any{}
	for module, commands := range calls {
		out[module] = map[string]any{}
		for command, args := range commands {
			out[module][command] = p.call(module+"."+command, args)
		}
	}
	return out
}

func (p *barePlug) call(name string, args json.RawMessage) map[string]any {
	switch name {
	case "system.get_sysinfo":
		state := 0
		if p.on {
			state = 1
		}
		return map[string]any{
			"err_code": 0, "sw_ver": "1.0.7 Build 151114 Rel.092006", "hw_ver": "1.0", "type": "IOT.SMARTPLUGSWITCH", "model": "HS110(EU)", "mac": p.mac,
			"deviceId": fmt.Sprintf("8006%036X", len(p.mac)+int(p.watts)), "alias": "bare", "relay_state": state, "on_time": 1, "feature": "TIM:ENE", "rssi": -50, "led_off": 0,
		}
	case "system.set_relay_state":
		var want struct{ State int }
		if json.Unmarshal(args, &want) != nil {
			return map[string]any{"err_code": -3}
		}
		p.on = want.State == 1
		return map[string]any{"err_code": 0}
	case "emeter.get_realtime":
		if p.milli {
			return map[string]any{"err_code": 0, "voltage_mv": 230000, "current_ma": 500, "power_mw": int(p.watts * 1000), "total_wh": 12}
		}
		return map[string]any{"err_code": 0, "voltage": 230.5, "current": 0.5, "power": p.watts, "total": 0.012}
	}
	return map[string]any{"err_code": -1, "err_msg": "module not support"}
}

// askPlug asks a plug as the original's agents did.
func askPlug(t *testing.T, address, question string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	body := []byte(question)
	xorCipher(body, false)
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		t.Fatal(err)
	}
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(length[:]), 1<<16))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	xorCipher(answer, true)
	return string(answer)
}
