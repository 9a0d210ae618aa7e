package registry

import (
	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/bus"
)

// File is the store's file.
func File(s *Store) *bbolt.DB { return s.db }

// Heard remembers n topics of strangers as a registry does that hears them on
// the bus, which would take minutes, and gives how many it kept.
func Heard(n int, topic func(n int) string) int {
	s := newSeen()
	for i := range n {
		s.remember(bus.Message{Topic: topic(i), Payload: []byte("x")})
	}
	return len(s.topics)
}

// Say makes everything that the registry has to say on the bus, as it is made
// after each change, and gives the number of topics.
func Say(s *Store) (int, error) {
	p, err := s.publish()
	if err != nil {
		return 0, err
	}
	if err := s.assign(p.configs, newSeen().config); err != nil {
		return 0, err
	}
	topics, err := p.encode()
	return len(topics), err
}
