package registry

import (
	"bytes"
	"encoding/json"
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
	bytes    int // of topics
	versions map[string]uint64
	full     bool // the log was told that versions is, or topics
}

const (
	// maxRunning bounds the gateways, strangers' inventions too, whose versions are
	// remembered.
	maxRunning = 10_000
	// maxTopics and maxBytes bound what is remembered of the bus. What strangers
	// have put there beyond them is not cleared away.
	maxTopics = 200_000
	maxBytes  = 256 << 20
)

func newSeen() *seen {
	return &seen{topics: make(map[string][]byte), versions: make(map[string]uint64)}
}

// hear notes a message of the topics that are ours, or what a gateway tells. What
// somebody else has put there is set right.
func (r *Registry) hear(s *seen) func(bus.Message) {
	return func(m bus.Message) {
		gateway := bus.GatewayOf(m.Topic)
		switch {
		case gateway != "" && m.Topic == bus.StatusTopic(gateway):
			r.hearStatus(s, gateway, m.Payload)
			return
		case gateway != "" && m.Topic == bus.FoundTopic(gateway):
			r.hearFound(gateway, m.Payload)
			return
		}
		if !s.remember(m) {
			r.log.Warn("too much below registry/ and gateways/ on the bus, the rest is not looked at", slog.String("topic", m.Topic))
		}
		if !r.expects(m) {
			poke(r.dirty)
		}
	}
}

// remember notes what a topic has now. It gives false for the first message that
// there is no room for.
func (s *seen) remember(m bus.Message) (fits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.topics[m.Topic]
	total := s.bytes + len(m.Payload) - len(before)
	switch {
	case len(m.Payload) == 0:
		delete(s.topics, m.Topic)
	case !known && len(s.topics) >= maxTopics, total > maxBytes:
		told := s.full
		s.full = true
		return told
	default:
		s.topics[m.Topic] = m.Payload
	}
	s.bytes = total
	return true
}

func (r *Registry) hearStatus(s *seen, gateway string, payload []byte) {
	var status contract.Status
	if json.Unmarshal(payload, &status) != nil {
		return
	}
	r.store.Hear(gateway, status)
	if !s.status(gateway, &status, r.dirty) {
		r.log.Warn("too many gateways, versions of further ones are not remembered", slog.String("gateway", gateway))
	}
}

// hearFound keeps what a gateway has found until there is time for it, the newest
// only.
func (r *Registry) hearFound(gateway string, payload []byte) {
	r.mu.Lock()
	if _, known := r.found[gateway]; known || len(r.found) < maxRunning {
		r.found[gateway] = payload
	}
	r.mu.Unlock()
	poke(r.looked)
}

// status notes the version that a gateway runs; one that is newer than the
// bus's must be overtaken. It gives false for the first that does not fit.
func (s *seen) status(gateway string, status *contract.Status, dirty chan struct{}) (fits bool) {
	if status.ConfigVersion > maxVersion {
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
		if bytes.Equal(s.topics[topic], payload) {
			continue
		}
		changes[topic] = payload
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
