package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
)

// exportAccess is wattline-cloud access: it writes the access rules for an MQTT
// broker of the site's own.
func exportAccess(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("wattline-cloud access", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	file := flags.String("config", defaultConfig, "configuration `file`")
	dir := flags.String("mosquitto", "", "`directory` for Mosquitto's files; required")
	names := flags.String("names", "", "DNS `names` and addresses of the broker, separated by commas; required")
	listen := flags.String("listen", "8883", "`port`, or port and address, where Mosquitto listens")
	flags.Usage = func() {
		fmt.Fprint(stderr, "wattline-cloud access writes what Mosquitto needs to hold gateways and roles to the\nsame rules as the embedded broker: configuration, ACL, certificates. Run it again\n"+
			"to renew the certificates and the list of revoked ones.\n\nUsage: wattline-cloud access -mosquitto DIR -names NAME[,NAME] [-config FILE]\n\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("access: %w", err)
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("access: unexpected argument %q; see access -help", flags.Arg(0))
	case *dir == "" || *names == "":
		return errors.New("access: required: -mosquitto and -names; see access -help")
	case strings.ContainsAny(*listen, "\r\n"):
		return errors.New("access: -listen is one line")
	}
	cfg := server.DefaultConfig()
	if err := config.Load(*file, &cfg); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	if err := server.Access(&cfg, *dir, *listen, strings.Split(*names, ",")); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	_, err := fmt.Fprintf(stdout, "written to %s: include wattline.conf there in Mosquitto's configuration, and give the cloud mqtt.url and mqtt.tls (ca.pem, role.pem, role.key)\n", *dir)
	return err
}
