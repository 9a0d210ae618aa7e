package api

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// maxThrottled bounds the clients that a throttle knows apart.
const maxThrottled = 4096

// throttle lets each client do something burst times, and once more every so
// often. It takes bounded memory: clients beyond the number it knows apart share
// one allowance. Safe for concurrent use.
type throttle struct {
	burst int
	every time.Duration

	mu   sync.Mutex           // protects used
	used map[string]allowance // those who have not their whole burst
}

// allowance is what a client has used of its burst, at a time.
type allowance struct {
	used int
	at   time.Time
}

func newThrottle(burst int, every time.Duration) *throttle {
	return &throttle{burst: burst, every: every, used: make(map[string]allowance)}
}

// take uses one of the client's times; ok is false when there is none, and wait
// is then how long until there is.
func (t *throttle) take(client string, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.used[client]; !known && len(t.used) >= maxThrottled {
		maps.DeleteFunc(t.used, func(_ string, a allowance) bool { return t.now(a, now).used == 0 })
		if len(t.used) >= maxThrottled {
			client = "" // there is always room for this one
		}
	}
	a := t.now(t.used[client], now)
	if a.used >= t.burst {
		t.used[client] = a
		return t.every - now.Sub(a.at), false
	}
	if a.used == 0 {
		a.at = now
	}
	a.used++
	t.used[client] = a
	return 0, true
}

// now is what is still used of an allowance.
func (t *throttle) now(a allowance, now time.Time) allowance {
	back := int(now.Sub(a.at) / t.every)
	if back >= a.used {
		return allowance{}
	}
	return allowance{a.used - back, a.at.Add(time.Duration(back) * t.every)}
}

// network is what a throttle knows a client by: its address, or of IPv6 the
// network of one site, within which everybody can choose his address.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}
