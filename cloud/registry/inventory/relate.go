package inventory

import "github.com/wattline/wattline/shared/device"

// relate finds what only one place can have and two would: a plug, or an address
// where nothing else tells the plugs apart.
func (m *maker) relate() {
	claims := map[string]device.ID{}
	for _, full := range m.order() {
		p := m.places[full]
		m.claim(claims, full, "mac", p.MAC, p.MAC)
		m.claim(claims, full, "device_id", p.DeviceID, p.DeviceID)
		if p.Address != "" {
			m.claim(claims, full, "address", p.Gateway+" "+p.Address, p.Address)
		}
	}
}

func (m *maker) claim(claims map[string]device.ID, full device.ID, name, value, shown string) {
	if value == "" {
		return
	}
	claim := name + " " + value
	other, taken := claims[claim]
	if !taken {
		claims[claim] = full
		return
	}
	if !m.touched[full] && !m.touched[other] { // as it was, and not this file's matter
		return
	}
	if name == "address" && m.known(full) && m.known(other) {
		return // one of the two has moved, and their identities tell which
	}
	first, second := other, full
	at, firstNamed := m.origins[first]
	if to, secondNamed := m.origins[second]; !secondNamed || firstNamed && at.line > to.line {
		first, second = second, first
	}
	at, firstNamed = m.origins[first]
	if !firstNamed {
		m.clash++
	}
	what := map[string]string{"mac": "a plug has one place", "device_id": "a plug has one place", "address": "nothing tells the two plugs apart"}[name]
	m.add(m.origins[second], name, "%s is at %s too (%v), and would be at %s: %s", shown, m.places[first].Device, at, m.places[second].Device, what)
}

// known tells whether the plug at a place has an identity.
func (m *maker) known(full device.ID) bool {
	p := m.places[full]
	return p.MAC != "" || p.DeviceID != ""
}
