package hook

import (
	"maps"
	"sync"
	"time"
)

// How often, and for how many sources apart, a [Sparing] lets through.
const (
	sparingEvery   = time.Minute
	sparingSources = 256
)

// Sparing keeps a log readable that anybody on the bus can write to: a malformed
// message is logged once per source and minute. The zero value is ready, takes
// bounded memory, and is safe for concurrent use.
type Sparing struct {
	mu   sync.Mutex // protects last
	last map[string]time.Time
}

// May reports whether something of this source may be logged now. Sources beyond
// the first 256 of a minute count as one.
func (s *Sparing) May(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.last == nil {
		s.last = make(map[string]time.Time)
	}
	if _, known := s.last[source]; !known && len(s.last) >= sparingSources {
		maps.DeleteFunc(s.last, func(_ string, at time.Time) bool { return now.Sub(at) >= sparingEvery })
		if len(s.last) >= sparingSources {
			source = "" // there is room for this one
		}
	}
	if at, known := s.last[source]; known && now.Sub(at) < sparingEvery {
		return false
	}
	s.last[source] = now
	return true
}
