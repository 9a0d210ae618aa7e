package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/copies"
	"github.com/wattline/wattline/cloud/backup/duty"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/backup/trial"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/cloud/schedule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

const (
	// retryBackup is the first pause after a backup that failed.
	retryBackup = 15 * time.Minute
	// backupQueries is how many of InfluxDB's turns a backup has.
	backupQueries = 1
	// sitePatience is how long the registry may take to name the site.
	sitePatience = 30 * time.Second
	siteAgain    = 3 * time.Second
)

// backsUp reports whether the role backup has anything to do here.
func (s *Server) backsUp() bool { return s.has(RoleBackup) && s.config.Backup.Directory != "" }

// withCopies runs a part of a role, if any, and beside it answers the backup, who
// asks for the role's files.
func (s *Server) withCopies(role Role, run func(context.Context) error, files ...copies.File) func(context.Context) error {
	return func(ctx context.Context) error {
		// The recipients were checked with the configuration.
		keys, err := form.ParseRecipients(s.config.Backup.Recipients)
		if err != nil {
			return err
		}
		all, running := errgroup.WithContext(ctx)
		if run != nil {
			all.Go(func() error { return run(running) })
		}
		answers := copies.Component(string(role), copies.Spool(s.config.Data), keys, s.log, files...)
		all.Go(func() error { return answers.Serve(running, s.bus, s.log) })
		return all.Wait()
	}
}

// backupTimes are when backups are made and tried.
func (c *Config) backupTimes() (made, tried *schedule.Times, err error) {
	made, errMade := schedule.Parse(c.Backup.At, c.Backup.TimeZone)
	tried, errTried := schedule.Parse(c.Backup.TrialAt, c.Backup.TimeZone)
	return made, tried, errors.Join(config.Key("backup.at", errMade), config.Key("backup.trial_at", errTried))
}

// backupPart is the role backup.
func (s *Server) backupPart() (part, error) {
	if !s.backsUp() { // it says so to whoever asks
		d, err := duty.New(duty.Options{Metrics: s.metrics, Log: s.log})
		return part{duty.Name, func(ctx context.Context) error { return d.Serve(ctx, s.bus) }}, err
	}
	made, tried, err := s.config.backupTimes()
	if err != nil {
		return part{}, err
	}
	// A disk that is not mounted keeps nobody from anything but the backup.
	sh := shelf.Shelf{Store: store.NewDir(s.config.Backup.Directory)}
	settings := s.config.Influx
	settings.MaxConcurrentQueries = backupQueries
	nanos, err := influx.New(settings, influx.InNanoseconds())
	if err != nil {
		return part{}, err
	}
	s.closers = append(s.closers, nanos.Close)
	options := s.bus
	options.ClientID = hook.ClientID(duty.Name)
	asker := bus.NewAsker(duty.Name+"/"+hook.Instance(), options, nil, s.log)
	k := &keeping{Server: s, shelf: sh, nanos: nanos, asker: asker, made: made, tried: tried}
	return part{duty.Name, k.run}, nil
}

// keeping is the role backup, put together.
type keeping struct {
	*Server

	shelf       shelf.Shelf
	nanos       *influx.Client
	asker       *bus.Asker
	made, tried *schedule.Times
	duty        *duty.Duty
}

func (k *keeping) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return k.asker.Run(ctx) })
	all.Go(func() error { return k.serve(ctx) })
	return all.Wait()
}

// site asks the registry.
func (k *keeping) site(ctx context.Context) (site contract.Site, err error) {
	ctx, cancel := context.WithTimeout(ctx, sitePatience)
	defer cancel()
	for {
		// A question that comes before the registry listens is lost.
		asking, stop := context.WithTimeout(ctx, siteAgain)
		err = k.askSite(asking, &site)
		stop()
		switch {
		case err == nil:
			return site, nil
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return site, fmt.Errorf("ask the registry for the site: %w", err)
		}
	}
}

