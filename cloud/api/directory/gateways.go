package directory

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// heard is the last status of a gateway and when it came.
type heard struct {
	contract.Status
	at time.Time
	// live is false while only a retained copy was heard: nobody knows how old
	// that is.
	live bool
}

// Gateway is what is known of a gateway.
type Gateway struct {
	Name string
	// Info is nil for a gateway that reports but is not registered.
	Info *contract.GatewayInfo
	// Status is nil when none was heard, a will excepted.
	Status *contract.Status
	Online bool
	// Heard is when the status came, by the clock of this machine; zero when
	// only a retained copy came.
	Heard time.Time
	// Skew is how far the gateway's clock is ahead of this machine's; 0 while
	// Heard is zero.
	Skew time.Duration
}

func (d *Directory) hearStatus(m bus.Message) error {
	gateway := bus.GatewayOf(m.Topic)
	if len(m.Payload) == 0 {
		delete(d.statuses, gateway)
		return nil
	}
	status, err := decode[contract.Status](m.Payload)
	if err != nil {
		return err
	}
	if gateway == "" || status.Gateway != "" && status.Gateway != gateway {
		return fmt.Errorf("%w: it is about %.60q", ErrMalformed, status.Gateway)
	}
	before, known := d.statuses[gateway]
	switch {
	case !known && len(d.statuses) >= maxGateways:
		return ErrFull
	case known && !status.Online && status.Epoch != before.Epoch:
		return nil // the will of an earlier run, delivered late
	case known && isWill(status):
		before.Online = false // it says no more than that
		d.statuses[gateway] = before
		return nil
	}
	status.Gateway = gateway
	d.statuses[gateway] = heard{Status: status, at: time.Now(), live: !m.Retained}
	return nil
}

// isWill tells a will, which has nothing but the epoch, from a status; what a
// gateway says as it leaves in order is one.
func isWill(s contract.Status) bool { return !s.Online && s.Time == 0 }

// Gateway gives what is known of one gateway; ok is false when nothing is.
func (d *Directory) Gateway(name string) (g Gateway, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	return d.gateway(name)
}

// Gateways lists the gateways that are registered or were heard, by name.
func (d *Directory) Gateways() []Gateway {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	all := make([]Gateway, 0, len(d.gateways))
	for name := range d.gateways {
		g, _ := d.gateway(name)
		all = append(all, g)
	}
	for name := range d.statuses {
		if _, registered := d.gateways[name]; !registered {
			g, _ := d.gateway(name)
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b Gateway) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (d *Directory) gateway(name string) (g Gateway, ok bool) {
	g.Name = name
	if info, registered := d.gateways[name]; registered {
		g.Info, ok = &info.value, true
	}
	if h, known := d.statuses[name]; known {
		ok = true
		g.Online = h.online()
		if isWill(h.Status) {
			return g, ok
		}
		g.Status = &h.Status
		if h.live {
			g.Heard = h.at
			g.Skew = h.Time.Time().Sub(h.at)
		}
	}
	return g, ok
}

// online believes a retained copy for as long as a live beat may take to come,
// unless the copy itself says that it is old.
func (h heard) online() bool {
	if !h.Online || time.Since(h.at) > Silence {
		return false
	}
	return h.live || !h.Clock.Set || h.at.Sub(h.Time.Time()) <= Silence
}
