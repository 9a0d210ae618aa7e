package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/hooks/live"
	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

const (
	// trustDir has the registry and the site's authority, below the data directory.
	trustDir = "registry"
	// firstToken is where the first admin token is left when nobody was there to
	// be shown it.
	firstToken = "first-admin-token"
	firstAdmin = "admin"
)

// door is the api: what people and programs come in by.
func (s *Server) door() (part, error) {
	certificate, err := s.certificate()
	if err != nil {
		return part{}, err
	}
	hub := live.New(live.Options{Metrics: s.metrics}, s.log)
	server := api.New(api.Config{HTTP: s.config.HTTP, IoToad: s.config.IoToad},
		api.Options{Bus: s.bus, Version: s.version, Metrics: s.metrics, Live: events{hub}, Certificate: certificate}, s.log)
	if err := server.Listen(); err != nil {
		return part{}, err
	}
	if s.ready != nil {
		s.ready(server.Addr(), s.bus.URL)
	}
	return part{"api", func(ctx context.Context) error {
		// The hub ends with ctx, and with it the streams that the server would
		// otherwise have to cut off.
		all, ctx := errgroup.WithContext(ctx)
		all.Go(func() error { return hub.Run(ctx, s.bus) })
		all.Go(func() error { return server.Run(ctx) })
		return all.Wait()
	}}, nil
}

// events gives the live hook's events as the api wants them.
type events struct{ hub *live.Hub }

func (e events) Follow(after string, wants func(contract.Event) bool) (api.Follower, error) {
	f, err := e.hub.Follow(after, wants)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// wantsTLS tells whether the api needs a certificate that the site issues.
func wantsTLS(h api.HTTP) bool {
	return h.TLS.Cert == "" && (!h.Loopback() || len(h.TLS.Hosts) > 0)
}

// Secure tells whether the REST API of this configuration speaks TLS.
func (c *Config) Secure() bool { return c.HTTP.TLS.Cert != "" || wantsTLS(c.HTTP) }

// certificate is the api's, from the site's own authority; nil where it brings
// its own or needs none. Without either the api says what to do.
func (s *Server) certificate() (func() (*tls.Certificate, error), error) {
	if !wantsTLS(s.config.HTTP) {
		return nil, nil //nolint:nilnil // no certificate and nothing wrong with that
	}
	authority, err := pki.LoadAuthority(s.config.path(trustDir), time.Now())
	if errors.Is(err, pki.ErrNoAuthority) && len(s.config.HTTP.TLS.Hosts) == 0 {
		return nil, nil //nolint:nilnil // Listen refuses, in words about http.listen
	}
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	return pki.NewServerCertificate(authority, hosts(s.config.HTTP.TLS.Hosts), nil, s.log).Get, nil
}

// hosts are the names in a server's certificate: those that the operator has
// written, or those of this machine.
func hosts(written []string) []string {
	names := slices.Clone(written)
	if len(names) > 0 {
		return names
	}
	if name, err := os.Hostname(); err == nil && pki.CheckHost(name) == nil {
		names = append(names, name)
	}
	names = append(names, "localhost")
	addresses, _ := net.InterfaceAddrs() // without them the names remain
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && !ip.IsLinkLocalUnicast() {
			names = append(names, ip.String())
		}
	}
	return names
}

// checkDoor finds what the api's settings lack beside themselves.
func (c *Config) checkDoor() error {
	var errs []error
	for _, host := range c.HTTP.TLS.Hosts {
		if err := pki.CheckHost(host); err != nil {
			errs = append(errs, fmt.Errorf("http.tls.hosts: %w", err))
		}
	}
	if !wantsTLS(c.HTTP) {
		return errors.Join(errs...)
	}
	if _, err := os.Stat(filepath.Join(c.path(trustDir), pki.AuthorityCertificate)); err != nil {
		errs = append(errs, fmt.Errorf("http.listen: %s is not loopback, so it needs TLS: set http.tls.cert and http.tls.key, "+
			"or make the site's own authority in %s with wattline-cloud init", c.HTTP.Listen, c.Data))
	}
	return errors.Join(errs...)
}

// ensureAdmin makes the first admin token where tokens are needed and none is in
// force, and leaves it in a file: a log is read by more people than a file of
// mode 0600.
func (s *Server) ensureAdmin(store *registry.Store) error {
	if !s.config.HTTP.TokensNeeded() {
		return nil
	}
	path := filepath.Join(s.config.path(trustDir), firstToken)
	made, err := store.Tokens().EnsureAdmin(firstAdmin, func(secret config.Secret) error {
		return pki.WriteFile(path, []byte(secret.Reveal()+"\n"), 0o600)
	})
	if made {
		s.log.Warn("there was no admin token in force, so one was made; it is in a file that only this program's user reads: take it from there and delete the file",
			slog.String("source", path))
	}
	return err
}
