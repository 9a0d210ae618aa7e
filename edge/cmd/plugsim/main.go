// Command plugsim is a building of simulated HS110 plugs on loopback addresses,
// for trying Wattline without one: each answers on port 9999 of an address of its
// own in 127.<n>.0.0/16, with the load of a workplace, a meeting room or a
// printer at this time of day, and goes wrong when told to.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set when the program is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "plugsim:", err)
		os.Exit(1)
	}
}
