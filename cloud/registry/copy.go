package registry

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// Copy writes the file as it is at this moment, for a backup. Changes wait while it
// does where the file has to grow, so w must be quick.
func (s *Store) Copy(w io.Writer) error {
	s.saveSeen()
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("copy the registry: %w", err)
	}
	return nil
}
