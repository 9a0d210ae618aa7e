package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// settings are where the demonstration lives.
type settings struct {
	http, mqtt, data, bin string
	floors                int
	// cloud is a file of further settings of the cloud, or empty: sections that
	// the demonstration does not write itself, such as alerting.
	cloud string
}

// marker is the file by which a data directory of ours is known.
const (
	marker = "wattline-run"
	format = "1"
)

func settingsFrom(getenv func(string) string) (s settings, err error) {
	or := func(key, fallback string) string {
		if v := getenv(key); v != "" {
			return v
		}
		return fallback
	}
	s = settings{http: or("WATTLINE_HTTP", "127.0.0.1:8080"), mqtt: or("WATTLINE_MQTT", "127.0.0.1:1883")}
	var errs []error
	if s.floors, err = strconv.Atoi(or("WATTLINE_FLOORS", "3")); err != nil || s.floors < 1 || s.floors > 20 {
		errs = append(errs, fmt.Errorf("WATTLINE_FLOORS: %q is not a number from 1 to 20", getenv("WATTLINE_FLOORS")))
	}
	for key, address := range map[string]string{"WATTLINE_HTTP": s.http, "WATTLINE_MQTT": s.mqtt} {
		host, port, err := net.SplitHostPort(address)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 1 || n > 65535 || host == "" {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port, such as 127.0.0.1:18080", key, address))
		}
	}
	if s.http == s.mqtt {
		errs = append(errs, fmt.Errorf("WATTLINE_HTTP and WATTLINE_MQTT are both %s", s.http))
	}
	if s.data, err = filepath.Abs(or("WATTLINE_DATA", "var")); err != nil {
		errs = append(errs, fmt.Errorf("WATTLINE_DATA: %w", err))
	}
	if s.bin, err = filepath.Abs("bin"); err != nil {
		errs = append(errs, err)
	}
	if name := getenv("WATTLINE_CLOUD"); name != "" {
		if s.cloud, err = filepath.Abs(name); err == nil {
			_, err = os.Stat(s.cloud)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("WATTLINE_CLOUD: %w", err))
		}
	}
	return s, errors.Join(errs...)
}

// check finds what would go wrong later, and says what to do about it. The data
// directory is ours until lock is closed.
func (s settings) check(ctx context.Context) (lock io.Closer, err error) {
	for _, name := range []string{"wattline-cloud", "wattline-edge", "plugsim"} {
		if _, err := os.Stat(filepath.Join(s.bin, name)); err != nil {
			return nil, fmt.Errorf("bin/%s is missing: make build makes it", name)
		}
	}
	if _, err := os.Stat(filepath.Join(s.bin, "influxd")); err != nil {
		return nil, errors.New("bin/influxd is missing, the embedded InfluxDB: make influxd builds it from its Go module")
	}
	for key, address := range map[string]string{"WATTLINE_HTTP": s.http, "WATTLINE_MQTT": s.mqtt} {
		l, err := listen(ctx, address)
		if err != nil {
			return nil, fmt.Errorf("%s can't be used (%w): stop what listens there, or choose another address with %s=127.0.0.1:PORT make run", address, err, key)
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return s.checkData()
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// checkData refuses a directory that holds something else, and one that another
// make run works in. It is ours until lock is closed.
func (s settings) checkData() (lock io.Closer, err error) {
	if err := s.checkOwner(); err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(s.data, marker))
	if err != nil {
		return nil, fmt.Errorf("open the data directory's mark: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("another make run works in %s: end it, or choose another directory with WATTLINE_DATA", s.data)
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (s settings) checkOwner() error {
	entries, err := os.ReadDir(s.data)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		if err := os.MkdirAll(s.data, 0o750); err != nil {
			return fmt.Errorf("make the data directory: %w; choose another with WATTLINE_DATA", err)
		}
		return os.WriteFile(filepath.Join(s.data, marker), []byte(format+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("read the data directory: %w; choose another with WATTLINE_DATA", err)
	}
	found, err := os.ReadFile(filepath.Join(s.data, marker))
	if err != nil {
		return fmt.Errorf("%s holds something that make run did not put there; choose another directory with WATTLINE_DATA, or empty this one", s.data)
	}
	if got := strings.TrimSpace(string(found)); got != format {
		return fmt.Errorf("%s is of another version of make run (format %s, this one writes %s); move it away or choose another with WATTLINE_DATA", s.data, got, format)
	}
	return nil
}

// statusAddress is where the gateway of a floor shows its page, on loopback as
// it must be: the API's port and the floor added, if that is free.
func (s settings) statusAddress(ctx context.Context, floor int) (string, error) {
	_, port, _ := net.SplitHostPort(s.http)
	n, _ := strconv.Atoi(port)
	l, err := listen(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(n+floor)))
	if err != nil {
		if l, err = listen(ctx, "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("find a port for a gateway's page: %w", err)
		}
	}
	return l.Addr().String(), l.Close()
}
