package outbox

import (
	"errors"
	"fmt"
)

// Config is what an operator writes about the outbox.
type Config struct {
	// Path of the file, beside which the ballast lies.
	Path string `yaml:"path"`
	// Limit is the most that waiting batches may take, in bytes.
	Limit int64 `yaml:"limit_bytes"`
	// MinFree is the free disk space, in bytes, that the outbox leaves to others.
	MinFree int64 `yaml:"min_free_bytes"`
	// Compression of batches, on disk and on the wire: zstd, or none for sites
	// with hooks that read plain JSON only.
	Compression Compression `yaml:"compression"`
}

// Compression is how batches are packed.
type Compression string

// The compressions.
const (
	Zstd          Compression = "zstd"
	NoCompression Compression = "none"
)

// DefaultConfig keeps 4 GB: 300 plugs polled every 10 s for about a month.
func DefaultConfig() Config {
	return Config{Path: "outbox.db", Limit: 4 << 30, MinFree: 64 << 20, Compression: Zstd}
}

// Validate names every mistake by key.
func (c Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path: required"))
	}
	if c.Limit < 1<<20 {
		errs = append(errs, fmt.Errorf("limit_bytes: %d is under 1048576 (1 MiB)", c.Limit))
	}
	if c.Compression != Zstd && c.Compression != NoCompression {
		errs = append(errs, fmt.Errorf("compression: %q is neither zstd nor none", c.Compression))
	}
	if c.MinFree < 0 {
		errs = append(errs, fmt.Errorf("min_free_bytes: %d is negative", c.MinFree))
	}
	return errors.Join(errs...)
}
