package webhook

import (
	"errors"
	"log/slog"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// forget deletes what is kept of receivers that are not configured any more, after
// it has said so: who comes back begins anew.
func (f *file) forget(configured []string) error {
	gone := make(map[string]struct{})
	f.mu.Lock()
	for name := range f.states {
		gone[name] = struct{}{}
	}
	f.mu.Unlock()
	err := guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketReceivers).ForEachBucket(func(name []byte) error {
				gone[string(name)] = struct{}{}
				return nil
			})
		})
	})
	if err != nil {
		return err
	}
	for _, name := range configured {
		delete(gone, name)
	}
	if len(gone) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		f.log.Warn("receiver is not configured any more: how far it was is deleted, and with its name it would begin anew", slog.String("receiver", name))
	}
	err = f.update("what is gone", func(all *bbolt.Bucket) error {
		for name := range gone {
			if err := all.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	maps.DeleteFunc(f.states, func(name string, _ state) bool { _, is := gone[name]; return is })
	f.mu.Unlock()
	return f.copyStates()
}
