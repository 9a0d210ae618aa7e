// Command wattline-edge is the gateway of one floor: it polls the plugs, keeps
// their readings safe and forwards them, and switches plugs when asked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/logs"
)

// version is set when the program is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "wattline-edge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("wattline-edge", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	file := flags.String("config", "/etc/wattline/edge.yaml", "configuration `file`")
	check := flags.Bool("check", false, "check the configuration and end")
	debug := flags.Bool("debug", false, "log more")
	show := flags.Bool("version", false, "print the version and end")
	flags.Usage = func() {
		fmt.Fprint(stderr, "wattline-edge is the gateway of one floor: it polls plugs, keeps readings through\noutages, forwards them over MQTT, and switches plugs.\n\nUsage: wattline-edge -config FILE\n\n")
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
		_, err := fmt.Fprintln(stdout, "wattline-edge", version)
		return err
	}
	cfg := gateway.DefaultConfig()
	if err := config.Load(*file, &cfg); err != nil {
		return err
	}
	if *check {
		_, err := fmt.Fprintln(stdout, *file, "is fine")
		return err
	}
	log := logs.New(stderr, *debug)
	watcher, err := openWatcher(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		log.WarnContext(ctx, "nobody is told that the gateway runs", slog.Any("err", err))
	}
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		watcher.say(stopping)
		close(said)
	})
	defer func() {
		if !stop() {
			<-said
		}
		watcher.close()
	}()
	return gateway.Run(ctx, cfg, gateway.Options{Version: version, Beat: func() { watcher.say(alive) }}, log)
}
