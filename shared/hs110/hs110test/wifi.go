package hs110test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"
)

// Network is a Wi-Fi that a plug can join.
type Network struct {
	SSID     string
	Password string // none needed where empty
	KeyType  int    // default 3, WPA2
	// Address is the one that the plug gets there, host or host:port.
	Address string
}

// joinTime is how long a plug needs to change from its own access point to a
// network, or to give it up; real ones take some seconds.
const joinTime = 200 * time.Millisecond

// wifi appends the answer to a call of the module netif, with which plugs are
// brought into a network; p.mu is held. The members are those that python-kasa
// uses.
func (p *Plug) wifi(dst []byte, c call) []byte {
	switch c.member {
	case "get_scaninfo":
		dst = append(dst, `{"ap_list":[`...)
		for i, n := range p.opts.Networks {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendText(append(dst, `{"ssid":`...), n.SSID), fmt.Sprintf(`,"key_type":%d}`, cmp.Or(n.KeyType, 3))...)
		}
		return append(dst, `],"err_code":0}`...)
	case "get_stainfo":
		return append(appendText(append(dst, `{"ssid":`...), p.joined), `,"rssi":0,"err_code":0}`...)
	case "set_stainfo":
		return append(dst, p.join(c.args)...)
	}
	return append(dst, noMember...)
}

// join takes the order to join a network. It is answered before it is tried, so
// that who gave it never hears how it went: with a wrong password the plug stays
// where it was. p.mu is held.
func (p *Plug) join(args json.RawMessage) string {
	var a struct {
		SSID     string `json:"ssid"`
		Password string `json:"password"`
	}
	const longest = 64 // of an SSID and of a password, in bytes, at most (IEEE 802.11)
	if json.Unmarshal(args, &a) != nil || a.SSID == "" || len(a.SSID) > longest || len(a.Password) > longest || p.closed {
		return badArg
	}
	if _, ok := intArg(args, "key_type"); !ok {
		return badArg
	}
	for _, n := range p.opts.Networks {
		if n.SSID != a.SSID || n.Password != a.Password {
			continue
		}
		p.wg.Go(func() {
			p.sleep(joinTime)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.joined = n.SSID
			_ = p.move(n.Address) // an address that is taken shows as a plug that is nowhere
		})
		return succeeded
	}
	return succeeded
}

// Joined is the network that the plug was brought into, empty for a factory-new
// one, which has an access point of its own.
func (p *Plug) Joined() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joined
}

// setTimezone takes a zone by its index, and a time that is not kept: the plug's
// clock is the simulation's. p.mu is held.
func (p *Plug) setTimezone(args json.RawMessage) string {
	const zones = 110
	for _, name := range []string{"year", "month", "mday", "hour", "min", "sec"} {
		if _, ok := intArg(args, name); !ok {
			return badArg
		}
	}
	index, ok := intArg(args, "index")
	if !ok || index < 0 || index >= zones {
		return badArg
	}
	p.zone = index
	return succeeded
}

// Zone is the index of the plug's time zone.
func (p *Plug) Zone() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.zone
}
