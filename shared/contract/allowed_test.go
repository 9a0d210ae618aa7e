package contract_test

import (
	"math"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

func TestAGatewayHasTimeForEachPause(t *testing.T) {
	for name, c := range map[string]struct {
		stagger, n int
		on         bool
		want       time.Duration
	}{
		"one plug":              {250, 1, true, 10 * time.Second},
		"none":                  {250, 0, true, 10 * time.Second},
		"a floor":               {250, 101, true, 35 * time.Second},
		"off has no pauses":     {250, 101, false, 10 * time.Second},
		"no pauses":             {0, 101, true, 10 * time.Second},
		"no such pause":         {-5, 101, true, 10 * time.Second},
		"a whole house":         {250, 4096, true, contract.MaxAllowed},
		"a stranger's nonsense": {math.MaxInt, math.MaxInt, true, contract.MaxAllowed},
	} {
		got := contract.GatewayInfo{StaggerMillis: c.stagger}.Allowed(10*time.Second, c.n, c.on)
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
