package signals

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxStatus = 2 << 20 // bytes of a status, or of the plugs that a gateway sees
	// maxStrangers bounds the gateways that the registry does not name: it may do
	// so in a moment. strangerStays is how long that may take.
	maxStrangers  = 1000
	strangerStays = 10 * time.Minute
	maxFirmware   = 128 // bytes
)

// gateway is how a gateway is. Times are the cloud's, 0 for never.
type gateway struct {
	heard device.Micros // when anything was said of it, the first time
	epoch contract.Epoch
	// beat is when its last status came on this connection.
	beat device.Micros
	left bool // it took leave, or the broker did for it
	// feeding is since when it is online and reaches plugs, data when its newest
	// readings came.
	feeding device.Micros
	data    device.Micros
	expires device.Micros // of its newest certificate, 0 without one
	batches batches
	found   map[device.ID]foundPlug
}

// foundPlug is what a gateway has found out about the plug at a place.
type foundPlug struct {
	firmware string
	locked   bool
}

// registered gives a gateway that the registry names, or nil.
func (s *Signals) registered(name string) *gateway {
	if _, ok := s.house.gateways[name]; !ok {
		return nil
	}
	return s.gateways[name]
}

// gateway gives a gateway, new if need be; nil when there is no room. Each
// registered one has its own.
func (s *Signals) gateway(name string) *gateway {
	g := s.gateways[name]
	if g == nil && len(s.gateways)-len(s.house.gateways) < maxStrangers {
		g = &gateway{heard: s.now}
		s.gateways[name] = g
	}
	return g
}

// forget forgets a gateway and all that was heard of it.
func (s *Signals) forget(name string) {
	if g := s.gateways[name]; g != nil {
		s.found -= len(g.found)
		delete(s.gateways, name)
	}
	s.house.removeGateway(name)
}

// hearGateway takes what the registry says of a gateway.
func (s *Signals) hearGateway(name string, payload []byte) error {
	if !contract.IsGatewayID(name) {
		return fmt.Errorf("%w: gateway %.60q", errMalformed, name)
	}
	if len(payload) == 0 {
		s.forget(name)
		return nil
	}
	info, err := decode[contract.GatewayInfo](payload)
	if err != nil {
		return err
	}
	if info.Gateway != name {
		return fmt.Errorf("%w: it is about %.60q", errMalformed, info.Gateway)
	}
	var expires device.Micros
	for _, c := range info.Certificates {
		expires = max(expires, c.Expires)
	}
	info.Certificates = nil // many bytes that nobody asks for
	_, known := s.house.gateways[name]
	if err := s.house.putGateway(info); err != nil {
		return err
	}
	g := s.gateways[name]
	if g == nil {
		g = &gateway{}
		s.gateways[name] = g
	}
	if g.expires = expires; !known {
		g.heard = s.now // its silence counts from now
	}
	return nil
}

// hearStatus takes a heartbeat or a will. A retained one tells which run the
// gateway is in, and nothing else: nobody knows how old it is.
func (s *Signals) hearStatus(m bus.Message) error {
	name := bus.GatewayOf(m.Topic)
	if !contract.IsGatewayID(name) {
		return fmt.Errorf("%w: gateway %.60q", errMalformed, name)
	}
	if len(m.Payload) == 0 {
		return nil
	}
	status, err := decode[contract.Status](m.Payload)
	if err != nil {
		return err
	}
	if status.Gateway != "" && status.Gateway != name {
		return fmt.Errorf("%w: it is about %.60q", errMalformed, status.Gateway)
	}
	g := s.gateway(name)
	switch {
	case g == nil:
		return errFull
	case !status.Online && g.epoch != 0 && status.Epoch != g.epoch:
		return nil // the will of an earlier run, delivered late
	}
	g.epoch = status.Epoch
	if m.Retained {
		return nil
	}
	info, known := s.house.Gateway(name)
	if !status.Online {
		g.left, g.feeding = true, 0
		if known {
			s.add(engine.Subject{Gateway: name}, "gateway.online", 0)
		}
		return nil
	}
	g.beat, g.left = s.now, false
	switch {
	case status.Plugs.Reachable <= 0:
		g.feeding = 0
	case g.feeding == 0:
		g.feeding = s.now
	}
	if known {
		s.tell(&info, &status)
		s.tellPlugs(name, g, &status.Plugs)
	}
	return nil
}

