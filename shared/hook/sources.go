package hook

import (
	"strings"
	"sync"

	"github.com/wattline/wattline/shared/bus"
)

// maxSources bounds what strangers can make us remember.
const maxSources = 10_000

// Sources tells gateways, which tell the newest reading of each device on
// state/..., from other sources, of which only data is heard. The zero value is
// ready and knows none. Safe for concurrent use.
type Sources struct {
	mu       sync.Mutex // protects gateways
	gateways map[string]bool
}

// Filters are the topics that a Sources must hear.
func (*Sources) Filters() []string {
	return []string{bus.GatewaysInfoPrefix + "+", bus.StatusFilter}
}

// Hear learns from a message of the [Sources.Filters].
func (s *Sources) Hear(m bus.Message) {
	gateway := bus.GatewayOf(m.Topic)
	if gateway == "" || len(m.Payload) == 0 {
		return // who has been one stays one: its last data may be on the way
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gateways == nil {
		s.gateways = make(map[string]bool)
	}
	if len(s.gateways) < maxSources {
		s.gateways[gateway] = true
	}
}

// Gateway reports whether a source is one.
func (s *Sources) Gateway(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateways[source]
}

// Skip reports whether a topic is data of a gateway, whose readings are on
// state/... already; it is a [Readings.Skip].
func (s *Sources) Skip(topic string) bool {
	rest, found := strings.CutPrefix(topic, "data/")
	if !found {
		return false
	}
	source, _, _ := strings.Cut(rest, "/")
	return s.Gateway(source)
}
