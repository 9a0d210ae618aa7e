package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

const (
	// maxVersion is the greatest version that is believed: beyond it a JSON number
	// is no longer exact for everybody.
	maxVersion = 1 << 53
	// versionsFile had the versions before the registry had a file of its own.
	versionsFile = "config-versions.json"
)

// version is the last configuration that a gateway was given, and a hash of its
// content. Those of gateways that are no more are kept.
type version struct {
	Version uint64 `json:"version"`
	Hash    string `json:"hash"`
}

// takeOver takes in versions that were given before the registry had its file,
// so that none goes back. A file that cannot be read counts as lost.
func (s *Store) takeOver(path string) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var before map[string]version
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil {
		s.log.Warn("earlier configuration versions lost, going on above what the bus has", slog.Any("err", err))
		return
	}
	maps.DeleteFunc(before, func(gateway string, v version) bool {
		return v.Version <= s.versions[gateway].Version || v.Version > maxVersion
	})
	if err := s.saveVersions(before); err != nil {
		s.log.Error("earlier configuration versions not saved", slog.Any("err", err))
	}
}

// saveVersions notes versions; they count from now on even when they could not
// be saved.
func (s *Store) saveVersions(changed map[string]version) error {
	if len(changed) == 0 {
		return nil
	}
	s.mu.Lock()
	maps.Copy(s.versions, changed)
	s.mu.Unlock()
	err := s.update(func(tx *bbolt.Tx) error {
		for gateway, v := range changed {
			if err := tx.Bucket(bucketVersions).Put([]byte(gateway), []byte(encode(v))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save the configuration versions: %w", err)
	}
	return nil
}

// assign gives each configuration its version: the last one if the content is
// the same, else one more. seen tells what version of a gateway's configuration
// somebody has, and whether its content is this one.
//
// A version that cannot be saved is used nevertheless: what is retained and the
// statuses keep it from going back.
func (s *Store) assign(configs map[string]*contract.GatewayConfig, seen func(gateway, hash string) (version uint64, same bool)) error {
	s.mu.RLock()
	next := maps.Clone(s.versions)
	s.mu.RUnlock()
	changed := make(map[string]version)
	for gateway, config := range configs {
		hash := hashOf(config)
		last := next[gateway]
		v := last
		known, same := seen(gateway, hash)
		if known > maxVersion {
			known = 0
		}
		switch {
		case last.Hash == hash && known <= last.Version:
		case same && known > last.Version:
			v = version{known, hash}
		default:
			v = version{max(last.Version, known) + 1, hash}
		}
		config.Version = v.Version
		if v != last {
			changed[gateway] = v
		}
	}
	return s.saveVersions(changed)
}

// hashOf hashes a configuration without its version.
func hashOf(config *contract.GatewayConfig) string {
	bare := *config
	bare.Version = 0
	sum := sha256.Sum256([]byte(encode(bare)))
	return hex.EncodeToString(sum[:])
}
