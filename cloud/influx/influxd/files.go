package influxd

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What lies in Config.Dir beside influxd's own folders data, wal and meta.
const (
	credentialsFile = "credentials"     // user:password
	configFile      = "influxdb.conf"   // written anew at each start
	ownLockFile     = "supervisor.lock" // held by the supervising process
	childLockFile   = "influxd.lock"    // held by influxd through a descriptor it inherits
	recordFile      = "influxd.pid"     // process id and start time of the last influxd
)

// user is the name of the administrator that is made in InfluxDB.
const user = "wattline"

// prepareDir makes the directory and sees that nobody else can look inside.
func prepareDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no directory", dir)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
			return "", err
		}
	}
	return dir, nil
}

// loadCredentials gives user:password, made once per directory.
func loadCredentials(dir string) (string, error) {
	path := filepath.Join(dir, credentialsFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		random := make([]byte, 24)
		_, _ = rand.Read(random) // it never fails
		token := user + ":" + hex.EncodeToString(random)
		// InfluxDB must never know a password that the file lost.
		return token, writeFile(path, token+"\n")
	case err != nil:
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if name, password, ok := strings.Cut(token, ":"); !ok || name == "" || password == "" {
		return "", fmt.Errorf("%s: want user:password; put the file back from a backup", path)
	}
	return token, nil
}

// writeFile puts a file in place, whole, readable by its owner alone, on disk
// when it returns.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// configText is influxd's configuration. What it does not name keeps the
// default of 1.8.10, among them wal-fsync-delay 0: a write is on disk before it
// is acknowledged.
func configText(dir, address string) string {
	return `# Written by Wattline at each start; to change a setting, set INFLUXDB_...
# variables under "environment" of the embedded InfluxDB.
reporting-disabled = true
# The service for backups: loopback, any free port.
bind-address = "127.0.0.1:0"

[meta]
  dir = ` + quote(filepath.Join(dir, "meta")) + `
  logging-enabled = false

[data]
  dir = ` + quote(filepath.Join(dir, "data")) + `
  wal-dir = ` + quote(filepath.Join(dir, "wal")) + `
  # On disk, so that memory does not grow with the number of series, and
  # without the limits that make InfluxDB drop points.
  index-version = "tsi1"
  max-series-per-database = 0
  max-values-per-tag = 0
  wal-fsync-delay = "0s"
  query-log-enabled = false
  cache-max-memory-size = "1g"
  cache-snapshot-memory-size = "64m"
  max-index-log-file-size = "1m"

[coordinator]
  write-timeout = "30s"
  log-queries-after = "0s"

[monitor]
  store-enabled = false

[subscriber]
  enabled = false

[continuous_queries]
  enabled = false

[http]
  bind-address = ` + quote(address) + `
  auth-enabled = true
  log-enabled = false
  suppress-write-log = true
  flux-enabled = false
  pprof-enabled = false
  max-body-size = 0

[logging]
  format = "logfmt"
  level = "info"
  suppress-logo = true
`
}

// quote makes a basic string of TOML; Config.Validate keeps control characters
// out.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
