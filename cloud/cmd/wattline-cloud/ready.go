package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
)

// askReady is wattline-cloud ready: it asks the cloud that runs beside it whether
// it can answer, for health checks in containers that have no other program.
func askReady(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("wattline-cloud ready", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	file := flags.String("config", defaultConfig, "configuration `file`, which says where it listens")
	timeout := flags.Duration("timeout", 5*time.Second, "how long the answer may take")
	flags.Usage = func() {
		fmt.Fprint(stderr, "wattline-cloud ready asks the cloud of the same configuration, on this machine, whether\nit can answer, and fails if not.\n\nUsage: wattline-cloud ready [-config FILE]\n\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("ready: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("ready: unexpected argument %q; see ready -help", flags.Arg(0))
	}
	cfg := server.DefaultConfig()
	if err := config.Load(*file, &cfg); err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	said, err := readiness(ctx, &cfg)
	if err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	_, err = fmt.Fprintln(stdout, said)
	return err
}

// readiness gives the status in words; an error where it is not ready.
func readiness(ctx context.Context, cfg *server.Config) (string, error) {
	host, port, err := net.SplitHostPort(cfg.HTTP.Listen)
	if err != nil {
		return "", fmt.Errorf("http.listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // a wildcard is no address to ask
	}
	scheme := "http"
	if cfg.Secure() {
		scheme = "https"
	}
	client := &http.Client{Transport: &http.Transport{
		// Whoever holds this machine's port can say anything anyhow, and nothing
		// secret is sent.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer); err != nil {
		return "", fmt.Errorf("what listens on %s is no cloud: %s", cfg.HTTP.Listen, response.Status)
	}
	if response.StatusCode != http.StatusOK {
		return "", errors.New(answer.Status)
	}
	return answer.Status, nil
}
