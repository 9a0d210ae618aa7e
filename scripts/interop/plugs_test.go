package interop_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// office is a set of our simulated plugs, by device id.
type office map[string]*hs110test.Plug

// newOffice starts a plug for each id, of all hardware versions in turn.
func newOffice(t testing.TB, ids ...string) office {
	t.Helper()
	o := office{}
	for i, id := range ids {
		o[id] = hs110test.New(t, hs110test.Options{Hardware: [...]hs110test.Hardware{hs110test.HW1, hs110test.HW2, hs110test.HW4}[i%3]})
	}
	return o
}

// places are the lines of the inventory.
func (o office) places() string {
	var b strings.Builder
	b.WriteString("\n")
	for id, p := range o {
		fmt.Fprintf(&b, "  - {device: %s, gateway: %s, address: %q}\n", id, gatewayName, p.Address())
	}
	return b.String()
}

// press switches all by hand.
func (o office) press(on bool) {
	for _, p := range o {
		p.Press(on)
	}
}

// are is the set of those that are on, or off.
func (o office) are(on bool) map[string]bool {
	set := map[string]bool{}
	for id, p := range o {
		if p.On() == on {
			set[id] = true
		}
	}
	return set
}
