// Command wattline-cloud is the central tier: it stores what the gateways send,
// answers questions over REST and switches plugs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the site's zone must be known where the machine knows none

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/logs"
)

// version is set when the program is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "wattline-cloud:", err)
		os.Exit(1)
	}
}

// defaultConfig is read when no other is named.
const defaultConfig = "/etc/wattline/cloud.yaml"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "init" {
		return initSite(args[1:], stdout, stderr) //nolint:contextcheck // a site is not left half made
	}
	if len(args) > 0 && args[0] == "access" {
		return exportAccess(args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "ready" {
		return askReady(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "backup" {
		return makeBackup(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "restore" {
		return restoreBackup(ctx, args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("wattline-cloud", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	file := flags.String("config", defaultConfig, "configuration `file`")
	list := flags.String("roles", "all", "the `roles` of this process, separated by commas")
	check := flags.Bool("check", false, "check the configuration and the inventory, and end")
	debug := flags.Bool("debug", false, "log more")
	show := flags.Bool("version", false, "print the version and end")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "wattline-cloud stores what the gateways send, answers questions over REST and\nswitches plugs.\n\nUsage: wattline-cloud -config FILE [-roles LIST]\n       wattline-cloud init -help     make a new site\n       wattline-cloud access -help   the access rules for Mosquitto\n       wattline-cloud ready -help    whether the one beside it can answer\n       wattline-cloud backup -help   back up a site that does not run; list, check, prune\n       wattline-cloud restore -help  bring a backup back\n\nRoles: %s\n\n", server.RoleNames())
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flags.Arg(0))
	}
	if *show {
		_, err := fmt.Fprintln(stdout, "wattline-cloud", version)
		return err
	}
	roles, err := server.ParseRoles(*list)
	if err != nil {
		return fmt.Errorf("-roles: %w", err)
	}
	cfg := server.DefaultConfig()
	if err := config.Load(*file, &cfg); err != nil {
		return err
	}
	if *check {
		found, err := cfg.Check(roles)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "%s is fine%s\n", *file, found)
		return err
	}
	return server.Run(ctx, cfg, roles, server.Options{Version: version, ConfigFile: *file}, logs.New(stderr, *debug))
}
