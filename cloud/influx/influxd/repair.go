package influxd

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// repair removes what an influxd that was killed may have left half written and
// what the next one would trip over for ever. Nothing of it is data: influxd
// builds it anew from the shard's TSM files and its write-ahead log.
//
// InfluxDB 1.8.10 writes an index's MANIFEST in place (tsi1/partition.go,
// Manifest.Write): killed in between it leaves an empty file, and every write to
// that shard fails with "[shard n] unexpected end of JSON input" from then on.
// With the index gone, and the list of fields too, it scans the shard again
// (tsm1/engine.go, LoadMetadataIndex). A list of fields that was not renamed
// into place yet makes a later one fail, since it is opened with O_EXCL.
func (s *Server) repair() error {
	shards, err := within(s.cfg.Dir, "data/*/*/*")
	if err != nil {
		return err
	}
	for _, shard := range shards {
		leftovers, err := within(shard, "fields.idx.*.tmp")
		if err != nil {
			return err
		}
		for _, path := range leftovers {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove what a killed influxd left: %w", err)
			}
		}
		if torn := tornManifest(shard); torn != "" {
			s.log.Warn("index of a shard was cut off when influxd was killed: it is built anew",
				slog.String("component", "influxd"), slog.String("file", torn))
			if err := dropIndex(shard); err != nil {
				return err
			}
		}
	}
	return nil
}

// within lists what fits a pattern below dir, whose own name is no pattern
// whatever characters it has.
func within(dir, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil {
		return nil, fmt.Errorf("look for %s in %s: %w", pattern, dir, err)
	}
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names, nil
}

// tornManifest is the first manifest of a shard's index that does not read.
func tornManifest(shard string) string {
	manifests, err := within(shard, "index/*/MANIFEST")
	if err != nil {
		return ""
	}
	for _, path := range manifests {
		if text, err := os.ReadFile(path); err == nil && !json.Valid(text) {
			return path
		}
	}
	return ""
}

// dropIndex removes the list of fields before the index: a crash in between
// leaves something that is found again.
func dropIndex(shard string) error {
	if err := os.RemoveAll(filepath.Join(shard, "fields.idx")); err != nil {
		return fmt.Errorf("remove a shard's list of fields: %w", err)
	}
	aside := filepath.Join(shard, "index.torn")
	err := os.RemoveAll(aside)
	if err == nil {
		err = os.Rename(filepath.Join(shard, "index"), aside)
	}
	if err == nil {
		err = os.RemoveAll(aside)
	}
	if err != nil {
		return fmt.Errorf("remove a shard's index: %w", err)
	}
	return nil
}
