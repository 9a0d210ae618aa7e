package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wattline/wattline/shared/contract"
)

// maxVersion is the greatest version that is believed: beyond it a JSON number
// is no longer exact for everybody.
const maxVersion = 1 << 53

// versions is the file that remembers the last configuration of each gateway:
// its version and a hash of its content. Gateways that are no more stay in it.
type versions struct {
	path string
	last map[string]version
}

type version struct {
	Version uint64 `json:"version"`
	Hash    string `json:"hash"`
}

// openVersions reads the file; one that is not there, or cannot be understood,
// counts as lost, and lost tells why.
func openVersions(path string) (v *versions, lost error) {
	v = &versions{path: path, last: make(map[string]version)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &v.last)
	}
	if err != nil {
		v.last = make(map[string]version)
		return v, fmt.Errorf("read the configuration versions: %w", err)
	}
	if v.last == nil { // the file said null
		v.last = make(map[string]version)
	}
	return v, nil
}

// assign gives each configuration its version: the last one if the content is
// the same, else one more. seen tells what version of a gateway's configuration
// somebody has, and whether its content is this one.
func (v *versions) assign(configs map[string]*contract.GatewayConfig, seen func(gateway, hash string) (version uint64, same bool)) (changed bool) {
	for gateway, config := range configs {
		hash := hashOf(config)
		last := v.last[gateway]
		next := last
		known, same := seen(gateway, hash)
		if known > maxVersion {
			known = 0
		}
		switch {
		case last.Hash == hash && known <= last.Version:
		case same && known > last.Version:
			next = version{known, hash}
		default:
			next = version{max(last.Version, known) + 1, hash}
		}
		config.Version = next.Version
		if next != last {
			v.last[gateway], changed = next, true
		}
	}
	return changed
}

// save replaces the file so that a crash leaves the old one or the new one.
func (v *versions) save() error {
	text, err := json.MarshalIndent(v.last, "", " ")
	if err != nil {
		return fmt.Errorf("encode the configuration versions: %w", err)
	}
	if err := replace(v.path, text); err != nil {
		return fmt.Errorf("write the configuration versions: %w", err)
	}
	return nil
}

func replace(path string, text []byte) error {
	directory := filepath.Dir(path)
	f, err := os.CreateTemp(directory, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(directory)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hashOf hashes a configuration without its version.
func hashOf(config *contract.GatewayConfig) string {
	bare := *config
	bare.Version = 0
	text, err := json.Marshal(bare)
	if err != nil {
		panic(err) // numbers and text: a bug of ours
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
