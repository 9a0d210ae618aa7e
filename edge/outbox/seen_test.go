package outbox_test

import (
	"testing"

	"github.com/wattline/wattline/edge/outbox"
)

// With most bits set the search for a free time would not end while the whole
// outbox is locked.
func TestTheTimesOfALongBacklogLeaveFreeOnes(t *testing.T) {
	const readings = 8 << 20 // more than the smallest set has bits
	for name, expected := range map[string]int{"known before": readings, "come since": 0} {
		if got := outbox.SeenCollisions(expected, readings); got > readings/4*3 {
			t.Errorf("%s: %d of %d times are taken for seen", name, got, readings)
		}
	}
}