func (k *keeping) askSite(ctx context.Context, site *contract.Site) error {
	request, err := json.Marshal(contract.RegistryRequest{Verb: "get"})
	if err != nil {
		return err
	}
	answer, err := k.asker.Once(ctx, "query/registry/site", request, nil)
	if err != nil {
		return err
	}
	var said contract.RegistryAnswer
	if err := json.Unmarshal(answer.Data, &said); err != nil {
		return fmt.Errorf("the registry's answer: %w", err)
	}
	if said.Problem != nil {
		return said.Problem
	}
	return json.Unmarshal(said.Content, site)
}

// serve makes backups at their times until ctx ends.
func (k *keeping) serve(ctx context.Context) error {
	maker, err := backup.New(k.config.Backup, backup.Options{
		Store: k.shelf.Store, Influx: k.nanos, Feed: ledger.NewFeed(k.store), Data: k.config.Data, Site: k.site, Version: k.version, Log: k.log,
		States: backup.Together{
			copies.Roles{Asker: k.asker, Names: k.config.Backup.Roles},
			backup.File{Role: "server", Path: backup.ConfigPath, From: k.file},
		},
	})
	if err != nil {
		return err
	}
	k.duty, err = duty.New(duty.Options{
		Maker: maker, Shelf: k.shelf, Data: k.config.Data, Metrics: k.metrics, Log: k.log, Trial: k.trial,
		Prune: k.prune,
		Next:  func() (time.Time, time.Time) { return k.made.Next(time.Now()), k.tried.Next(time.Now()) },
	})
	if err != nil {
		return err
	}
	makeNow, tryNow := k.duty.Wanted()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return k.duty.Serve(ctx, k.bus) })
	for _, job := range []struct {
		schedule.Job
		now <-chan struct{}
	}{
		{schedule.Job{Times: k.made, Last: k.duty.LastMade, Do: k.duty.Make}, makeNow},
		{schedule.Job{Times: k.tried, Last: k.duty.LastTried, Do: k.duty.Try}, tryNow},
	} {
		job.Retry, job.Jitter = retryBackup, k.config.Backup.Jitter
		all.Go(func() error {
			schedule.Run(ctx, job.Job, job.now)
			return nil
		})
	}
	return all.Wait()
}

// prune deletes what is not kept; days are those of the site.
func (k *keeping) prune(ctx context.Context) (p shelf.Pruned, err error) {
	site, err := k.site(ctx)
	if err != nil {
		return p, err
	}
	zone, err := time.LoadLocation(site.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	release, err := k.shelf.Store.Lock(ctx)
	if err != nil {
		return p, err
	}
	defer release()
	return k.shelf.Prune(ctx, k.config.Backup.Keep, zone, time.Now(), false)
}

// trial restores the newest backup into an InfluxDB of its own.
func (k *keeping) trial(ctx context.Context) (trial.Result, error) {
	keys, err := Identities(k.config.Backup.Identity)
	if err != nil {
		return trial.Result{}, fmt.Errorf("backup.identity: %w", err)
	}
	r, err := trial.Run(ctx, trial.Options{
		Shelf: k.shelf, Keys: keys, Dir: filepath.Join(k.config.Data, backup.Folder, "trial"), Log: k.log, Scratch: k.scratch,
	})
	return r, errors.Join(err, backup.MarkDamaged(k.config.Data, r.Damaged))
}

func (k *keeping) scratch(ctx context.Context, dir string) (restore.Influx, func(), error) {
	settings := k.config.InfluxD
	settings.Dir, settings.Address = dir, "127.0.0.1:0"
	d, err := influxd.Start(ctx, settings, k.log)
	if err != nil {
		return nil, nil, err
	}
	client := influx.DefaultConfig()
	client.URL, client.Token = d.URL(), config.Secret(d.Token())
	db, err := influx.New(client, influx.InNanoseconds())
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return db, func() { db.Close(); d.Close() }, nil
}
