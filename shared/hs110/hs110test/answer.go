package hs110test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// call is one member of a module that a question names, in its order.
type call struct {
	module, member string
	args           json.RawMessage
}

// Errors as plugs word them.
const (
	noModule  = `{"err_code":-1,"err_msg":"module not support"}`
	noMember  = `{"err_code":-2,"err_msg":"member not support"}`
	badArg    = `{"err_code":-3,"err_msg":"invalid argument"}`
	succeeded = `{"err_code":0}`
)

// answer appends the reply to a question. ok is false where a plug would stay
// silent: on what is no JSON object of modules.
func (p *Plug) answer(dst, body []byte, f Fault) (_ []byte, ok bool) {
	calls, err := parseCalls(body)
	if err != nil || len(calls) == 0 {
		return dst, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	open := ""
	for i, c := range calls {
		switch {
		case i == 0:
			dst = append(dst, '{')
		case c.module != open:
			dst = append(dst, "},"...)
		default:
			dst = append(dst, ',')
		}
		if !p.has(c.module) {
			// The refusal stands for the module, whatever was asked of it.
			if c.module != open {
				dst = append(appendText(dst, c.module), `:`+noModule[:len(noModule)-1]...)
				open = c.module
			} else {
				dst = dst[:len(dst)-1]
			}
			continue
		}
		if c.module != open {
			dst = append(appendText(dst, c.module), ":{"...)
			open = c.module
		}
		dst = append(appendText(dst, c.member), ':')
		dst = p.member(dst, c, f)
	}
	return append(dst, "}}"...), true
}

func (p *Plug) has(module string) bool {
	switch module {
	case "system", "time", "schedule", "cnCloud", "netif":
		return true
	case "emeter":
		return !p.opts.NoMeter
	}
	return false
}

// member appends the answer to one call; p.mu is held.
func (p *Plug) member(dst []byte, c call, f Fault) []byte {
	s := &p.state
	switch c.module + "." + c.member {
	case "system.get_sysinfo":
		return p.appendSysinfo(dst)
	case "emeter.get_realtime":
		return p.appendRealtime(dst, f)
	case "emeter.get_daystat":
		return p.appendDays(dst, c.args, false)
	case "schedule.get_daystat":
		return p.appendDays(dst, c.args, true)
	case "emeter.get_monthstat":
		return p.appendMonths(dst, c.args)
	case "emeter.erase_emeter_stat":
		s.advance()
		s.total = 0
		clear(s.days)
		return append(dst, succeeded...)
	case "schedule.get_rules":
		return append(dst, `{"rule_list":[],"version":2,"enable":0,"err_code":0}`...)
	case "schedule.get_next_action":
		return append(dst, `{"type":-1,"err_code":0}`...)
	case "cnCloud.get_info":
		return append(dst, `{"username":"","server":"","binded":0,"cld_connection":0,"illegalType":-1,"stopConnect":-1,`+
			`"tcspStatus":-1,"tcspInfo":"","fwDlPage":"","fwNotifyType":0,"err_code":0}`...)
	case "time.get_time":
		t := s.advance().In(p.opts.Location)
		return fmt.Appendf(dst, `{"year":%d,"month":%d,"mday":%d,"wday":%d,"hour":%d,"min":%d,"sec":%d,"err_code":0}`,
			t.Year(), t.Month(), t.Day(), t.Weekday(), t.Hour(), t.Minute(), t.Second())
	case "time.get_timezone":
		return fmt.Appendf(dst, `{"index":%d,"err_code":0}`, p.zone)
	case "time.set_timezone":
		return append(dst, p.setTimezone(c.args)...)
	}
	if c.module == "netif" {
		return p.wifi(dst, c)
	}
	return p.command(dst, c)
}

// command appends the answer to a call that changes something; p.mu is held.
func (p *Plug) command(dst []byte, c call) []byte {
	s := &p.state
	switch c.module + "." + c.member {
	case "system.set_relay_state":
		n, ok := intArg(c.args, "state")
		if !ok || n < 0 || n > 1 {
			return append(dst, badArg...)
		}
		s.setRelay(n == 1)
	case "system.set_led_off":
		n, ok := intArg(c.args, "off")
		if !ok || n < 0 || n > 1 {
			return append(dst, badArg...)
		}
		s.ledOff = n == 1
	case "system.set_dev_alias":
		var a struct {
			Alias *string `json:"alias"`
		}
		const longestAlias = 1024 // bounds what a stranger can make us keep
		if json.Unmarshal(c.args, &a) != nil || a.Alias == nil || len(*a.Alias) > longestAlias {
			return append(dst, badArg...)
		}
		s.name(*a.Alias)
	case "system.reset":
		return append(dst, p.factoryReset(c.args)...)
	case "system.reboot":
		n, ok := intArg(c.args, "delay")
		if !ok || n < 0 || n > 60 || p.closed {
			return append(dst, badArg...)
		}
		p.wg.Go(func() {
			p.sleep(time.Duration(n)*time.Second + time.Millisecond)
			p.Reboot(p.opts.BootTime)
		})
	default:
		return append(dst, noMember...)
	}
	return append(dst, succeeded...)
}

// intArg is an argument that must be a JSON integer: plugs refuse "1" for 1.
func intArg(args json.RawMessage, name string) (int, bool) {
	var m map[string]json.RawMessage
	if json.Unmarshal(args, &m) != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(m[name]))
	return n, err == nil
}

// parseCalls reads a question, keeping the order that the reply repeats.
func parseCalls(body []byte) ([]call, error) {
	switch string(body) { // what pollers send all day long
	case `{"system":{"get_sysinfo":{}}}`:
		return []call{{"system", "get_sysinfo", nil}}, nil
	case `{"emeter":{"get_realtime":{}}}`:
		return []call{{"emeter", "get_realtime", nil}}, nil
	case `{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`:
		return []call{{"system", "get_sysinfo", nil}, {"emeter", "get_realtime", nil}}, nil
	}
	var calls []call
	err := eachMember(body, func(module string, members json.RawMessage) error {
		if module == "context" {
			return nil // for power strips; a single plug takes no notice
		}
		return eachMember(members, func(member string, args json.RawMessage) error {
			calls = append(calls, call{module, member, args})
			return nil
		})
	})
	return calls, err
}

var errNoObject = errors.New("no JSON object")

// eachMember calls f with the members of a JSON object, in order.
func eachMember(object []byte, f func(key string, value json.RawMessage) error) error {
	if !json.Valid(object) {
		return errNoObject
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNoObject
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // the keys of a valid object are strings
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := f(key, v); err != nil {
			return err
		}
	}
	return nil
}

// appendText appends s as a JSON string in UTF-8, nothing beyond ASCII escaped.
func appendText(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
