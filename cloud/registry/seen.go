package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// seen is what the bus has in the registry's topics, as far as heard on one
// connection, and the newest version of its configuration that each gateway
// claims to run.
type seen struct {
	mu       sync.Mutex // protects the fields below
	topics   map[string][]byte
	versions map[string]uint64
	full     bool // the log was told that versions is
}

// maxRunning bounds the gateways, strangers' inventions too, whose versions are
// remembered.
const maxRunning = 10_000

func newSeen() *seen {
	return &seen{topics: make(map[string][]byte), versions: make(map[string]uint64)}
}

// hear notes a message of the topics that are ours, or a gateway's status. What
// somebody else has put there is set right.
func (r *Registry) hear(s *seen) func(bus.Message) {
	return func(m bus.Message) {
		if strings.HasSuffix(m.Topic, "/status") {
			if !s.status(m, r.dirty) {
				r.log.Warn("too many gateways, versions of further ones are not remembered", slog.String("gateway", bus.GatewayOf(m.Topic)))
			}
			return
		}
		s.mu.Lock()
		if len(m.Payload) == 0 {
			delete(s.topics, m.Topic)
		} else {
			s.topics[m.Topic] = m.Payload
		}
		s.mu.Unlock()
		if !r.expects(m) {
			poke(r.dirty)
		}
	}
}

// status notes the version that a gateway runs; one that is newer than the
// bus's must be overtaken. It gives false for the first that does not fit.
func (s *seen) status(m bus.Message, dirty chan struct{}) (fits bool) {
	var status contract.Status
	gateway := bus.GatewayOf(m.Topic)
	if json.Unmarshal(m.Payload, &status) != nil || status.ConfigVersion > maxVersion {
		return true
	}
	s.mu.Lock()
	running, known := s.versions[gateway]
	if !known && len(s.versions) >= maxRunning {
		told := s.full
		s.full = true
		s.mu.Unlock()
		return told
	}
	newer := status.ConfigVersion > running
	if newer {
		s.versions[gateway] = status.ConfigVersion
	}
	published, _ := s.published(gateway)
	s.mu.Unlock()
	if newer && status.ConfigVersion > published {
		poke(dirty)
	}
	return true
}

// published is the version and hash of the configuration on the bus. The
// caller holds the lock.
func (s *seen) published(gateway string) (uint64, string) {
	var config contract.GatewayConfig
	payload := s.topics[bus.ConfigTopic(gateway)]
	if len(payload) == 0 || json.Unmarshal(payload, &config) != nil {
		return 0, ""
	}
	return config.Version, hashOf(&config)
}

// config is the greatest version of a gateway's configuration that anybody has,
// and whether it has the content of that hash.
func (s *seen) config(gateway, hash string) (version uint64, same bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	published, content := s.published(gateway)
	if running := s.versions[gateway]; running > published {
		return running, false
	}
	return published, content == hash
}

// expects tells whether a message is what the registry itself would publish.
func (r *Registry) expects(m bus.Message) bool {
	r.mu.Lock()
	want := r.wanted[m.Topic]
	r.mu.Unlock()
	return bytes.Equal(want, m.Payload)
}

// differs gives what must be published to make the topics what they should be;
// an empty payload clears a topic.
func (s *seen) differs(want map[string][]byte) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make(map[string][]byte)
	for topic, payload := range want {
		if !bytes.Equal(s.topics[topic], payload) {
			changes[topic] = payload
		}
		if before := placeIn(topic, s.topics[topic]); before != nil {
			if now := placeIn(topic, payload); now != nil && now.Gateway != before.Gateway {
				changes[bus.StateTopic(before.Gateway, before.Device.String())] = nil
			}
		}
	}
	for topic, payload := range s.topics {
		if _, wanted := want[topic]; wanted {
			continue
		}
		changes[topic] = nil
		if gone := placeIn(topic, payload); gone != nil {
			changes[bus.StateTopic(gone.Gateway, gone.Device.String())] = nil
		}
	}
	for topic := range changes {
		if bus.CheckTopic(topic) != nil { // a stranger's; it cannot be published to
			delete(changes, topic)
		}
	}
	return changes
}

// placeIn reads a message of registry/places/...; nil for any other.
func placeIn(topic string, payload []byte) *contract.Place {
	if !strings.HasPrefix(topic, bus.PlacesPrefix) || len(payload) == 0 {
		return nil
	}
	var p contract.Place
	if json.Unmarshal(payload, &p) != nil || p.Device.IsZero() || p.Gateway == "" {
		return nil
	}
	return &p
}

// topics is what the bus should have.
func (c *content) topics() (map[string][]byte, error) {
	topics := make(map[string][]byte, len(c.places)+2*len(c.gateways)+1)
	var failed error
	put := func(topic string, value any) {
		payload, err := json.Marshal(value)
		if err != nil && failed == nil {
			failed = fmt.Errorf("encode %s: %w", topic, err)
		}
		topics[topic] = payload
	}
	put(bus.SiteTopic, c.site)
	for _, g := range c.gateways {
		config := c.configs[g.Gateway]
		g.ConfigVersion = config.Version
		put(bus.GatewaysInfoPrefix+g.Gateway, g)
		put(bus.ConfigTopic(g.Gateway), config)
	}
	for _, p := range c.places {
		put(bus.PlacesPrefix+p.Device.String(), p)
	}
	return topics, failed
}
