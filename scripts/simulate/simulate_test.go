package main_test

import (
	"testing"

	"github.com/wattline/wattline/scripts/simulate/world"
)

func TestTry(t *testing.T) {
	dir := t.TempDir()
	var c world.Counts
	bad := 0
	for seed := uint64(1); seed <= 300; seed++ {
		r := world.Run(t.Context(), seed, world.Options{Dir: dir})
		c.Add(r.Counts)
		if len(r.Violations) > 0 {
			bad++
			t.Errorf("seed %d: %v", seed, r.Violations[0])
			if bad > 10 {
				break
			}
		}
	}
	t.Logf("%+v", c)
}