// tell makes samples of what a gateway says of itself.
func (s *Signals) tell(info *contract.GatewayInfo, status *contract.Status) {
	subject := engine.Subject{Gateway: info.Gateway}
	box := &status.Outbox
	s.add(subject, "gateway.online", 1)
	if box.Limit > 0 {
		s.add(subject, "gateway.outbox", 100*float64(max(box.Bytes, 0))/float64(box.Limit))
	}
	s.add(subject, "gateway.clock_unset", truth(!status.Clock.Set))
	if status.Clock.Set {
		s.add(subject, "gateway.clock_offset", math.Abs(seconds(status.Time-s.now)))
		// By the gateway's clock, which dated the reading too.
		oldest := 0.0
		if box.Oldest != nil {
			oldest = max(0, seconds(status.Time-*box.Oldest))
		}
		s.add(subject, "gateway.oldest", oldest)
	}
	s.add(subject, "gateway.dropped", float64(box.Dropped)+float64(box.Refused))
	s.add(subject, "gateway.set_aside", float64(len(box.SetAside)))
	s.add(subject, "gateway.damaged", truth(box.Damaged != ""))
	s.add(subject, "gateway.config_refused", truth(status.ConfigRefused != nil || status.ConfigVersion < info.ConfigVersion))
}

// tellPlugs makes samples of how the plugs of a gateway are. While it has plugs
// that it neither reaches nor misses, as after its start, only those with a
// problem are known.
func (s *Signals) tellPlugs(name string, g *gateway, plugs *contract.PlugsStatus) {
	problems := make(map[device.ID]string, len(plugs.Problems))
	for _, p := range plugs.Problems {
		problems[p.Device] = p.Reason
	}
	whole := plugs.Reachable+len(problems) >= plugs.Configured
	for _, id := range s.house.Devices(name) {
		if place := s.house.places[id].value; place.Address == "" && place.DeviceID == "" && place.MAC == "" {
			continue // no plug to be read
		}
		subject := engine.Subject{Device: id}
		reason, troubled := problems[id]
		found := g.found[id]
		locked := reason == "locked" || found.locked
		if troubled || whole {
			s.addPlug(subject, name, "plug.reached", truth(!troubled))
		}
		if troubled || whole || locked {
			s.addPlug(subject, name, "plug.locked", truth(locked))
		}
		s.addPlug(subject, name, "plug.suspects", float64(plugs.Suspects[id]))
		if found.firmware != "" {
			s.addPlug(subject, name, "plug.firmware", 0)
			s.out[len(s.out)-1].Text = found.firmware
		}
	}
}

func (s *Signals) addPlug(subject engine.Subject, gateway, signal string, value float64) {
	s.out = append(s.out, engine.Sample{Subject: subject, Signal: signal, Gateway: gateway, At: s.now, Value: value})
}

// hearFound takes the plugs that a gateway sees; what is new in it is told with
// the next heartbeat.
func (s *Signals) hearFound(m bus.Message) error {
	name := bus.GatewayOf(m.Topic)
	if !contract.IsGatewayID(name) {
		return fmt.Errorf("%w: gateway %.60q", errMalformed, name)
	}
	var found contract.Found
	if len(m.Payload) > 0 {
		var err error
		if found, err = decode[contract.Found](m.Payload); err != nil {
			return err
		}
		if found.Gateway != "" && found.Gateway != name {
			return fmt.Errorf("%w: it is about %.60q", errMalformed, found.Gateway)
		}
	}
	g := s.gateway(name)
	if g == nil {
		return errFull
	}
	s.found -= len(g.found)
	g.found = make(map[device.ID]foundPlug)
	for _, p := range found.Plugs[:min(len(found.Plugs), contract.MaxFound)] {
		id, err := device.Parse(p.Device)
		if err != nil || len(p.Firmware) > maxFirmware || s.found+len(g.found) >= maxPlaces {
			continue // of no place, or of no use
		}
		g.found[id] = foundPlug{p.Firmware, p.Problem == "locked"}
	}
	s.found += len(g.found)
	return nil
}

// repeat makes samples of what time alone makes of gateways.
func (s *Signals) repeat() {
	for name, g := range s.gateways {
		if _, known := s.house.gateways[name]; !known && s.now-max(g.heard, g.beat) > micros(strangerStays) {
			s.forget(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.house.gateways)) {
		s.repeatOne(name, s.gateways[name])
	}
}

func (s *Signals) repeatOne(name string, g *gateway) {
	subject := engine.Subject{Gateway: name}
	if g.expires != 0 {
		s.add(subject, "gateway.certificate", seconds(g.expires-s.now)/(24*time.Hour).Seconds())
	}
	switch {
	case s.offline(g):
		g.feeding = 0
		if g.beat != 0 || g.left || expected(s.house.gateways[name].value.Trust) {
			s.add(subject, "gateway.online", 0)
		}
	case g.beat != 0:
		s.add(subject, "gateway.online", 1)
		if g.feeding != 0 {
			s.add(subject, "gateway.data_age", seconds(s.now-max(g.data, g.feeding)))
		}
	}
}

// offline reports whether a gateway is surely away; a false says nothing before
// its first heartbeat.
func (s *Signals) offline(g *gateway) bool {
	since := g.beat
	if since == 0 {
		since = max(s.connected, g.heard)
	}
	return g.left || s.now-since > micros(silence)
}

// expected reports whether a gateway that was never heard should be there: one
// that has not been enrolled yet, or may not connect any more, should not.
func expected(t contract.Trust) bool { return t == "" || t == contract.Trusted }
