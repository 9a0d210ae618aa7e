package registry

import (
	"context"
	"log/slog"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

// Room answers for one resource of the registry and keeps what it needs in the
// registry's file, in buckets of its own. A command of a room enters what it did
// into the audit log in its own transaction. Safe for concurrent use.
type Room interface {
	// Answer does a verb; what is wrong is in the answer's Problem.
	Answer(ctx context.Context, r contract.RegistryRequest) contract.RegistryAnswer
	// Retained is what must be on the bus, by topic, all of it below registry/.
	// It is asked again after each command of a room.
	Retained() (map[string][]byte, error)
}

// truster is a room that knows how far gateways are trusted.
type truster interface {
	Room
	// Describe adds what it knows to what goes out about a gateway.
	Describe(tx *bbolt.Tx, info *contract.GatewayInfo) error
	// Retire takes all trust from a gateway in the transaction that deletes it;
	// Listed is called once that is committed.
	Retire(tx *bbolt.Tx, gateway string, r contract.RegistryRequest) error
	Listed() error
}

// describe adds to each gateway what others know of its trust. One of which that
// can't be read is trusted no more; it must not keep the others from being told
// of.
func (s *Store) describe(infos []contract.GatewayInfo) error {
	if s.trust == nil {
		return nil
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		for i := range infos {
			info := &infos[i]
			if err := s.trust.Describe(tx, info); err != nil {
				info.Trust, info.Certificates = contract.Revoked, nil
				if s.said.May("trust " + info.Gateway) {
					s.log.Error("gateway not trusted: its enrolment cannot be read; enrol it again", slog.String("gateway", info.Gateway), slog.Any("err", err))
				}
			}
		}
		return nil
	})
}
