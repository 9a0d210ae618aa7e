package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/contract"
)

// Standing is a site whose roles do not run, for whoever copies it or brings it
// back: its data directory, and its InfluxDB, which is started where it is the
// embedded one.
type Standing struct {
	config  Config
	file    string // of the configuration
	version string
	log     *slog.Logger
	nanos   *influx.Client // for copies
	micros  *influx.Client // for the ledger
	closers []func()
}

// OpenStanding starts what is needed; file is that of the configuration, which
// belongs to what is copied. Close ends it.
func OpenStanding(ctx context.Context, cfg Config, file, version string, log *slog.Logger) (*Standing, error) {
	s := &Standing{config: cfg, file: file, version: version, log: log}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Standing) open(ctx context.Context) (err error) {
	if s.config.Influx.URL == "" {
		own := &Server{config: s.config, roles: []Role{RoleInflux}, log: s.log}
		s.closers = append(s.closers, own.close)
		if err := own.embedded(ctx); errors.Is(err, influxd.ErrInUse) {
			return fmt.Errorf("%w (%w)", restore.ErrRuns, err)
		} else if err != nil {
			return err
		}
		s.config = own.config
		s.closers = append(s.closers, own.store.Close)
	}
	if s.nanos, err = influx.New(s.config.Influx, influx.InNanoseconds()); err != nil {
		return err
	}
	s.micros, err = influx.New(s.config.Influx)
	return err
}

// Close ends what was started.
func (s *Standing) Close() {
	for _, c := range []*influx.Client{s.nanos, s.micros} {
		if c != nil {
			c.Close()
		}
	}
	for i := range s.closers {
		s.closers[len(s.closers)-1-i]()
	}
	s.closers = nil
}

// Backup prepares a backup of it.
func (s *Standing) Backup(ctx context.Context) (*backup.Backup, error) {
	sh, err := Shelf(s.config, "")
	if err != nil {
		return nil, err
	}
	site, err := siteOf(ctx, s.config.Data, s.log)
	if err != nil {
		return nil, err
	}
	return backup.New(s.config.Backup, backup.Options{
		Site:  func(context.Context) (contract.Site, error) { return site, nil },
		Store: sh.Store, Influx: s.nanos, Feed: ledger.NewFeed(s.micros), Data: s.config.Data, Version: s.version, Log: s.log,
		States: backup.Together{backup.Stopped{Data: s.config.Data}, backup.File{Role: "server", Path: backup.ConfigPath, From: s.file}},
	})
}

// Restore brings a backup back; what o lacks is that of the site.
func (s *Standing) Restore(ctx context.Context, o restore.Options) (restore.Report, error) {
	o.Influx, o.Data, o.Log = s.nanos, s.config.Data, s.log
	return restore.Run(ctx, o)
}

// Pretend has an embedded InfluxDB that is not there yet begin in a directory that
// done removes, so that a dry run leaves nothing.
func (c *Config) Pretend() (done func(), err error) {
	if _, err := os.Stat(c.path(c.InfluxD.Dir)); c.Influx.URL != "" || err == nil {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "wattline-dry-run-*")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a dry run: %w", err)
	}
	c.InfluxD.Dir = dir
	return func() { _ = os.RemoveAll(dir) }, nil
}

// Shelf is where a site's backups are: in dir, or where the configuration says.
func Shelf(cfg Config, dir string) (shelf.Shelf, error) {
	if dir == "" {
		dir = cfg.Backup.Directory
	}
	if dir == "" {
		return shelf.Shelf{}, errors.New("backup.directory: empty; say there where backups are to be")
	}
	d, err := store.OpenDir(dir)
	return shelf.Shelf{Store: d}, err
}

// Identities reads the secret keys of a file; without a name there are none.
func Identities(file string) (*form.Keys, error) {
	keys := &form.Keys{}
	if file == "" {
		return keys, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	defer f.Close()
	if err := keys.ReadIdentities(io.LimitReader(f, 1<<20)); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// Prune deletes backups that the configuration does not keep; days are those of
// the site.
func Prune(ctx context.Context, cfg Config, sh shelf.Shelf, dry bool, log *slog.Logger) (p shelf.Pruned, err error) {
	release, err := sh.Store.Lock(ctx)
	if err != nil {
		return p, err
	}
	defer release()
	zone := time.UTC
	if site, err := siteOf(ctx, cfg.Data, log); err == nil {
		if known, err := time.LoadLocation(site.TimeZone); err == nil {
			zone = known
		}
	}
	return sh.Prune(ctx, cfg.Backup.Keep, zone, time.Now(), dry)
}

// siteOf reads the site of a registry that nobody has open.
func siteOf(ctx context.Context, data string, log *slog.Logger) (site contract.Site, err error) {
	if !registry.Exists(data) {
		return site, fmt.Errorf("there is no site below %s: %w", data, fs.ErrNotExist)
	}
	store, err := registry.Open(data, log)
	if errors.Is(err, registry.ErrLocked) {
		return site, fmt.Errorf("%w (%w)", restore.ErrRuns, err)
	}
	if err != nil {
		return site, err
	}
	answer := store.Answer(ctx, "site", contract.RegistryRequest{Verb: "get"})
	if answer.Problem != nil {
		err = answer.Problem
	} else {
		err = json.Unmarshal(answer.Content, &site)
	}
	return site, errors.Join(err, store.Close())
}
