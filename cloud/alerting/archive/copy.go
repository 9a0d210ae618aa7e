package archive

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// Copy writes the file as it is at this moment. Changes wait while it does where
// the file has to grow, so w must be quick.
func (a *Archive) Copy(w io.Writer) error {
	err := a.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy the alerts: %w", err)
	}
	return nil
}
