package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/cloud/registry/tokens"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// initiator is who makes a site, in the audit log.
const initiator = "wattline-cloud init"

// Site is what Init makes.
type Site struct {
	contract.Site

	// Data is the directory, Admin the name of the first admin token.
	Data, Admin string
	// Show is given the first admin token. When it fails there is no token, and
	// Init can be repeated.
	Show func(config.Secret) error
}

// Init makes a new site below a data directory: the registry, the site's
// authority and the first admin token. It can be repeated until all of it is
// there, after a power cut for instance, and completes a site that was begun
// with a first inventory; a site that is whole it does not touch. done says in
// words what was made.
func Init(site Site, log *slog.Logger) (done []string, err error) {
	if strings.TrimSpace(site.Name) == "" {
		return nil, errors.New("the site needs a name, by which people know it")
	}
	if err := tokens.CheckName(site.Admin); err != nil {
		return nil, fmt.Errorf("the name of the admin token: %w", err)
	}
	store, made, err := openSite(site, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if made {
		done = append(done, "the registry")
	}
	switch _, err = pki.CreateAuthority(filepath.Join(site.Data, trustDir), site.Name, time.Now()); {
	case err == nil:
		done = append(done, "the site's certificate authority")
	case !errors.Is(err, pki.ErrExists):
		return done, err
	}
	token, err := store.Tokens().EnsureAdmin(site.Admin, site.Show)
	if err != nil {
		return done, err
	}
	if token {
		done = append(done, "the admin token "+site.Admin)
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("there is a site below %s already, and it lacks nothing: wattline site set changes it, wattline tokens create makes tokens", site.Data)
	}
	return done, nil
}

// openSite makes the registry, or opens that of a site that is not whole yet.
func openSite(site Site, log *slog.Logger) (store *registry.Store, made bool, err error) {
	if !registry.Exists(site.Data) {
		store, err = registry.Init(site.Data, site.Site, initiator, log)
		return store, err == nil, err
	}
	if store, err = registry.Open(site.Data, log); err != nil {
		return nil, false, err
	}
	answer := store.Answer(context.Background(), "site", contract.RegistryRequest{Verb: "get"})
	if p := answer.Problem; p != nil { // a file, and no site in it
		if err := store.Close(); err != nil || p.Kind != contract.NotFound {
			return nil, false, errors.Join(fmt.Errorf("read the site: %w", p), err)
		}
		store, err = registry.Init(site.Data, site.Site, initiator, log)
		return store, err == nil, err
	}
	var there contract.Site
	err = json.Unmarshal(answer.Content, &there)
	if err == nil && (there.Name != site.Name || there.DefaultFloor != site.DefaultFloor) {
		err = fmt.Errorf("there is a site below %s already: %q with the default floor %d. To complete that one give its own name and default floor; a new site needs a new directory",
			site.Data, there.Name, there.DefaultFloor)
	}
	if err != nil {
		return nil, false, errors.Join(err, store.Close())
	}
	return store, false, nil
}
