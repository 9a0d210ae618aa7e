package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/logs"
)

const backupHelp = `wattline-cloud backup copies a site that does not run into the store that the
configuration names (backup.directory). Only what has changed since the backup
before is copied; every backup can be restored on its own.

Usage: wattline-cloud backup [-config FILE] [-full]
       wattline-cloud backup -list | -check [-from DIR]    what there is; read all of it
       wattline-cloud backup -prune [-dry-run]             delete what is not kept (backup.keep)
       wattline-cloud backup -adopt                        take back a store whose notes were lost

`

// copying are the flags of wattline-cloud backup.
type copying struct {
	config, from                         string
	full, list, check, prune, adopt, dry bool
}

// makeBackup is wattline-cloud backup.
func makeBackup(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c copying
	flags := flag.NewFlagSet("wattline-cloud backup", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&c.config, "config", defaultConfig, "configuration `file`")
	flags.StringVar(&c.from, "from", "", "the store's `directory`, for -list and -check; that of the configuration without")
	flags.BoolVar(&c.full, "full", false, "read every day, whether it has changed or not")
	flags.BoolVar(&c.list, "list", false, "list the backups")
	flags.BoolVar(&c.check, "check", false, "read all files of all backups and compare them")
	flags.BoolVar(&c.prune, "prune", false, "delete backups that are not kept, and files that nobody needs")
	flags.BoolVar(&c.dry, "dry-run", false, "with -prune: only say what would be deleted")
	flags.BoolVar(&c.adopt, "adopt", false, "the store is this site's, whose notes of it were lost")
	flags.Usage = func() {
		fmt.Fprint(stderr, backupHelp)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("backup: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("backup: unexpected argument %q; see backup -help", flags.Arg(0))
	}
	if err := c.run(ctx, stdout, stderr); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

func (c *copying) run(ctx context.Context, stdout, stderr io.Writer) error {
	cfg := server.DefaultConfig()
	if err := config.Load(c.config, &cfg); err != nil && (c.from == "" || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	log := logs.New(stderr, false)
	if c.list || c.check || c.prune {
		sh, err := server.Shelf(cfg, c.from)
		switch {
		case err != nil:
			return err
		case c.list:
			return list(ctx, sh, stdout)
		case c.check:
			return checkAll(ctx, sh, cfg.Data, stdout)
		default:
			p, err := server.Prune(ctx, cfg, sh, c.dry, log)
			return told(err, func() error { return sayPruned(stdout, p, c.dry) })
		}
	}
	site, err := server.OpenStanding(ctx, cfg, c.config, version, log)
	if err != nil {
		return err
	}
	defer site.Close()
	b, err := site.Backup(ctx)
	if err != nil {
		return err
	}
	if c.adopt {
		marker, err := b.Adopt(ctx)
		return told(err, func() error {
			_, err := fmt.Fprintf(stdout, "The store of %q since %s is this site's.\n", marker.Name, marker.Since.Format(time.DateOnly))
			return err
		})
	}
	return copyNow(ctx, b, c.full, stdout, stderr)
}

func told(err error, say func() error) error {
	if err != nil {
		return err
	}
	return say()
}

// copyNow makes a backup and tells how far it is each second.
func copyNow(ctx context.Context, b *backup.Backup, full bool, stdout, stderr io.Writer) error {
	over := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				p := b.Progress()
				fmt.Fprintf(stderr, "%s: %d of %d days, %d points, %s new\n", p.Doing, p.Done, p.Days, p.Points, size(p.NewBytes))
			}
		}
	}()
	m, err := b.Run(ctx, full)
	close(over)
	<-shown
	if err != nil {
		return err
	}
	p := b.Progress()
	_, err = fmt.Fprintf(stdout, "%s: %d days, %d points, %d files of roles; %d new files, %s. Not in it:\n", m.ID, len(m.Days), m.Points(), len(m.States), p.New, size(p.NewBytes))
	for _, text := range m.LeftOut {
		if err == nil {
			_, err = fmt.Fprintf(stdout, "  - %s\n", text)
		}
	}
	return err
}

func list(ctx context.Context, sh shelf.Shelf, stdout io.Writer) error {
	entries, err := sh.Entries(ctx)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("%w in %s", shelf.ErrNoBackup, sh.Store)
	}
	w := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "BACKUP\tSITE\tDAYS\tPOINTS\tSIZE\tBUILDS ON")
	for _, e := range entries {
		m, err := sh.Manifest(ctx, e)
		if err != nil {
			fmt.Fprintf(w, "%s\t%v\n", e.ID, err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", m.ID, m.SiteInfo.Name, len(m.Days), m.Points(), size(m.Bytes()), m.Basis)
	}
	return w.Flush()
}

// checkAll reads every file of every backup once.
func checkAll(ctx context.Context, sh shelf.Shelf, data string, stdout io.Writer) error {
	entries, err := sh.Entries(ctx)
	if err != nil {
		return err
	}
	good := make(map[string]bool) // by object
	broken := 0
	for _, e := range entries {
		bad, files, err := checkOne(ctx, sh, e, good)
		if err != nil {
			return err
		}
		if len(bad) > 0 {
			broken++
			fmt.Fprintf(stdout, "%s is damaged: %d files, the first: %v\n", e.ID, len(bad), bad[0].Err)
			continue
		}
		fmt.Fprintf(stdout, "%s is whole, %d files\n", e.ID, files)
	}
	if broken == 0 {
		return nil
	}
	var damaged []string
	for object, whole := range good {
		if !whole {
			damaged = append(damaged, object)
		}
	}
	err = fmt.Errorf("%d of %d backups are damaged; the next backup copies again what is in the damaged files", broken, len(entries))
	return errors.Join(err, backup.MarkDamaged(data, damaged))
}

func checkOne(ctx context.Context, sh shelf.Shelf, e form.Entry, good map[string]bool) (bad []shelf.Damage, files int, err error) {
	m, err := sh.Manifest(ctx, e)
	if errors.Is(err, form.ErrDamaged) {
		return []shelf.Damage{{Err: err}}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	all := m.Files()
	for _, f := range all {
		if good[f.Object] {
			continue
		}
		found, err := sh.Check(ctx, []form.File{f}, nil)
		if err != nil {
			return nil, 0, err
		}
		good[f.Object] = len(found) == 0
		bad = append(bad, found...)
	}
	return bad, len(all), nil
}

func sayPruned(stdout io.Writer, p shelf.Pruned, dry bool) error {
	verb := "Deleted"
	if dry {
		verb = "Would delete"
	}
	for _, e := range p.Gone {
		fmt.Fprintf(stdout, "%s %s\n", verb, e.ID)
	}
	if p.Note != "" {
		fmt.Fprintln(stdout, p.Note)
	}
	_, err := fmt.Fprintf(stdout, "%s %d backups and %d files, %s; %d are kept.\n", verb, len(p.Gone), p.Objects, size(p.Bytes), len(p.Kept))
	return err
}

// size is how people read bytes.
func size(n int64) string {
	const unit = 1000
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f kB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MB", float64(n)/(unit*unit))
	default:
		return fmt.Sprintf("%.1f GB", float64(n)/(unit*unit*unit))
	}
}
