package influxd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/influx/influxtest"
)

// TestTornIndexIsBuiltAnew leaves what influxd leaves when it is killed while it
// writes a manifest: an empty file. Without repair every write to the shard
// fails from then on: "[shard 2] unexpected end of JSON input".
func TestTornIndexIsBuiltAnew(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "cut": `{"levels": [{"m": 0,`} {
		t.Run(name, func(t *testing.T) {
			cfg := influxtest.Config(t)
			var lines logs
			s := mustStart(t, cfg, lines.logger())
			mustQuery(t, s, s.Token(), "CREATE DATABASE d")
			mustWrite(t, s, "power,id=a,type=w value=1 1\nenergy,id=b value=2 2\n")
			s.Close()

			manifests, err := filepath.Glob(filepath.Join(cfg.Dir, "data", "d", "*", "*", "index", "*", "MANIFEST"))
			if err != nil || len(manifests) == 0 {
				t.Fatalf("no manifests: %v", err)
			}
			if err := os.WriteFile(manifests[len(manifests)/2], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s = mustStart(t, cfg, lines.logger())
			mustWrite(t, s, "power,id=a,type=w value=3 3\n")
			_, got := mustQuery(t, s, s.Token(), `SELECT value FROM power WHERE type = 'w'; SELECT value FROM energy WHERE id = 'b'`)
			for _, want := range []string{"00.000000001Z\",1]", "00.000000003Z\",3]", "00.000000002Z\",2]"} {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in %s", want, got)
				}
			}
			if !strings.Contains(lines.String(), "built anew") {
				t.Errorf("nothing is said of it:\n%s", lines.String())
			}
		})
	}
}
