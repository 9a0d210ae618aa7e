package registry

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// published is what the registry has to say on the bus; configurations have no
// version yet.
type published struct {
	topics  map[string][]byte // but for what configs and gateways are
	configs map[string]*contract.GatewayConfig
	infos   []contract.GatewayInfo
}

// publish gathers what must be on the bus. The payloads are shared and must not
// be changed.
func (s *Store) publish() (*published, error) {
	p, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	if err := s.describe(p.infos); err != nil {
		return nil, fmt.Errorf("read how gateways are trusted: %w", err)
	}
	for name, room := range s.rooms {
		topics, err := room.Retained()
		if err != nil {
			return nil, fmt.Errorf("read what %s has to say: %w", name, err)
		}
		maps.Copy(p.topics, topics)
	}
	return p, nil
}

// snapshot is publish without the rooms.
func (s *Store) snapshot() (*published, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := &published{topics: make(map[string][]byte, len(s.state.places)+2*len(s.state.gateways)+1), configs: make(map[string]*contract.GatewayConfig)}
	if s.state.site == nil {
		return p, nil
	}
	site, err := json.Marshal(s.state.shownSite())
	if err != nil {
		return nil, fmt.Errorf("encode the site: %w", err)
	}
	p.topics[bus.SiteTopic] = site
	for id, g := range s.state.gateways {
		p.infos = append(p.infos, contract.GatewayInfo{Gateway: id, Label: g.Label, Floor: g.Floor, StaggerMillis: g.StaggerMillis, Revision: g.Revision})
		p.configs[id] = &contract.GatewayConfig{
			Gateway: id, Floor: g.Floor, Database: g.Database, PollSeconds: g.PollSeconds, StaggerMillis: g.StaggerMillis,
			Plugs: []contract.Plug{}, Discovery: g.Discovery,
		}
	}
	for _, full := range s.state.sorted {
		at := s.state.places[full]
		p.topics[bus.PlacesPrefix+at.Device.String()] = s.state.encoded[full]
		config := p.configs[at.Gateway]
		if config == nil || at.Address == "" && !identified(at) {
			continue // nothing to poll
		}
		config.Plugs = append(config.Plugs, contract.Plug{
			Device: at.Device, Driver: at.Driver, Address: at.Address, DeviceID: at.DeviceID, MAC: at.MAC,
			Protected: at.Protected, MaxPower: at.MaxPower, PollSeconds: at.PollSeconds,
		})
	}
	return p, nil
}

// encode makes topics of everything; the configurations have their versions.
func (p *published) encode() (map[string][]byte, error) {
	var failed error
	put := func(topic string, value any) {
		payload, err := json.Marshal(value)
		if err != nil && failed == nil {
			failed = fmt.Errorf("encode %s: %w", topic, err)
		}
		p.topics[topic] = payload
	}
	for _, g := range p.infos {
		config := p.configs[g.Gateway]
		g.ConfigVersion = config.Version
		put(bus.GatewaysInfoPrefix+g.Gateway, g)
		put(bus.ConfigTopic(g.Gateway), config)
	}
	return p.topics, failed
}
