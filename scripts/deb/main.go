// Command deb packs wattline-edge as a package for Debian and its like: the
// program, its systemd unit, its configuration as a conffile, and the scripts in
// docker/deb that make the user and keep the backlog.
//
// The same input makes the same bytes: times come from SOURCE_DATE_EPOCH.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "deb:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f := flag.NewFlagSet("deb", flag.ContinueOnError)
	arch := f.String("arch", "", "Debian's `name` of the processor: amd64, arm64, armhf")
	release := f.String("version", "dev", "`version` of the program, as git describe tells it")
	edge := f.String("edge", "", "the `program`")
	root := f.String("root", ".", "`directory` of the source tree")
	out := f.String("out", "bin", "`directory` for the package")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *arch != "amd64" && *arch != "arm64" && *arch != "armhf" {
		return fmt.Errorf("-arch %q: amd64, arm64 or armhf", *arch)
	}
	at := time.Now()
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		at = time.Unix(seconds, 0)
	}
	p := parcel{Arch: *arch, Version: debianVersion(*release, at), Time: at.UTC().Truncate(time.Second)}
	if err := p.collect(*root, *edge); err != nil {
		return err
	}
	name := filepath.Join(*out, fmt.Sprintf("wattline-edge_%s_%s.deb", p.Version, p.Arch))
	if err := p.write(name); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(name))
	}
	_, err := fmt.Fprintln(os.Stdout, name)
	return err
}
