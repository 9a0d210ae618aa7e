package influxd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Config says where the embedded InfluxDB keeps its data and how it is run.
// The zero value is not usable; start from DefaultConfig.
type Config struct {
	// Dir holds everything of it: data, credentials, configuration, locks. It
	// is made when missing, readable by its owner alone.
	Dir string `yaml:"dir"`
	// Binary is the path of influxd. Empty: beside the running program, in
	// ./bin, in PATH, in this order.
	Binary string `yaml:"binary"`
	// Address is where it listens, on loopback. Port 0: a free one, chosen at
	// each start of the program and kept while that runs.
	Address string `yaml:"address"`
	// StartTimeout bounds the wait until it answers, which after a crash with
	// much unsorted data takes minutes. StopTimeout is how long it may take to
	// end before it is killed.
	StartTimeout time.Duration `yaml:"start_timeout"`
	StopTimeout  time.Duration `yaml:"stop_timeout"`
	// Environment adds variables to influxd's environment. Those of the form
	// INFLUXDB_DATA_CACHE_MAX_MEMORY_SIZE override its configuration,
	// GOMEMLIMIT bounds its memory.
	Environment map[string]string `yaml:"environment"`
}

// DefaultConfig has every default and no directory.
func DefaultConfig() Config {
	return Config{
		Address:      "127.0.0.1:0",
		StartTimeout: 10 * time.Minute,
		StopTimeout:  25 * time.Second,
	}
}

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: required"))
	}
	if strings.ContainsFunc(c.Dir, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		errs = append(errs, fmt.Errorf("dir: %q has characters that influxd's configuration cannot hold", c.Dir))
	}
	if host, _, err := net.SplitHostPort(c.Address); err != nil {
		errs = append(errs, fmt.Errorf("address: %q, want 127.0.0.1:port", c.Address))
	} else if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		errs = append(errs, fmt.Errorf("address: %q is not on loopback; to reach InfluxDB from elsewhere run one of your own", c.Address))
	}
	if c.StartTimeout < time.Second {
		errs = append(errs, fmt.Errorf("start_timeout: %v is under 1s", c.StartTimeout))
	}
	if c.StopTimeout < time.Second {
		errs = append(errs, fmt.Errorf("stop_timeout: %v is under 1s", c.StopTimeout))
	}
	for name := range c.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			errs = append(errs, fmt.Errorf("environment: %q is no name of a variable", name))
		}
	}
	return errors.Join(errs...)
}

// ErrNoBinary says that there is no influxd to run.
var ErrNoBinary = errors.New("no influxd")

// findBinary looks where DefaultConfig promises.
func findBinary(configured string) (string, error) {
	if configured != "" {
		path, err := exec.LookPath(configured)
		if err != nil {
			return "", fmt.Errorf("%w: %v: build it with `make influxd`, or correct binary", ErrNoBinary, err) //nolint:errorlint // one cause is enough
		}
		return filepath.Abs(path)
	}
	candidates := []string{filepath.Join("bin", "influxd")}
	if self, err := os.Executable(); err == nil {
		candidates = append([]string{filepath.Join(filepath.Dir(self), "influxd")}, candidates...)
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Abs(path)
		}
	}
	if path, err := exec.LookPath("influxd"); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%w beside this program, in ./bin or in PATH: build it with `make influxd`, "+
		"or set the url of an InfluxDB that runs elsewhere", ErrNoBinary)
}
