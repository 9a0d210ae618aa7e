package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/logs"
)

const restoreHelp = `wattline-cloud restore brings the newest backup that is whole back: readings,
ledger, registry, alerts. Run it as the user that wattline-cloud runs as, while
that is stopped. It can be killed and run again; -dry-run says what it would do.

Usage: wattline-cloud restore -from DIR [-config FILE | -data DIR] [-identity FILE]

With -database, -since or -until only readings are brought back.

`

// bringing are the flags of wattline-cloud restore.
type bringing struct {
	config, data, from, identity string
	restore.Options
}

// restoreBackup is wattline-cloud restore.
func restoreBackup(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &bringing{}
	flags := b.flags()
	flags.Usage = func() {
		fmt.Fprint(stderr, restoreHelp)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("restore: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("restore: unexpected argument %q; see restore -help", flags.Arg(0))
	}
	cfg, err := b.site()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	b.Say = func(text string) { fmt.Fprintln(stderr, text) }
	report, err := b.run(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	return sayRestored(stdout, report, b.DryRun, cfg.Data)
}

func (b *bringing) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("wattline-cloud restore", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&b.config, "config", "", "configuration `file`; "+defaultConfig+" if it is there")
	flags.StringVar(&b.data, "data", "", "data `directory`, instead of the configuration's")
	flags.StringVar(&b.from, "from", "", "the store's `directory`; that of the configuration without")
	flags.StringVar(&b.Wanted.ID, "backup", "", "this backup, by its `id`, and no other")
	flags.Func("at", "the newest backup of this `time` or before, such as 2026-11-24T03:00:00Z", moment(&b.Wanted.At))
	flags.Func("database", "only these `databases`, separated by commas", func(text string) error {
		b.Databases = strings.Split(text, ",")
		return nil
	})
	flags.Func("since", "only readings from this `time` on", moment(&b.From))
	flags.Func("until", "only readings before this `time`", moment(&b.To))
	flags.StringVar(&b.identity, "identity", "", "`file` with the secret key of age, for encrypted backups")
	flags.BoolVar(&b.Merge, "merge", false, "add to databases that have readings already")
	flags.BoolVar(&b.Replace, "replace", false, "put files that are there aside")
	flags.BoolVar(&b.SkipDamaged, "skip-damaged", false, "bring back what is whole of a damaged backup")
	flags.BoolVar(&b.DryRun, "dry-run", false, "check everything, and change nothing")
	return flags
}

// moment reads a time, or a day, which begins at midnight UTC.
func moment(into *time.Time) func(string) error {
	return func(text string) (err error) {
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if *into, err = time.Parse(layout, text); err == nil {
				return nil
			}
		}
		return fmt.Errorf("%.40q is no time: want one such as 2026-11-24T03:00:00Z or 2026-11-24", text)
	}
}

// site is where to restore to.
func (b *bringing) site() (server.Config, error) {
	cfg := server.DefaultConfig()
	if b.config != "" && b.data != "" {
		return cfg, errors.New("-config or -data, not both")
	}
	if b.data != "" {
		cfg.Data = b.data
		return cfg, nil
	}
	file := b.config
	if file == "" {
		file = defaultConfig
	}
	err := config.Load(file, &cfg)
	if errors.Is(err, os.ErrNotExist) && b.config == "" {
		return cfg, fmt.Errorf("there is no %s; say where the site is to be with -data DIR or -config FILE", file)
	}
	b.config = file
	return cfg, err
}

func (b *bringing) run(ctx context.Context, cfg server.Config, stderr io.Writer) (report restore.Report, err error) {
	if b.Shelf, err = server.Shelf(cfg, b.from); err != nil {
		return report, fmt.Errorf("restore: %w; or name the store with -from DIR", err)
	}
	if b.Keys, err = server.Identities(b.identity); err != nil {
		return report, fmt.Errorf("restore: %w", err)
	}
	// Nothing is begun for a backup that is not there.
	entries, err := b.Shelf.Entries(ctx)
	if err == nil {
		_, err = b.Wanted.Candidates(entries)
	}
	if err != nil {
		return report, fmt.Errorf("restore from %s: %w", b.Shelf.Store, err)
	}
	if b.DryRun {
		done, err := cfg.Pretend()
		if err != nil {
			return report, fmt.Errorf("restore: %w", err)
		}
		defer done()
	}
	site, err := server.OpenStanding(ctx, cfg, b.config, version, logs.New(stderr, false))
	if err != nil {
		return report, fmt.Errorf("restore: %w", err)
	}
	defer site.Close()
	return site.Restore(ctx, b.Options)
}

func sayRestored(stdout io.Writer, r restore.Report, dry bool, data string) error {
	verb := "Brought back"
	if dry {
		verb = "Dry run, nothing was changed. Would bring back"
	}
	var out strings.Builder
	for _, text := range r.PassedOver {
		fmt.Fprintf(&out, "Passed over, because it is damaged: %s\n", text)
	}
	for _, text := range r.Damaged {
		fmt.Fprintf(&out, "Damaged, and not brought back: %s\n", text)
	}
	fmt.Fprintf(&out, "%s %s of %q: %d days, %d points, %d files.\n", verb, r.Manifest.ID, r.Manifest.SiteInfo.Name, r.Days, r.Points, len(r.Files))
	if r.Resumed > 0 {
		fmt.Fprintf(&out, "Of these days %d had been brought back before.\n", r.Resumed)
	}
	if r.Expired > 0 {
		fmt.Fprintln(&out, "Some points are older than what the database keeps, and are not there.")
	}
	secrets := false
	for _, path := range r.Files {
		secrets = secrets || path == "registry/ca.key"
		if path == backup.ConfigPath {
			fmt.Fprintf(&out, "The configuration as it was is %s/%s.\n", data, path)
		}
	}
	if !secrets && len(r.Files) > 0 {
		fmt.Fprintln(&out, "The key of the site's authority is not in this backup: without it every gateway enrols again.")
	}
	fmt.Fprintln(&out, "It does not have:")
	for _, text := range r.Manifest.LeftOut {
		fmt.Fprintf(&out, "  - %s\n", text)
	}
	_, err := io.WriteString(stdout, out.String())
	return err
}
