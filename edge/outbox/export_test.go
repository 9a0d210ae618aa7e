package outbox

import "github.com/wattline/wattline/shared/device"

// SeenCollisions puts so many readings into a set made for them and counts how
// many of as many others it takes for seen: a backlog of that size would take
// an hour to make.
func SeenCollisions(readings int) (collisions int) {
	s := newSeen(int64(readings))
	for i := range readings {
		s.add("sp_f1.g1", device.Micros(i))
	}
	for i := range readings {
		if s.has("sp_f1.g2", device.Micros(i)) {
			collisions++
		}
	}
	return collisions
}
