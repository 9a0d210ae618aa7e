package outbox_test

import (
	"testing"

	"github.com/wattline/wattline/edge/outbox"
)

// With most bits set the search for a free time would not end while the whole
// outbox is locked.
func TestTheTimesOfALongBacklogLeaveFreeOnes(t *testing.T) {
	const readings = 6 << 20 // more than the smallest set has bits
	if got := outbox.SeenCollisions(readings); got > readings/2 {
		t.Errorf("%d of %d times are taken for seen", got, readings)
	}
}
