package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/logs"
)

// initSite is wattline-cloud init: it makes the data directory of a new site and
// prints the first admin token, alone on stdout so that it can go into a file.
func initSite(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("wattline-cloud init", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	file := flags.String("config", "", "configuration `file` that names the data directory; /etc/wattline/cloud.yaml if it is there")
	data := flags.String("data", "", "data `directory`, instead of the configuration's")
	site := server.Site{}
	flags.StringVar(&site.Name, "name", "", "`name` of the site; required")
	flags.IntVar(&site.DefaultFloor, "default-floor", 0, "the `floor` that ids without one mean, for ever; required")
	flags.StringVar(&site.TimeZone, "time-zone", "", "IANA `zone` of the site, such as Europe/Madrid; required")
	flags.StringVar(&site.Admin, "admin", "admin", "`name` of the first admin token")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "wattline-cloud init makes a new site: its registry, its certificate authority and\nthe first admin token, which is printed once. Run it as the user that\nwattline-cloud runs as.\n\n"+
			"Usage: wattline-cloud init -name NAME -default-floor N -time-zone ZONE [-admin NAME] [-config FILE | -data DIR]\n\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var missing []string
	for _, name := range []string{"name", "default-floor", "time-zone"} {
		if !given[name] {
			missing = append(missing, "-"+name)
		}
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("init: unexpected argument %q; see init -help", flags.Arg(0))
	case len(missing) > 0:
		return fmt.Errorf("init: required: %s; see init -help", strings.Join(missing, " "))
	case given["config"] && given["data"]:
		return errors.New("init: -config or -data, not both")
	}
	var err error
	if site.Data, err = dataDirectory(*data, *file); err != nil {
		return err
	}
	shown := ""
	site.Show = func(secret config.Secret) error {
		_, err := fmt.Fprintln(stdout, secret.Reveal())
		shown = "The line on stdout is the token; it is shown once and kept nowhere.\n"
		return err
	}
	done, err := server.Init(site, logs.New(io.Discard, false))
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, err = fmt.Fprintf(stderr, "Made below %s: %s.\n%s", site.Data, strings.Join(done, ", "), shown)
	return err
}

// dataDirectory is where the site is to be.
func dataDirectory(data, file string) (string, error) {
	if data != "" {
		return data, nil
	}
	asked := file != ""
	if !asked {
		file = defaultConfig
	}
	cfg := server.DefaultConfig()
	err := config.Load(file, &cfg)
	if errors.Is(err, os.ErrNotExist) && !asked {
		return "", fmt.Errorf("init: there is no %s; say where the site is to be with -data DIR or -config FILE", file)
	}
	return cfg.Data, err
}
