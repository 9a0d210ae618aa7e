package webhook

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// Copy writes the file of the receivers' positions as it is at this moment, for a
// backup. Deliveries wait while it does where the file has to grow, so w must be
// quick.
func (h *Hook) Copy(w io.Writer) error {
	err := guard(func() error {
		return h.file.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("copy the positions of webhooks: %w", err)
	}
	return nil
}
