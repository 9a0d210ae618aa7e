package registry

import (
	"context"

	"github.com/wattline/wattline/shared/contract"
)

// Room answers for one resource of the registry and keeps what it needs in the
// registry's file, in buckets of its own. A command of a room enters what it did
// into the audit log in its own transaction. Safe for concurrent use.
type Room interface {
	// Answer does a verb; what is wrong is in the answer's Problem.
	Answer(ctx context.Context, r contract.RegistryRequest) contract.RegistryAnswer
	// Retained is what must be on the bus, by topic, all of it below registry/.
	// It is asked again after each command of the room.
	Retained() (map[string][]byte, error)
}

// Truster is a room that knows how far a gateway is trusted; what it says goes
// out with the gateway, on registry/gateways/<gateway>.
type Truster interface {
	Trust(gateway string) (contract.Trust, []contract.Certificate)
}
