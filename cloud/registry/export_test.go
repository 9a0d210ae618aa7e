package registry

import "github.com/wattline/wattline/shared/bus"

// Heard remembers n topics of strangers as a registry does that hears them on
// the bus, which would take minutes, and gives how many it kept.
func Heard(n int, topic func(n int) string) int {
	s := newSeen()
	for i := range n {
		s.remember(bus.Message{Topic: topic(i), Payload: []byte("x")})
	}
	return len(s.topics)
}
